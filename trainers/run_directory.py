"""The run directory: its files, its lock, and the log of metrics."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.errors import EpisodesError, UsageError
from trainers.files import TEMPORARY, write_whole, writing

LOCK = "lock"
MAKE_A_RUN = "make one with `trainers run --out DIR`"


@dataclass(frozen=True)
class RunDirectory:
    """Where the files of a run are."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, the store, and the versions it was begun with."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON line an iteration, one a validation."""
        return self.path / "metrics.jsonl"

    @property
    def results(self) -> Path:
        """The figures of a finished run; written last."""
        return self.path / "results.json"

    @property
    def test_figures(self) -> Path:
        """The metric on each test episode."""
        return self.path / "test_figures.json"

    @property
    def learning_curve(self) -> Path:
        """Loss and metric over the iterations."""
        return self.path / "learning_curve.png"

    @property
    def rates(self) -> Path:
        """The rates of the test episodes, step by step."""
        return self.path / "rates.png"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint that a resumed run starts from."""
        return self.checkpoints / "last.safetensors"

    def best_checkpoint(self, iteration: int) -> Path:
        """A checkpoint kept for its validation."""
        return self.checkpoints / f"iteration-{iteration:07d}.safetensors"

    @property
    def advice(self) -> str:
        """What to do about a damaged checkpoint."""
        return (
            "replace it by another of its folder and resume, or begin again with "
            f"`trainers run --config {self.config}`"
        )

    def begin(self, config: str) -> None:
        """Write config.toml into a locked directory that holds nothing else yet.

        Raises UsageError where it does.
        """
        if self.config.exists():
            raise UsageError(
                f"{self.path} holds a run: continue it with `trainers run --resume {self.path}`, "
                "or choose another --out"
            )
        self.refuse_other_files()
        write_whole(self.config, config.encode())

    def refuse_other_files(self) -> None:
        """Raises UsageError where the directory is no run and holds something else."""
        others = [
            entry.name
            for entry in self.path.iterdir()
            if entry.name != LOCK and entry.suffix != TEMPORARY
        ]
        if others and not self.config.exists():
            raise UsageError(
                f"{self.path} holds other files ({min(others)}): choose an --out that is empty"
            )

    def read_results(self) -> dict[str, Any]:
        """The figures of a finished run; raises EpisodesError where the file is damaged."""
        try:
            results: dict[str, Any] = json.loads(self.results.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EpisodesError(
                f"{self.results} is damaged ({error}): remove it and resume the run"
            ) from None
        return results

    def prune_checkpoints(self, best: list[int]) -> None:
        """Remove every checkpoint but the last one and those of the iterations in `best`."""
        kept = {self.last_checkpoint, *map(self.best_checkpoint, best)}
        for path in self.checkpoints.iterdir():
            if path not in kept and path.is_file():
                path.unlink()


def create(out: Path | None, default_name: str) -> RunDirectory:
    """The directory `out`, or a new one under runs/ that is called `default_name`, or
    `default_name`-2, -3 ... where that is taken."""
    with writing(out or Path("runs")):
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            run = RunDirectory(out)
            run.refuse_other_files()
            return run
        suffix = 1
        while True:
            path = Path("runs") / (default_name if suffix == 1 else f"{default_name}-{suffix}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                suffix += 1
            else:
                return RunDirectory(path)


def find(path: Path) -> RunDirectory:
    """The directory of a run that was begun; raises UsageError where there is none."""
    run = RunDirectory(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such directory; expected a run: {MAKE_A_RUN}")
    if not run.config.exists():
        raise UsageError(f"{path} holds no run (no config.toml in it): {MAKE_A_RUN}")
    return run


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Keeps every other process out of the run; raises EpisodesError where one is in it."""
    from filelock import FileLock, Timeout

    lock = FileLock(run.path / LOCK)
    with writing(run.path / LOCK):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise EpisodesError(
                f"{run.path} is in use by another process: wait for it, or choose another --out"
            ) from None
    try:
        yield
    finally:
        lock.release()


class MetricsLog:
    """Appends records to metrics.jsonl, from a given length on."""

    def __init__(self, path: Path, size: int) -> None:
        """Opens `path` cut to `size` bytes; raises EpisodesError where it is shorter than that."""
        self._path = path
        with writing(path):
            self._file = path.open("ab")
            found = self._file.tell()
            if found < size:
                raise EpisodesError(
                    f"{path} has {found} bytes, and the checkpoint was written after {size}: "
                    "put the file back, or begin a new run"
                )
            self._file.truncate(size)
            self._file.seek(size)

    def append(self, **record: Any) -> None:
        """Add one line."""
        with writing(self._path):
            self._file.write(json.dumps(record).encode() + b"\n")

    def sync(self) -> int:
        """Flush to the disk; the length of the file in bytes."""
        with writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        with writing(self._path):
            self._file.close()


class NoMetrics:
    """The log of a rank that does not write."""

    def append(self, **record: Any) -> None:
        """Nothing."""

    def sync(self) -> int:
        """0, for nothing is written."""
        return 0

    def close(self) -> None:
        """Nothing."""


def read_metrics(
    path: Path, is_growing: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records of the iterations and those of the validations; raises as `read_records`."""
    records = read_records(path, is_growing)
    iterations = [record for record in records if "loss" in record]
    validations = [record for record in records if "validation_interval" in record]
    return iterations, validations


def read_records(path: Path, is_growing: bool = False) -> list[dict[str, Any]]:
    """All records of a metrics.jsonl; raises EpisodesError where it is damaged.

    Of a log that is still growing, what is behind the last whole line is left out.
    """
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1] if is_growing else text
        records: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
    except (OSError, ValueError) as error:
        raise EpisodesError(f"{path} is damaged ({error}): begin a new run") from None
    return records
