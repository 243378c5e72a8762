"""Stopping between two steps: Ctrl-C is noted, and acted on where the state is whole."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from episodes.errors import EpisodesError


class Interrupted(EpisodesError):
    """The run was asked to stop; the message says how to continue it."""

    exit_code = 128 + signal.SIGINT


class Interrupt:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raises Interrupted where the user did."""
        if self.requested:
            raise Interrupted("interrupted")

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Notes the first Ctrl-C instead of raising KeyboardInterrupt; a second one raises it."""
        previous = signal.getsignal(signal.SIGINT)

        def note(signum: int, frame: FrameType | None) -> None:
            self.requested = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


@contextmanager
def endings_as_interrupts() -> Iterator[None]:
    """Raises KeyboardInterrupt also where the process is told to end, or its terminal is gone."""
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
