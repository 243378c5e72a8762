"""Other libraries' training steps, as their own examples do them, on the same tasks and weights."""

import importlib
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training_bench.network import gradients, with_weights
from training_bench.problem import Problem
from training_bench.setting import Setting, Skipped


class Peer(ABC):
    """A library's loop: a task adapts, its query loss is reversed, then the next; then Adam.

    `maml` adapts the whole network, `fomaml` does so in first order, `anil` adapts the head on
    features that the body gives once a task.
    """

    def __init__(self, setting: Setting, problem: Problem, algo: str) -> None:
        self._tasks, self._steps, self._rate = problem, setting.steps, setting.inner_lr
        self._network = with_weights(setting, problem.params)
        self._body, self._inner = self._network.parts(algo)
        self._is_first_order = algo == "fomaml"
        self._optimizer = torch.optim.Adam(self._network.parameters(), setting.outer_lr)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """What the library wraps the adapting module in."""

    @abstractmethod
    def reverse(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Adapt to a task of features, add its query loss's gradients; query loss and logits."""

    def features(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """What the inner loop sees; each set is normalised by its own moments."""
        return self._body(support), self._body(query)

    def iterate(self, count: int) -> None:
        """Do so many iterations."""
        for _ in range(count):
            self._meta_gradient()
            self._optimizer.step()

    def gradient(self) -> dict[str, Tensor]:
        """The meta-gradient at the present weights."""
        self._meta_gradient()
        return gradients(self._network)

    def _meta_gradient(self) -> None:
        self._optimizer.zero_grad()
        loss, accuracy = 0.0, 0.0
        for support, support_labels, query, query_labels in self._tasks.each_task():
            features = self.features(support, query)
            found, logits = self.reverse(features[0], support_labels, features[1], query_labels)
            loss += found.item()
            accuracy += (logits.argmax(1) == query_labels).float().mean().item()
        for tensor in self._network.parameters():
            if tensor.grad is not None:
                tensor.grad.mul_(1 / len(self._tasks.tasks[0]))


class Learn2Learn(Peer):
    """learn2learn's `MAML` wrapper, cloned for each task."""

    def prepare(self) -> None:
        """Wrap the adapting module."""
        algorithms = importlib.import_module("learn2learn").algorithms
        first_order = self._is_first_order
        self._learner = algorithms.MAML(self._inner, lr=self._rate, first_order=first_order)

    def reverse(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Clone, adapt, reverse."""
        learner = self._learner.clone()
        for _ in range(self._steps):
            learner.adapt(F.cross_entropy(learner(support), support_labels))
        logits = learner(query)
        loss = F.cross_entropy(logits, query_labels)
        loss.backward()
        return loss, logits


class Learn2LearnOnePass(Learn2Learn):
    """Its ANIL example to the letter: support and query images pass the body as one batch, so that
    they share their moments, which is another function."""

    def features(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Features of both sets in one pass."""
        both = self._body(torch.cat((support, query)))
        return both[: len(support)], both[len(support) :]


class Higher(Peer):
    """higher's `innerloop_ctx` over SGD."""

    def prepare(self) -> None:
        """The inner optimiser."""
        self._higher: Any = importlib.import_module("higher")
        self._inner_optimizer = torch.optim.SGD(self._inner.parameters(), self._rate)

    def reverse(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """In first order the gradients of the adapted weights are those of the initial ones."""
        second_order = not self._is_first_order
        with self._higher.innerloop_ctx(
            self._inner,
            self._inner_optimizer,
            copy_initial_weights=False,
            track_higher_grads=second_order,
        ) as (adapted, optimizer):
            for _ in range(self._steps):
                optimizer.step(F.cross_entropy(adapted(support), support_labels))
            logits = adapted(query)
            loss = F.cross_entropy(logits, query_labels)
            if second_order:
                loss.backward()
                return loss, logits
            found = torch.autograd.grad(loss, list(adapted.parameters()))
            for tensor, gradient in zip(self._inner.parameters(), found, strict=True):
                tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient
        return loss, logits


class TorchOpt(Peer):
    """TorchOpt's `MetaSGD`, its state extracted before a task and recovered after it."""

    def prepare(self) -> None:
        """The inner optimiser, and the states that each task starts from."""
        if self._is_first_order:
            raise Skipped("MetaSGD has no first order")
        self._torchopt: Any = importlib.import_module("torchopt")
        self._inner_optimizer = self._torchopt.MetaSGD(self._inner, lr=self._rate)
        extract = self._torchopt.extract_state_dict
        self._start = extract(self._inner, by="reference", detach_buffers=True)
        self._optimizer_start = extract(self._inner_optimizer, by="reference")

    def reverse(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Adapt, reverse, recover."""
        for _ in range(self._steps):
            self._inner_optimizer.step(F.cross_entropy(self._inner(support), support_labels))
        logits = self._inner(query)
        loss = F.cross_entropy(logits, query_labels)
        loss.backward()
        self._torchopt.recover_state_dict(self._inner, self._start)
        self._torchopt.recover_state_dict(self._inner_optimizer, self._optimizer_start)
        return loss, logits


PEERS: dict[str, type[Peer]] = {
    "learn2learn": Learn2Learn,
    "learn2learn, one pass": Learn2LearnOnePass,
    "higher": Higher,
    "torchopt": TorchOpt,
}
