"""Work done ahead in threads, handed over in its order."""

import atexit
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar

Result = TypeVar("Result")


def prefetched(
    tasks: Iterable[Callable[[], Result]], threads: int
) -> Generator[Result, None, None]:
    """The results of `tasks`, in their order; `threads` work ahead on one task each and three more.

    Who asks for a result that is not there yet does not wait, but does the next task that no thread
    has begun: so n threads and a caller with nothing else to do keep n + 1 cores busy. With 0
    threads each task is done when its result is asked for.
    """
    if threads == 0:
        for task in tasks:
            yield task()
        return
    waiting = iter(tasks)
    ahead: deque[_Job[Result]] = deque()
    jobs: SimpleQueue[_Job[Result] | None] = SimpleQueue()
    workers = [_started(jobs) for _ in range(threads)]

    def end() -> None:
        for job in ahead:
            job.claim()
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            if not sys.is_finalizing():
                worker.join()

    # A thread that the interpreter's end finds in C++ takes the process down with it.
    atexit.register(end)
    try:
        while True:
            for task in islice(waiting, threads + 3 - len(ahead)):
                ahead.append(_Job(task))
                jobs.put(ahead[-1])
            if not ahead:
                return
            if not ahead[0].is_done():
                any(job.do() for job in ahead)
            yield ahead.popleft().result()
    finally:
        atexit.unregister(end)
        end()


class _Job(Generic[Result]):
    """A task, which is done by whoever claims it first."""

    # Two bare locks, as a Future costs as much as a tenth of the copy that it waits for.
    __slots__ = ("_claimed", "_error", "_pending", "_result", "_task")

    def __init__(self, task: Callable[[], Result]) -> None:
        self._task = task
        self._error: BaseException | None = None
        self._claimed, self._pending = threading.Lock(), threading.Lock()
        self._pending.acquire()

    def claim(self) -> bool:
        """Whether nobody has claimed it before."""
        return self._claimed.acquire(blocking=False)

    def do(self) -> bool:
        """Do the task unless it is claimed; says whether it was done here."""
        if not self.claim():
            return False
        try:
            self._result = self._task()
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise  # such as Ctrl-C, which is not to wait until the job's turn has come
        finally:
            self._pending.release()
        return True

    def is_done(self) -> bool:
        """Whether the result is there."""
        return not self._pending.locked()

    def result(self) -> Result:
        """Wait for what the task gave, and forget it; raises what the task raised."""
        with self._pending:
            pass
        if self._error is not None:
            raise self._error
        result = self._result
        del self._result  # a thread may come across this job much later
        return result


def _started(jobs: "SimpleQueue[_Job[Result] | None]") -> threading.Thread:
    """A thread that does the jobs until it is given None."""
    thread = threading.Thread(target=_work, args=(jobs,), name="episodes", daemon=True)
    thread.start()
    return thread


def _work(jobs: "SimpleQueue[_Job[Result] | None]") -> None:
    for job in iter(jobs.get, None):
        with suppress(BaseException):  # of which the caller is told
            job.do()
        del job  # it has the result, which is another's now
