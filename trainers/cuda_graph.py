"""The outer gradient as a CUDA graph: recorded once, then launched as a whole.

A GPU waits most of the time for the thousands of small operations of an outer step to be launched.
A graph launches them at once, on the same tensors in the same places: its inputs are copied there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from trainers.algorithms import Adaptation
from trainers.types import Params, Task

T = TypeVar("T")
Differentiate = Callable[[Params, Params, Task, Tensor | None], T]
"""Sets the gradients of the tensors of two dicts, for tasks and an order, and gives the rest."""

WARM_UPS = 3


class Recorder(Protocol):
    """What makes a function's work on a device repeatable."""

    def record(self, function: Callable[[], T]) -> Callable[[], T]:
        """What does that work again, in the same memory, and gives what `function` gave.

        Raises RuntimeError where the function does what cannot be recorded.
        """


class CudaGraphRecorder:
    """Records CUDA graphs of one memory, so that none may run beside another."""

    def __init__(self) -> None:
        self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    def record(self, function: Callable[[], T]) -> Callable[[], T]:
        """The graph's launch; kernels are chosen and libraries begun in some runs before."""
        graph, stream = torch.cuda.CUDAGraph(), self._stream
        stream.wait_stream(torch.cuda.current_stream())
        # Around both: torch.cuda.graph of older versions leaves its stream on where it fails.
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                function()
            with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
                given = function()
        torch.cuda.current_stream().wait_stream(stream)

        def replay() -> T:
            graph.replay()
            return given

        return replay


@dataclass(frozen=True)
class Recording:
    """A recorded outer gradient: its inputs, of which weights and meta-parameters share the memory
    of those that are trained, and what computes it anew."""

    params: Params
    meta: Params
    fed: list[Tensor]
    replay: Callable[[], Any]


class CapturedOuterGradient:
    """An outer gradient of batched tasks, recorded for each shape of tasks that it meets.

    The numbers are those of the function that is recorded, which must not wait for the device. Of
    several ways to adapt only the recordings of the last are kept. Recordings are no state: where
    one fails, `note` is told once, and the function itself is called from then on.
    """

    def __init__(self, new_recorder: Callable[[], Recorder] = CudaGraphRecorder) -> None:
        self.note: Callable[[str], None] | None = None
        self._new_recorder = new_recorder
        self._recorder: Recorder | None = None
        self._how: Adaptation | None = None
        self._recordings: dict[Any, Recording] = {}
        self._has_failed = False

    def __call__(
        self,
        differentiate: Differentiate[T],
        how: Adaptation,
        params: Params,
        meta: Params,
        tasks: Task,
        order: Tensor | None = None,
    ) -> T:
        """What `differentiate` gives for these tasks, adapted to as `how` says, with the gradients
        of `params` and `meta` set; both stay as they are until the next call."""
        recording = self._recording(differentiate, how, params, meta, tasks, order)
        if recording is None:
            return differentiate(params, meta, tasks, order)
        for buffer, tensor in zip(recording.fed, _tensors(tasks, order), strict=True):
            buffer.copy_(tensor)
        found = recording.replay()
        for trained, recorded in ((params, recording.params), (meta, recording.meta)):
            for name, tensor in trained.items():
                tensor.grad = recorded[name].grad
        return found

    def _recording(
        self,
        differentiate: Differentiate[T],
        how: Adaptation,
        params: Params,
        meta: Params,
        tasks: Task,
        order: Tensor | None,
    ) -> Recording | None:
        """That of these shapes and of these tensors' memory; None where recording has failed."""
        if self._has_failed:
            return None
        shapes = [(tensor.shape, tensor.dtype) for tensor in _tensors(tasks, order)]
        key = (*shapes, *(tensor.data_ptr() for tensor in (*params.values(), *meta.values())))
        try:
            if how != self._how or self._recorder is None:
                self._recordings.clear()
                self._how, self._recorder = how, self._new_recorder()
            if key not in self._recordings:
                self._recordings[key] = _recorded(
                    self._recorder, differentiate, params, meta, tasks, order
                )
        except RuntimeError as error:
            self._has_failed = True
            self._recordings.clear()
            if self.note is not None:
                cause = error.__context__ or error  # Ending a broken recording fails once more.
                self.note(
                    f"no CUDA graph ({str(cause).partition(chr(10))[0]}): "
                    "going on without, slower and with the same numbers"
                )
            return None
        return self._recordings[key]


def _recorded(
    recorder: Recorder,
    differentiate: Differentiate[T],
    params: Params,
    meta: Params,
    tasks: Task,
    order: Tensor | None,
) -> Recording:
    device = tasks.support_inputs.device
    noise = {name: draws.clone() for name, draws in tasks.noise.items()}
    support_inputs, support_targets, query_inputs, query_targets = (t.clone() for t in tasks[:4])
    own_tasks = Task(support_inputs, support_targets, query_inputs, query_targets, noise)
    own_order = None if order is None else order.to(device, copy=True)
    # Leaves of the recording's own: those of the run may have been used on another CUDA stream.
    own_params, own_meta = (
        {name: tensor.detach().requires_grad_(tensor.requires_grad) for name, tensor in own.items()}
        for own in (params, meta)
    )
    replay = recorder.record(lambda: differentiate(own_params, own_meta, own_tasks, own_order))
    return Recording(own_params, own_meta, _tensors(own_tasks, own_order), replay)


def _tensors(tasks: Task, order: Tensor | None) -> list[Tensor]:
    """All tensors of the tasks, then the order if there is one."""
    noise = [tasks.noise[name] for name in sorted(tasks.noise)]
    return [*tasks[:4], *noise, *([] if order is None else [order])]
