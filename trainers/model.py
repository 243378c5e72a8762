"""Trained models: initial weights and meta-parameters that adapt to a few labelled examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from episodes import images as pictures
from episodes.errors import UsageError
from trainers import catalog, combinations
from trainers.algorithms import Adaptation
from trainers.algorithms.base import named_moments
from trainers.config import RunConfig
from trainers.learner import Learner
from trainers.metrics import balanced_cross_entropy
from trainers.types import BatchNormMode, Params, Task, in_unit_range

FEWEST_CLASSES = 2
MOST_AT_ONCE = 500
"""Query inputs. More are taken in groups, each with every so many-th of them."""


@dataclass(frozen=True)
class ModelFacts:
    """All of a model that is no tensor.

    `config` are the settings of its run, `input_shape` is (channels, height, width) or (d,), and
    `network_outputs` the outputs that its network has; images of other sizes are resized by the
    method `resize`. `iteration` is the number of outer steps, `trained_on` what the run recorded of
    its store, whose images have the `licence`, `versions` what it ran with, and `results` its test
    figures, where these weights were tested.
    """

    config: RunConfig
    input_shape: tuple[int, ...]
    network_outputs: int
    resize: str
    licence: str
    iteration: int
    trained_on: Mapping[str, Any]
    versions: Mapping[str, str]
    results: Mapping[str, Any] | None = None

    @property
    def is_regression(self) -> bool:
        """Whether it predicts values, and not classes."""
        return catalog.is_regression(self.config.dataset)

    def outputs(self, way: int | None) -> int:
        """The network's outputs, for tasks of any number of classes."""
        return self.network_outputs


@dataclass(frozen=True)
class Model:
    """A trained learner's initial weights and meta-parameters, with all that it takes to adapt.

    `notes` say what to know of where they are from.
    """

    facts: ModelFacts
    learner: Learner
    params: Params = field(repr=False)
    meta: Params = field(repr=False)
    notes: tuple[str, ...] = ()

    def adapt(
        self, inputs: Any, targets: Any, steps: int | None = None, bn: str | None = None
    ) -> "AdaptedModel":
        """The model adapted to a support set, in as many steps as the run's tests took if not told.

        `inputs` are uint8 images `[H, W]` or `[H, W, C]` of any sizes, which are brought to the
        model's own, or floats `[n, C, H, W]` in 0..1; for regression, floats `[n, d]`. `targets`
        are n labels of any sort; for regression, values `[n, o]`. Where classes differ in their
        number of images, each weighs as much as another in the support loss, unless the model was
        trained on such tasks. `bn` says what normalises what is predicted: `batch`, the inputs that
        are predicted together, or `support`, the support set.

        Raises UsageError for fewer than two classes, for more than the model's head has rows, and
        for inputs that do not fit.
        """
        support = self.inputs(inputs)
        classes, values = self._targets(targets)
        if len(values) != len(support):
            raise UsageError(f"{len(support)} inputs have {len(values)} targets: give one for each")
        mode = self._normalised_by(bn)
        how = self._how(len(classes), steps)
        if _is_unbalanced(classes, values) and self.facts.config.sampler != "meta-dataset":
            how = replace(how, loss=balanced_cross_entropy)
        how = replace(how, bn=cast(BatchNormMode, mode))
        task = Task(support, values, support, values, self.learner.noise(seed=0, index=0))
        with torch.no_grad():
            fitted, _ = self.learner.algorithm.fit(how, self.params, self.meta, task)
            alone = self._support_moments(how, fitted, task) if mode == "batch" else {}
        return AdaptedModel(self, how, fitted, alone, classes)

    def inputs(self, values: Any) -> Tensor:
        """What `adapt` takes as the network takes it, float32 on the model's device."""
        shape = self.facts.input_shape
        if self.facts.is_regression or _are_floats(values):
            tensor = torch.as_tensor(np.asarray(values, np.float32))
            if tensor.shape[1:] != shape:
                expected = f"n x {' x '.join(map(str, shape))}"
                raise UsageError(
                    f"the inputs have the shape {list(tensor.shape)}; expected {expected}"
                    + ("" if self.facts.is_regression else ", or uint8 images of any size")
                )
            return tensor.to(self.learner.device)
        if not len(values):
            raise UsageError("found no images; expected one or more")
        pixels = np.stack([self.picture(np.asarray(value)) for value in values])
        on_device = torch.as_tensor(pixels).to(self.learner.device)
        return in_unit_range(on_device.movedim(-1, 1))

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """A uint8 image `[H, W]` or `[H, W, C]` in the channels and size of the training images."""
        channels, size, _ = self.facts.input_shape
        return pictures.resize(pictures.as_channels(pixels, channels), size, self.facts.resize)

    def _support_moments(self, how: Adaptation, fitted: Params, task: Task) -> Params:
        by_support = replace(how, bn="support")
        passes = self.learner.algorithm.passes(by_support, self.params, task)
        return named_moments(passes.final_query_moments(fitted))

    def _targets(self, targets: Any) -> tuple[np.ndarray, Tensor]:
        """The classes, none in regression, and the targets as the network is taught."""
        if self.facts.is_regression:
            values = torch.as_tensor(np.asarray(targets, np.float32)).to(self.learner.device)
            return np.empty(0), values
        classes, labels = np.unique(np.asarray(targets), return_inverse=True)
        if len(classes) < FEWEST_CLASSES:
            raise UsageError(
                f"found {len(classes)} class(es): expected {FEWEST_CLASSES} or more to tell apart"
            )
        return classes, torch.as_tensor(labels.ravel()).to(self.learner.device)

    def _how(self, way: int, steps: int | None) -> Adaptation:
        """How to adapt to a task of so many classes; a learned head's other rows are left out."""
        config, how = self.facts.config, replace(self.learner.evaluation, batched=False)
        if steps is not None:
            how = replace(how, steps=replace(config, eval_steps=steps).eval_steps)
        if self.facts.is_regression:
            return how
        rows = self.facts.network_outputs
        if (why := combinations.one_way(config)) is None:
            return replace(how, way=way, padded=False)
        if way > rows:
            reason, remedy = why
            raise UsageError(
                f"found {way} classes: the model was trained with --way {rows}, and {reason}: "
                f"give {rows} classes or fewer, or train a run with --way {way}"
                + (f" or {remedy}" if remedy else "")
            )
        return replace(how, way=rows, padded=way < rows)

    def _normalised_by(self, bn: str | None) -> str:
        trained = self.facts.config.bn
        if bn not in (None, trained, "batch", "support"):
            raise UsageError(f"bn is {bn!r}; expected batch or support")
        if bn not in (None, trained) and trained == "per-step":
            raise UsageError(f"the model was trained with --bn per-step: leave {bn!r} out")
        return bn or trained


