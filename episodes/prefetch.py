"""Work done ahead in threads, handed over in its order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Result = TypeVar("Result")


def prefetched(tasks: Iterable[Callable[[], Result]], threads: int) -> Iterator[Result]:
    """The results of `tasks`, in their order; `threads` work ahead on one task each and one more.

    With 0 threads each task is done when its result is asked for.
    """
    if threads == 0:
        for task in tasks:
            yield task()
        return
    waiting = iter(tasks)
    with ThreadPoolExecutor(threads, thread_name_prefix="episodes") as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            while True:
                for task in islice(waiting, threads + 1 - len(ahead)):
                    ahead.append(pool.submit(task))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
