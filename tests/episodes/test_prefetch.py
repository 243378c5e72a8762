"""Work ahead in threads: its order, its errors, what it holds, and that nobody waits idly."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice

import pytest

from episodes.prefetch import _Job, prefetched

SECONDS = 20


class Array:
    """What a weak reference can follow."""


def numbers(start: int = 0) -> Iterator[Callable[[], int]]:
    return (partial(int, number) for number in count(start))


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_results_come_in_order_and_end_with_the_tasks(threads: int) -> None:
    assert list(prefetched(islice(numbers(), 200), threads)) == list(range(200))
    assert list(prefetched([], threads)) == []
    assert list(islice(prefetched(numbers(), threads), 7)) == list(range(7))


def test_the_caller_works_while_a_thread_does() -> None:
    together = threading.Barrier(2, timeout=SECONDS)

    def meet() -> threading.Thread:
        together.wait()
        return threading.current_thread()

    workers = list(prefetched([meet, meet], threads=1))
    assert threading.main_thread() in workers and len(set(workers)) == 2


def test_a_thread_works_ahead_while_the_caller_does_not_ask() -> None:
    begun = [threading.Event() for _ in range(3)]
    results = prefetched((event.set for event in begun), threads=1)
    next(results)
    assert begun[1].wait(SECONDS)
    results.close()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_no_more_tasks_are_taken_than_are_worked_ahead(threads: int) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[Callable[[], int]]:
        for number in range(100):
            taken.append(number)
            yield partial(int, number)

    for number in prefetched(tasks(), threads):
        assert len(taken) <= number + 4 + threads


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_an_error_comes_when_its_turn_has_come(threads: int) -> None:
    def wrong() -> int:
        raise ValueError("the fourth")

    tasks = [*islice(numbers(), 3), wrong, *islice(numbers(4), 3)]
    results = prefetched(tasks, threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)
    assert list(results) == []


def test_an_interrupt_of_the_caller_does_not_wait_for_its_turn() -> None:
    together = threading.Barrier(2, timeout=SECONDS)
    interrupted = threading.Event()

    def meet() -> None:
        together.wait()
        if threading.current_thread() is threading.main_thread():
            interrupted.set()
            raise KeyboardInterrupt
        assert interrupted.wait(SECONDS)

    with pytest.raises(KeyboardInterrupt):
        next(prefetched([meet, meet], threads=1))


def test_an_exit_in_a_thread_is_told_to_the_caller() -> None:
    together = threading.Barrier(2, timeout=SECONDS)

    def meet() -> int:
        together.wait()
        if threading.current_thread() is not threading.main_thread():
            raise SystemExit(3)
        return 1

    with pytest.raises(SystemExit):
        list(prefetched([meet, meet], threads=1))


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_results_that_were_handed_over_are_held_by_nobody(threads: int) -> None:
    made: list[weakref.ref[Array]] = []

    def make() -> Array:
        array = Array()
        made.append(weakref.ref(array))
        return array

    for number, array in enumerate(prefetched([make] * 12, threads)):
        del array
        gc.collect()
        assert sum(each() is not None for each in list(made)) <= threads + 3, number


def test_a_job_that_a_thread_has_yet_to_come_across_holds_no_result() -> None:
    job = _Job(Array)
    assert not job.is_done() and job.do() and job.is_done()
    made = weakref.ref(job.result())
    assert made() is None
    assert not job.do() and not job.claim()


def test_threads_end_when_the_results_are_left() -> None:
    before = threading.active_count()
    results = prefetched(numbers(), threads=4)
    next(results)
    assert threading.active_count() == before + 4
    results.close()
    assert threading.active_count() == before


def test_no_thread_is_left_when_the_interpreter_ends() -> None:
    # One that is found in C++ then ends the process by std::terminate, as torch's users saw.
    script = """
import atexit, threading, time
from episodes.prefetch import prefetched

atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))
left_open = prefetched([lambda: time.sleep(0.1)] * 20, threads=2)
next(left_open)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "['MainThread']\n", "")
