"""Compiled on the machine that runs them, once: functions that torch does not have."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from episodes import places

FLAGS = (
    *("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"),
    *("-std=c++20", "-shared", "-fPIC"),
)


@cache
def library(name: str) -> ctypes.CDLL | None:
    """The functions of `NAME.cpp`, compiled unless they were before; None where that fails.

    What is compiled lies in `EPISODES_HOME/compiled`, under a name of its source, the compiler and
    the processor.
    """
    import torch  # noqa: F401  Its OpenMP library is the one to use, so it must be there first.

    source = Path(__file__).with_name(f"{name}.cpp")
    compiler = _compiler()
    if compiler is None:
        return None
    made_of = (source.read_text(encoding="utf-8"), *FLAGS, _version(compiler), _processor())
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    compiled = places.home() / "compiled" / f"{name}-{digest}.so"
    try:
        if not compiled.exists():
            _compile(compiler, source, compiled)
        return ctypes.CDLL(str(compiled))
    except (OSError, subprocess.SubprocessError):
        return None


def _compile(compiler: str, source: Path, compiled: Path) -> None:
    compiled.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=compiled.parent) as scratch:
        made = Path(scratch) / compiled.name
        command = [compiler, *FLAGS, str(source), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        os.replace(made, compiled)


def _compiler() -> str | None:
    names = filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++"))
    return next((path for name in names if (path := shutil.which(name))), None)


def _version(compiler: str) -> str:
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60)
    return told.stdout


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return "".join(line for line in lines[:40] if line.startswith(("model name", "flags")))
