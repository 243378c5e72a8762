"""Answers that are damaged at random: the file, or one line, never a traceback or a hang."""

import hashlib
import random
import socketserver
import threading
from pathlib import Path

from episodes import download
from episodes.download import Retries
from episodes.errors import EpisodesError
from episodes.manifest import SourceFile


def test_damaged_answers_end_in_the_file_or_in_one_line(tmp_path: Path) -> None:
    content = bytes(range(200))
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: 1\r\n\r\n" + chunk,
        b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/99\r\nContent-Length: 10\r\n\r\n" + content,
        b"HTTP/1.1 429 No\r\nRetry-After: Mon, 01 Jan 2001 00:00:00 GMT\r\n\r\n",
        b"HTTP/1.1 302 No\r\nLocation: /b.zip?c=1\r\nSet-Cookie: a=b\r\n\r\n",
    ]
    chance = random.Random(1)
    damaged: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            answer = bytearray(chance.choice(answers))
            for _ in range(chance.randrange(6)):
                place = chance.randrange(len(answer))
                junk = bytes(chance.choices(b"\x000-9\r\n :=<", k=chance.randrange(4)))
                answer[place : place + chance.randrange(6)] = junk * chance.choice((1, 1, 900))
            damaged.append(bytes(answer))
            self.request.sendall(answer)

    sha256 = hashlib.sha256(content).hexdigest()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/a.zip"
        fine = 0
        for case in range(300):
            file = SourceFile("a.zip", "open", (url,), sha256=sha256)
            try:
                path = download.fetch(file, tmp_path / str(case), retries=Retries(3, 0.0))
                assert path.read_bytes() == content
                fine += 1
            except EpisodesError as error:
                assert str(error).isprintable(), (error, damaged[-1])
        server.shutdown()
    assert 0 < fine < 300