@dataclass(frozen=True)
class AdaptedModel:
    """A model adapted to a support set, whose `classes` are its labels in their order.

    Where it is transductive, the inputs of one call are normalised together, so that a prediction
    depends on the others; one input alone is then normalised by the `support_moments`.
    """

    model: Model
    how: Adaptation
    fitted: Params = field(repr=False)
    support_moments: Params = field(repr=False)
    classes: np.ndarray

    @property
    def is_transductive(self) -> bool:
        """Whether the inputs of one call are normalised together."""
        return self.how.bn == "per-step" or bool(self.support_moments)

    def outputs(self, inputs: Any) -> np.ndarray:
        """Logits float32 `[n, classes]` of inputs as for `Model.adapt`, or values `[n, o]`."""
        tensor = self.model.inputs(inputs)
        count = len(tensor)
        kept = len(self.classes) or self.model.facts.network_outputs
        found = np.empty((count, kept), np.float32)
        fitted = self.fitted | self.support_moments if count == 1 else self.fitted
        groups = -(-count // MOST_AT_ONCE)
        for first in range(groups):
            with torch.no_grad():
                outputs = self.model.learner.algorithm.predict(
                    self.how, self.model.params, fitted, tensor[first::groups]
                )
            found[first::groups] = outputs[:, :kept].cpu().numpy()
        return found

    def probabilities(self, inputs: Any) -> np.ndarray:
        """Probabilities float64 `[n, classes]`, the softmax of the logits."""
        logits = self.outputs(inputs).astype(np.float64)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True))

    def predict(self, inputs: Any) -> np.ndarray:
        """The most probable label `[n]` of each input; for regression, the values `[n, o]`."""
        outputs = self.outputs(inputs)
        return outputs if self.model.facts.is_regression else self.classes[outputs.argmax(1)]

    def notes(self, count: int) -> list[str]:
        """What to know of predictions for `count` images in one call."""
        found = []
        if self.how.padded:
            found.append(
                f"{len(self.classes)} classes use as many of the head's {self.how.way} rows"
            )
        if self.support_moments and count == 1:
            found.append("one query image alone is normalised by the support set")
        elif self.is_transductive:
            groups = -(-count // MOST_AT_ONCE)
            together = "together" if groups == 1 else f"in {groups} groups"
            found.append(
                f"the query images are normalised {together}, so each prediction depends on the "
                "others" + (": --bn support makes them independent" if self.support_moments else "")
            )
        return found


def _is_unbalanced(classes: np.ndarray, labels: Tensor) -> bool:
    return len(classes) > 0 and len(torch.bincount(labels).unique()) > 1


def _are_floats(values: Any) -> bool:
    if isinstance(values, Tensor):
        return values.is_floating_point()
    first = values[0] if isinstance(values, Sequence) and len(values) else values
    return np.issubdtype(np.asarray(first).dtype, np.floating)
