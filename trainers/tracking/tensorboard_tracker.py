"""TensorBoard, through `torch.utils.tensorboard`."""

from collections.abc import Mapping
from pathlib import Path

from trainers.config import Settings


class TensorBoardTracker:
    """Scalars in an event file, and the settings as a text."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # A TensorBoard that shows the folder already drops what it has read of an earlier attempt.
        self._writer = SummaryWriter(str(folder), purge_step=0)
        lines = [f"| {name} | {value} |" for name, value in settings.items()]
        self._writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *lines]))
        self._last = 0

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A scalar a figure."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._last = step

    def flush(self) -> None:
        """Flush the event file."""
        self._writer.flush()

    def finish(self, figures: Mapping[str, float]) -> None:
        """Scalars at the last step; close the event file."""
        self.log(self._last, figures)
        self._writer.close()


def begin(folder: Path, name: str, settings: Settings) -> TensorBoardTracker:
    """The tracker of a run in a new folder; TensorBoard takes its name from the path."""
    return TensorBoardTracker(folder, settings)
