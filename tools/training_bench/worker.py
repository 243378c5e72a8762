"""A process that does iterations of one row, and times them, whenever it is told to.

It takes a job as JSON in its argument and says in a line of JSON that it has started; then it
answers each line of its standard input, `["iterate", 3]` or `["evaluate", 600]`.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training_bench.rows import ONE_PASS, Row
from training_bench.setting import Setting, Skipped


def main() -> None:
    """Serve until the standard input ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = json.loads(sys.argv[1])
    row, setting = Row(**job["row"]), Setting(**job["setting"])
    try:
        trained = started(row, setting, job)
    except Exception as error:
        from episodes.errors import UsageError

        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, (ImportError, UsageError, Skipped)):
            print(json.dumps({"skipped": str(error)}), file=answers)
            return
        print(json.dumps({"failed": reason}), file=answers)
        raise
    print(json.dumps({"version": _version(row)}), file=answers)
    for line in sys.stdin:
        command, count = json.loads(line)
        seconds = timed(partial(getattr(trained, command), count), setting.device)
        print(json.dumps({"seconds": seconds, **_peaks(setting.device)}), file=answers)


def started(row: Row, setting: Setting, job: Mapping[str, Any]) -> Any:
    """What does the iterations; before that, where the job asks for it, the gradient is written
    that is compared."""
    from trainers import machine

    machine.let_waiting_threads_sleep()  # For all alike, and before torch is imported.
    if row.allocator == "tuned" and not machine.keep_freed_memory():
        raise Skipped("there is no glibc whose allocator could be tuned")
    implementation = _ours if row.is_ours else _peer
    return implementation(row, setting, job)


def timed(work: Callable[[], object], device: str) -> float:
    """The seconds that it takes, kernels that it started included."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def _ours(row: Row, setting: Setting, job: Mapping[str, Any]) -> Any:
    from training_bench.ours import Ours, float64_gradient

    if job["gradient"] is not None:
        _write(job["gradient"], float64_gradient(setting.of_check, row.chosen))
    return Ours(setting, row.chosen, row.is_streaming)


def _peer(row: Row, setting: Setting, job: Mapping[str, Any]) -> Any:
    import torch

    from training_bench.peers import PEERS
    from training_bench.problem import read

    torch.set_num_threads(setting.threads)
    torch.backends.cuda.matmul.allow_tf32 = row.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = row.precision == "tf32"
    peer = PEERS[row.implementation]
    if job["gradient"] is not None:
        problem = read(Path(job["check"]), setting.device)
        _write(job["gradient"], peer(setting.of_check, problem, row.algo).gradient())
    return peer(setting, read(Path(job["problem"]), setting.device), row.algo)


def _write(path: str, gradient: Mapping[str, Any]) -> None:
    import numpy as np

    arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in gradient.items()}
    np.savez(path, **arrays)


def _peaks(device: str) -> dict[str, int | None]:
    """The most memory that the process has had resident, and on the GPU allocated."""
    import torch

    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return {
        "peak_bytes": int(found[1]) << 10 if found else None,
        "gpu_peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }


def _version(row: Row) -> str | None:
    package = "learn2learn" if row.implementation == ONE_PASS else row.implementation
    try:
        return None if row.is_ours else version(package)
    except PackageNotFoundError:
        return "from source"


if __name__ == "__main__":
    main()
