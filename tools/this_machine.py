"""What a benchmark says of the machine that it ran on."""

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def described(packages: Sequence[str]) -> dict[str, Any]:
    """Processor, cores, load, system, Python, and the versions of packages (None: not there)."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
    }


def in_words(machine: dict[str, Any]) -> str:
    """The description in a line of text."""
    packages = ", ".join(f"{name} {is_}" for name, is_ in machine["packages"].items() if is_)
    return (
        f"{machine['cpu']}, {machine['cores']} cores, load average {machine['load_average']} at "
        f"the end; Python {machine['python']}, {packages}."
    )


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
