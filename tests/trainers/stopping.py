"""A user who stops a run in the middle."""

from typing import Any

from trainers.interrupt import Interrupt
from trainers.progress import Progress


class StopAfter(Progress):
    """Progress whose user asks to stop once `iteration` outer steps are done."""

    def __init__(self, iteration: int | None) -> None:
        super().__init__(Interrupt())
        self._iteration = iteration

    def _line_now_and_then(self, phase: Any) -> None:
        self.interrupt.requested = phase.name == "training" and phase.done == self._iteration
