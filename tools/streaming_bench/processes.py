"""The memory and processor time of a process and those that it started, as Linux tells them."""

import os
import re
from pathlib import Path


def private_bytes(pid: int) -> int | None:
    """What is not file-backed: page cache and mapped files do not count; None if it is not told.

    Of several processes, what they share is counted once.
    """
    family = _family(pid)
    try:
        if len(family) == 1:
            return _kilobytes(f"/proc/{pid}/status", "RssAnon")
        return sum(_kilobytes(f"/proc/{each}/smaps_rollup", "Pss_Anon") for each in family)
    except (OSError, LookupError):
        return None


def others_seconds(pid: int) -> float:
    """The processor time that all other processes have had; differences of it tell of company."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        mine = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2] for each in _family(pid)]
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, fields[:8])
    ticks = sum(int(field) for text in mine for field in text.split()[11:13])
    return (user + nice + system + sum(interrupts) - ticks) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(each for child in children for each in _family(int(child)))]


def _kilobytes(path: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(path).read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(field)
    return int(found[1]) << 10
