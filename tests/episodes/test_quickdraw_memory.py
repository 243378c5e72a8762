"""Quick, Draw! at its real size, 345 classes and 50 million rows, as sparse files: memory used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from episodes import manifest
from tests.episodes.layouts.quickdraw import header

pytestmark = pytest.mark.slow

MOST_PRIVATE_BYTES = 500 * 10**6
CHILD = """
import json, re, sys, threading, time
from dataclasses import replace
from pathlib import Path
from episodes import manifest
from episodes.prepare import prepare

peak = 0

def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, 1024 * int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]))
        time.sleep(0.02)

threading.Thread(target=watch, daemon=True).start()
facts = manifest.load("quickdraw")
(source,) = facts.sources
files = tuple(replace(file, sha256=None) for file in source.files)
facts = replace(facts, sources=(replace(source, files=files),))
store = prepare(facts, Path(sys.argv[1]), home=Path(sys.argv[2]))
told = {"rows": store.info.rows, "classes": len(store.class_names), "preparing": peak}
peak = 0
seen = 0
for part in manifest.PARTS:
    stream = store.at_size(84, channels=3).stream(part, 20, 15, 10)
    for batch in stream.batches(4, 10**12, 10**12 + 40, threads=2):
        seen += batch.support_images.shape[0]
    grey = store.stream(part, 50, 10, 10)
    for batch in grey.batches(8, 0, 400, threads=2):
        seen += batch.support_images.shape[0]
    stream.fingerprint(50)
time.sleep(0.1)
print(json.dumps(told | {"episodes": seen, "streaming": peak}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is told by Linux alone")
def test_it_is_prepared_and_streamed_in_little_memory(tmp_path: Path) -> None:
    facts = manifest.load("quickdraw")
    bitmaps = tmp_path / "bitmaps"
    bitmaps.mkdir()
    for file, count in zip(facts.sources[0].files, facts.class_images, strict=True):
        with (bitmaps / file.name).open("wb") as sparse:
            sparse.write(header(count or 0))
            sparse.truncate(file.bytes)
    used = sum(path.stat().st_blocks * 512 for path in bitmaps.iterdir())
    assert used < 10**8, "the files are not sparse on this disk: they would fill it"
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(bitmaps), str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    print(told)
    assert (told["rows"], told["classes"], told["episodes"]) == (50_426_266, 345, 1320)
    assert told["preparing"] < MOST_PRIVATE_BYTES
    assert told["streaming"] < MOST_PRIVATE_BYTES
    stores = tmp_path / "home" / "stores" / "quickdraw"
    assert sum(path.lstat().st_size for path in stores.iterdir()) < 10**6
