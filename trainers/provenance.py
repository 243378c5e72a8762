"""What a result was made with: versions of the software, and the machine."""

import os
import platform
from pathlib import Path

from episodes.version import installed_version


def versions() -> dict[str, str]:
    """Versions of Python, torch, NumPy and this package."""
    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "fewshot-episodes": installed_version(),
    }


def hardware(device: str, threads: int) -> dict[str, str | int]:
    """Processor, its cores, the threads used, and the accelerator where there is one."""
    import torch

    machine: dict[str, str | int] = {
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "device": device,
        "system": platform.platform(terse=True),
    }
    if device == "cuda":
        machine["accelerator"] = torch.cuda.get_device_name()
    return machine


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
