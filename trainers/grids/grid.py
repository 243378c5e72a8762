"""Finishing the cells of a grid: those that are finished are kept, those that were begun go on."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from trainers.files import writing
from trainers.grids.cell import Cell, Ended
from trainers.grids.planning import planned


class Engine(Protocol):
    """Where cells run."""

    @property
    def threads(self) -> int:
        """The threads of a cell that does not set them."""

    def run(
        self, cells: Sequence[Cell], folder: Path, say: Callable[[str], object]
    ) -> Generator[Ended]:
        """Each cell as it ends, of those that have `threads` and `device` among their settings.

        Closing the generator interrupts those that run, which can then be resumed.
        """


def finish(
    cells: Sequence[Cell], folder: Path, engine: Engine, say: Callable[[str], object]
) -> dict[str, str]:
    """Train and test the cells that are not finished in `folder`, each in a directory of its name.

    What a cell says is kept beside its directory, in NAME.log; a line a cell is said. The failures
    are returned: why a cell is not finished, by its name. They do not stop the others, and the next
    call tries them again.

    Raises UsageError and EpisodesError, as `planned`, before a cell runs; KeyboardInterrupt when
    those that ran have ended, with a checkpoint.
    """
    ready = planned(cells, folder, engine.threads)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    left = [cell for cell in ready if not cell.directory(folder).results.exists()]
    done = len(ready) - len(left)
    if done:
        say(f"{done} of {len(ready)} cells are finished already")
    failures: dict[str, str] = {}
    if not left:
        return failures
    with closing(engine.run(left, folder, say)) as ended:
        for cell, failure in ended:
            done += 1
            say(f"{done}/{len(ready)} {cell.name}: {failure or cell.last_line(folder)}")
            if failure is not None:
                failures[cell.name] = failure
    return failures
