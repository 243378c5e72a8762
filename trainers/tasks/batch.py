"""Regression tasks as arrays: one, or a batch of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RegressionTask:
    """One task: inputs [n, d] and targets [n, o], float32, of its support and query sets.

    Inputs that are images are uint8 [n, H, W, C]. `index` is the task's number in the stream.
    """

    support_inputs: np.ndarray
    support_targets: np.ndarray
    query_inputs: np.ndarray
    query_targets: np.ndarray
    index: int


@dataclass(frozen=True)
class RegressionBatch:
    """Several tasks: the arrays of `RegressionTask` with a leading axis; `index` int64 [B]."""

    support_inputs: np.ndarray
    support_targets: np.ndarray
    query_inputs: np.ndarray
    query_targets: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> RegressionTask:
        return RegressionTask(
            support_inputs=self.support_inputs[position],
            support_targets=self.support_targets[position],
            query_inputs=self.query_inputs[position],
            query_targets=self.query_targets[position],
            index=int(self.index[position]),
        )
