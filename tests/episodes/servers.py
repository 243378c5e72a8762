"""A local HTTP server of a folder's files that misbehaves in the ways that real ones do.

    with serving(folder, {"CUB_200_2011.tgz": ["cut 1000", "hang-up", "status 503"]}) as server:
        download.fetch(replace(file, urls=(server.address("CUB_200_2011.tgz"),)), target)

A file's `script` says what happens to each request for it, in order; then it is served:

    serve               the file, or the range that was asked for
    cut N               no more than N bytes of it, though more were announced
    throttle N          N bytes at a time, with pauses
    hang-up             no answer at all
    status CODE         an error with this status
    retry-after TEXT    429 with this Retry-After
    redirect            302 to the same address
    page, unlabelled-page    a web page with status 200, called text/html or application/zip
    another N           N bytes of another file of the same size, as if it changed afterwards
    longer N            announces N bytes more than there are, and sends what there is
    endless             the file three times over
    no-ranges           the whole file, whatever range was asked for
    other-range         206 with the bytes from 0 on, whatever range was asked for
    drive-quota, drive-missing, drive-sign-in    what Google Drive answers in a file's place

`Hosted.confirm` puts Google Drive's page in front of the file, as it is now ("form") or as it
was ("cookie"); `Server.drive_address` is where `gdrive:NAME` leads when drive.ADDRESS is set to it.
"""

import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

QUOTA_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>
<style>p { color: red }</style></head><body><p class="uc-error-caption">Sorry, you can&#39;t view or
download this file at this time.</p><p class="uc-error-subcaption">Too many users have viewed or
downloaded this file recently. Please try accessing the file again later.</p></body></html>"""
CONFIRM_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download
anyway"/><input type="hidden" name="id" value="{name}"><input type="hidden" name="export"
value="download"><input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid"
value="{uuid}"></form><form id="search"><input type="hidden" name="confirm" value="no"></form>
</body></html>"""
COOKIE_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><a id="uc-download-link" href="#">Download anyway</a></body></html>"""
UUID, TOKEN = "5e0c1a2b-3c4d", "tOKn"
PAGE = {"Content-Type": "text/html; charset=utf-8"}


@dataclass
class Hosted:
    """One file of a server: how it is served, which ranges were asked for, how much was sent."""

    content: bytes
    etag: str | None = '"1"'
    ranges: bool = True
    length: str = "told"
    """"told" by Content-Length, "chunked", or "untold" (the end of the connection is the end)"""
    confirm: str | None = None
    script: list[str] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    sent: int = 0


@dataclass
class Server:
    """The files by name, and the absolute addresses that it was asked for as a proxy."""

    url: str = ""
    files: dict[str, Hosted] = field(default_factory=dict)
    proxied: list[str] = field(default_factory=list)

    def address(self, name: str) -> str:
        return f"{self.url}/{quote(name)}"

    @property
    def drive_address(self) -> str:
        return f"{self.url}/download"


@contextmanager
def serving(
    folder: Path | None = None,
    scripts: Mapping[str, Iterable[str]] | None = None,
    certificate: Path | None = None,
) -> Iterator[Server]:
    """A server of the files below `folder`; over TLS with `certificate` (key and certificate)."""
    server = Server()
    for path in sorted(folder.rglob("*")) if folder else []:
        if path.is_file():
            server.files[path.relative_to(folder).as_posix()] = Hosted(path.read_bytes())
    for name, script in (scripts or {}).items():
        server.files[name].script = list(script)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(server))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server.url = f"http{'s' if certificate else ''}://127.0.0.1:{listener.server_port}"
    threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()


def _handler_for(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        hosts = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hosts: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        address = urlsplit(self.path)
        if address.scheme:
            self.hosts.proxied.append(self.path)
        query = parse_qs(address.query)
        name = query["id"][0] if "id" in query else unquote(address.path.lstrip("/"))
        if name not in self.hosts.files:
            self.answer(404, b"<html><title>Error 404</title></html>", PAGE)
            return
        self.file = self.hosts.files[name]
        if self.file.confirm and not self.is_confirmed(query):
            self.ask_to_confirm(name)
            return
        self.file.requests.append(self.headers["Range"])
        act, _, detail = (self.file.script.pop(0) if self.file.script else "serve").partition(" ")
        self.perform(act, detail)

    def perform(self, act: str, detail: str) -> None:
        match act:
            case "serve":
                self.serve()
            case "cut":
                self.serve(limit=int(detail))
            case "throttle":
                self.serve(piece=int(detail))
            case "hang-up":
                self.wfile.close()
            case "status":
                self.answer(int(detail), b"no")
            case "retry-after":
                self.answer(429, b"slow down", {"Retry-After": detail})
            case "redirect":
                self.answer(302, b"", {"Location": self.path})
            case "page":
                page = b"<html><title>Please log\nin</title></html>"
                self.answer(200, page, {"Content-Type": "text/html"})
            case "unlabelled-page":
                self.answer(200, b"<!DOCTYPE html>" + b" " * 400)
            case "another":
                headers = {"ETag": '"another"'} if self.file.etag else {}
                self.answer(200, b"?" * len(self.file.content), headers, int(detail))
            case "longer":
                told = str(len(self.file.content) + int(detail))
                self.answer(200, self.file.content, {"Content-Length": told})
            case "endless":
                self.answer(200, self.file.content * 3)
            case "no-ranges":
                self.answer(200, self.file.content)
            case "other-range":
                size = len(self.file.content)
                headers = {"Content-Range": f"bytes 0-{size - 1}/{size}"}
                self.answer(206, self.file.content, headers)
            case "drive-quota":
                self.answer(200, QUOTA_PAGE.encode(), PAGE)
            case "drive-missing":
                self.answer(404, b"<html><title>Error 404 (Not Found)!!</title></html>", PAGE)
            case "drive-sign-in":
                self.answer(200, b"<html><title>Sign in - Google Accounts</title></html>", PAGE)
            case _:
                raise ValueError(f"no such act: {act}")

    def serve(self, limit: int | None = None, piece: int | None = None) -> None:
        size, start = len(self.file.content), 0
        condition = self.headers["If-Range"]
        if self.file.ranges and self.headers["Range"] and condition in (None, self.file.etag):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start and start >= size:
            self.answer(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        headers = {"ETag": self.file.etag} if self.file.etag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        status = 206 if start else 200
        self.answer(status, self.file.content[start:], headers, limit, piece, self.file.length)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
        piece: int | None = None,
        length: str = "told",
    ) -> None:
        self.send_response(status)
        lengths = {
            "told": {"Content-Length": str(len(body))},
            "chunked": {"Transfer-Encoding": "chunked"},
            "untold": {},
        }
        told = {"Content-Type": "application/zip", **lengths[length], **(headers or {})}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        sent = body[:limit]
        step = piece or max(1, len(sent))
        for start in range(0, len(sent), step):
            data = sent[start : start + step]
            framed = b"%x\r\n%s\r\n" % (len(data), data) if length == "chunked" else data
            self.wfile.write(framed)
            if piece:
                self.wfile.flush()
                time.sleep(0.001)
        if length == "chunked" and limit is None:
            self.wfile.write(b"0\r\n\r\n")
        if hasattr(self, "file"):
            self.file.sent += len(sent)

    def is_confirmed(self, query: Mapping[str, list[str]]) -> bool:
        if self.file.confirm == "form":
            return query.get("confirm") == ["t"] and query.get("uuid") == [UUID]
        cookie = f"download_warning_1={TOKEN}"
        return query.get("confirm") == [TOKEN] and cookie in self.headers.get("Cookie", "")

    def ask_to_confirm(self, name: str) -> None:
        if self.file.confirm == "form":
            page = CONFIRM_PAGE.format(action="/download", name=name, uuid=UUID)
            self.answer(200, page.encode(), PAGE)
        else:
            cookie = {"Set-Cookie": f"download_warning_1={TOKEN}"}
            self.answer(200, COOKIE_PAGE.encode(), {**PAGE, **cookie})
