"""TRLearner's part of the outer gradient, against finite differences, double loops and hand."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.errors import UsageError
from trainers.algorithms import ANIL, BOIL, MAML, R2D2, Adaptation, Algorithm, ProtoNet, TNet
from trainers.algorithms.base import initial
from trainers.backbones import MLP, Conv4
from trainers.evaluation import evaluate
from trainers.learner import Learner
from trainers.metrics import ACCURACY, MSE
from trainers.outer_gradient import MetaBatch, OuterStep
from trainers.rates import Fixed, MetaSGD, RateScheme
from trainers.regularizers import TRLearner, crossed
from trainers.regularizers.trlearner import HEADS
from trainers.types import Params, Task, each_task

WAY, SIZE = 3, 4
HOSTS: dict[str, tuple[Algorithm, RateScheme, dict[str, Any]]] = {
    "maml": (MAML(), Fixed(0.1), {}),
    "fomaml": (MAML(), Fixed(0.1), {"second_order": False}),
    "anil": (ANIL(), Fixed(0.1), {}),
    "boil": (BOIL(), Fixed(0.1), {}),
    "meta-sgd": (MAML(), MetaSGD(0.1), {}),
    "t-net": (TNet(), Fixed(0.1), {}),
    "protonet": (ProtoNet(), Fixed(0.1), {"steps": 0}),
    "r2d2": (R2D2(), Fixed(0.1), {"steps": 0}),
    "proto-maml": (MAML(), Fixed(0.1), {"head_init": "prototypes"}),
}


@dataclass(frozen=True)
class Frozen(TRLearner):
    """With the representations as they once were: what stopping their gradient means."""

    kept: Tensor | None = None

    def representations(self, *arguments: Any) -> Tensor:
        return super().representations(*arguments) if self.kept is None else self.kept


def draw_tasks(count: int, seed: int = 0, alike: bool = False) -> Task:
    generator = torch.Generator().manual_seed(seed)
    draws = 1 if alike else count
    support = torch.randn(draws, 2 * WAY, SIZE, generator=generator, dtype=torch.float64)
    query = torch.randn(draws, 3 * WAY, SIZE, generator=generator, dtype=torch.float64)
    labels = torch.arange(WAY)
    tasks = Task(
        support,
        labels.repeat_interleave(2).expand(draws, -1),
        query,
        labels.repeat_interleave(3).expand(draws, -1),
    )
    return Task(*(tensor.expand(count, *tensor.shape[1:]) for tensor in tasks[:4]))


def build(
    host: str, regularizer: TRLearner | None, seed: int = 1, **changes: Any
) -> tuple[Learner, Params, Params]:
    algorithm, scheme, own = HOSTS[host]
    how = Adaptation(
        backbone=MLP(SIZE, WAY, (5,)),
        scheme=scheme,
        loss=F.cross_entropy,
        way=WAY,
        steps=2,
        training=True,
    )
    how = replace(how, **own, **changes)
    learner = Learner(algorithm, how, how, ACCURACY, "cpu", regularizer)
    generator = torch.Generator().manual_seed(seed)
    params, meta = initial(algorithm, how, generator, "cpu")
    if regularizer is not None:
        params[HEADS] = regularizer.init(how, generator)[HEADS].requires_grad_()
    doubled = [
        {name: t.detach().double().requires_grad_(t.requires_grad) for name, t in tensors.items()}
        for tensors in (params, meta)
    ]
    return learner, doubled[0], doubled[1]


def gradients(
    learner: Learner, params: Params, meta: Params, tasks: Task, order: Tensor | None = None
) -> tuple[dict[str, Tensor], OuterStep]:
    step = MetaBatch(learner, learner.training, params, meta, tasks, order=order).gradient()
    found = {n: t.grad.clone() for n, t in (params | meta).items() if t.grad is not None}
    return found, step


def objective(
    learner: Learner, params: Params, meta: Params, tasks: Task, order: Tensor | None = None
) -> float:
    """J by a double loop over models and tasks."""
    how, algorithm, regularizer = learner.training, learner.algorithm, learner.regularizer
    fitted = [algorithm.fit(how, params, meta, task) for task in each_task(tasks)]
    total = torch.stack([result.outer_loss for _, result in fitted]).mean()
    if regularizer is None:
        return total.item()
    relations = regularizer.relations(algorithm, how, params, tasks, order)
    losses = []
    for i, task in enumerate(each_task(tasks)):
        weights = [0 if p == i else relations[i, p].relu() for p in range(len(fitted))]
        outputs = [
            weight / sum(weights) * algorithm.predict(how, params, model, task.query_inputs)
            for weight, (model, _) in zip(weights, fitted, strict=True)
        ]
        losses.append(how.loss(torch.stack(outputs).sum(0), task.query_targets))
    return (total + regularizer.strength * torch.stack(losses).mean()).item()


def differences(function: Callable[[], float], tensor: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences of a function with respect to each element of a leaf."""
    flat, found = tensor.detach().view(-1), []
    for place in range(len(flat)):
        kept = flat[place].item()
        values = []
        for side in (1, -1):
            flat[place] = kept + side * step
            values.append(function())
        flat[place] = kept
        found.append((values[0] - values[1]) / (2 * step))
    return torch.tensor(found, dtype=tensor.dtype).view_as(tensor)


@pytest.mark.parametrize("batched", [False, True], ids=["loop", "batched"])
@pytest.mark.parametrize("host", HOSTS)
def test_outer_gradient_equals_finite_differences(host: str, batched: bool) -> None:
    tasks = draw_tasks(3)
    regularizer = Frozen(strength=0.7, heads=2)
    learner, params, meta = build(host, regularizer, batched=batched)
    kept = regularizer.representations(learner.algorithm, learner.training, params, tasks)
    learner = replace(learner, regularizer=replace(regularizer, kept=kept))
    found, _ = gradients(learner, params, meta, tasks)
    alone = replace(learner, training=replace(learner.training, batched=False))
    names = [HEADS, "hidden1.weight", "head.bias", *meta]
    checked = [n for n in names if n in found and not (host == "fomaml" and n != HEADS)]
    assert checked[: 1 if host == "fomaml" else 2] == names[: 1 if host == "fomaml" else 2]
    for name in checked:
        leaf = (params | meta)[name]
        expected = differences(lambda: objective(alone, params, meta, tasks), leaf)
        assert torch.allclose(found[name], expected, rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize("relation", ["learned", "uniform", "shuffled"])
@pytest.mark.parametrize("host", ["maml", "fomaml", "anil", "protonet"])
def test_tasks_at_once_and_one_by_one_give_the_same_gradient(host: str, relation: str) -> None:
    tasks, order = draw_tasks(4), torch.tensor([2, 3, 1, 0])
    regularizer = TRLearner(relation=relation)
    learner, params, meta = build(host, regularizer)
    looped, step = gradients(learner, params, meta, tasks, order)
    at_once = replace(learner, training=replace(learner.training, batched=True))
    batched, other = gradients(at_once, params, meta, tasks, order)
    assert looped.keys() == batched.keys()
    assert step.consistency == pytest.approx(other.consistency, abs=1e-12)
    for name, gradient in looped.items():
        assert torch.allclose(gradient, batched[name], rtol=1e-10, atol=1e-12), name
    if relation == "uniform":
        assert HEADS not in looped


@pytest.mark.parametrize("bn", ["batch", "support"])
@pytest.mark.parametrize("host", ["maml", "boil", "meta-sgd", "t-net", "proto-maml"])
def test_recomputed_graphs_give_the_same_gradient(host: str, bn: str) -> None:
    tasks = draw_tasks(3)
    learner, params, meta = build(host, TRLearner(strength=0.7), bn=bn)
    expected, _ = gradients(learner, params, meta, tasks)
    how = replace(learner.training, recomputed=True)
    found, _ = gradients(replace(learner, training=how), params, meta, tasks)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("batched", [False, True], ids=["loop", "batched"])
@pytest.mark.parametrize("host", ["maml", "fomaml", "anil", "meta-sgd", "t-net", "protonet"])
def test_without_strength_the_gradient_is_the_base_learner_s_bit_for_bit(
    host: str, batched: bool
) -> None:
    tasks = draw_tasks(3)
    base, params, meta = build(host, None, batched=batched)
    expected, _ = gradients(base, params, meta, tasks)
    regularizer = TRLearner(strength=0.0)
    heads = {HEADS: regularizer.init(base.training, torch.Generator())[HEADS].double()}
    learner = replace(base, regularizer=regularizer)
    found, step = gradients(learner, params | heads, meta, tasks)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name
    assert step.consistency is not None and step.consistency > 0


def test_one_task_has_no_peers_and_two_teach_the_heads_nothing() -> None:
    learner, params, meta = build("maml", TRLearner())
    _, step = gradients(learner, params, meta, draw_tasks(1))
    assert step.consistency == 0
    learner, params, meta = build("maml", TRLearner(representation="features"))
    found, step = gradients(learner, params, meta, draw_tasks(2))
    assert step.consistency is not None and step.consistency > 0
    assert found[HEADS].abs().max() == 0


def test_identical_tasks_predict_for_each_other_as_for_themselves() -> None:
    learner, params, meta = build("maml", TRLearner())
    _, step = gradients(learner, params, meta, draw_tasks(3, alike=True))
    assert step.consistency == pytest.approx(step.loss, abs=1e-12)


def test_models_that_know_nothing_have_the_loss_of_a_guess() -> None:
    learner, params, meta = build("maml", TRLearner(), steps=0)
    for name in ("head.weight", "head.bias"):
        params[name].data.zero_()
    _, step = gradients(learner, params, meta, draw_tasks(4))
    assert step.consistency == pytest.approx(math.log(WAY), abs=1e-15)


def test_with_random_labels_nothing_beats_a_guess_on_average() -> None:
    learner, params, meta = build("maml", TRLearner())
    measured = []
    for seed in range(60):
        tasks = draw_tasks(4, seed=seed)
        _, step = gradients(learner, params, meta, tasks)
        measured.append(step.consistency or 0.0)
    assert sum(measured) / len(measured) > math.log(WAY)


def test_relations_send_no_gradient_into_the_weights() -> None:
    tasks = draw_tasks(3)
    learner, params, _ = build("maml", TRLearner())
    assert learner.regularizer is not None
    relations = learner.regularizer.relations(learner.algorithm, learner.training, params, tasks)
    relations.sum().backward()
    assert params[HEADS].grad is not None
    assert all(tensor.grad is None for name, tensor in params.items() if name != HEADS)


def test_a_task_s_representation_does_not_depend_on_the_order_of_its_samples() -> None:
    learner, params, _ = build("maml", None)
    tasks, order = draw_tasks(2), torch.tensor([4, 0, 3, 1, 5, 2])
    moved = tasks._replace(
        support_inputs=tasks.support_inputs[:, order],
        support_targets=tasks.support_targets[:, order],
    )
    regularizer = TRLearner()
    first, second = (
        regularizer.representations(learner.algorithm, learner.training, params, which)
        for which in (tasks, moved)
    )
    assert torch.allclose(first, second, atol=1e-14)


def test_labelled_representations_are_the_head_s_gradient_at_a_zero_prediction() -> None:
    backbone = MLP(1, 1, (5,))
    generator = torch.Generator().manual_seed(0)
    params = {name: tensor.double() for name, tensor in backbone.init(generator).items()}
    inputs = torch.randn(2, 7, 1, generator=generator, dtype=torch.float64)
    targets = torch.randn(2, 7, 1, generator=generator, dtype=torch.float64)
    how = Adaptation(backbone, Fixed(0.1), MSE.loss, way=1, steps=1)
    tasks = Task(inputs, targets, inputs, targets)
    found = TRLearner(representation="labelled").representations(MAML(), how, params, tasks)
    for task, representation in zip(each_task(tasks), found, strict=True):
        head = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
        features = backbone.features(params, task.support_inputs)
        MSE.loss(features @ head.T, task.support_targets).backward()
        assert head.grad is not None
        assert torch.allclose(representation, -head.grad.flatten() / 2, atol=1e-14)


@pytest.mark.parametrize("bn", ["batch", "support", "per-step"])
def test_cross_evaluation_at_once_equals_a_double_loop(bn: Any) -> None:
    backbone = Conv4(way=2, in_channels=1, image_size=16, filters=3)
    algorithm = MAML(adapt_bn=False)
    how = Adaptation(
        backbone, Fixed(0.1), F.cross_entropy, way=2, steps=2, bn=bn, training=True, batched=True
    )
    params, meta = initial(algorithm, how, torch.Generator().manual_seed(0), "cpu")
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 4, 1, 16, 16, generator=generator)
    labels = torch.tensor([0, 0, 1, 1]).expand(3, 4)
    tasks = Task(images, labels, images.flip(0), labels)
    models, _ = algorithm.fit_batch(how, params, meta, tasks)

    def predict(model: Params, inputs: Tensor) -> Tensor:
        return algorithm.predict(how, params, model, inputs)

    expected = torch.stack(
        [
            torch.stack(
                [
                    predict({name: tensor[p] for name, tensor in models.items()}, inputs)
                    for inputs in tasks.query_inputs
                ]
            )
            for p in range(3)
        ]
    )
    for at_once in (True, False):
        found = crossed(predict, models, tasks.query_inputs, at_once=at_once)
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    for i, task in enumerate(each_task(tasks)):  # The diagonal is the tasks' own query pass.
        _, result = algorithm.fit(replace(how, batched=False), params, meta, task)
        assert torch.allclose(expected[i, i], result.outputs, rtol=1e-4, atol=1e-5)


def test_own_head_lets_peers_predict_through_the_task_s_head() -> None:
    tasks = draw_tasks(3)
    learner, params, meta = build("maml", TRLearner(head="own", relation="uniform"))
    fitted = [learner.algorithm.fit(learner.training, params, meta, t)[0] for t in each_task(tasks)]
    losses = []
    for i, task in enumerate(each_task(tasks)):
        outputs = []
        for p, model in enumerate(fitted):
            if p != i:
                hidden = F.linear(task.query_inputs, model["hidden1.weight"], model["hidden1.bias"])
                own = (fitted[i]["head.weight"], fitted[i]["head.bias"])
                outputs.append(F.linear(hidden.relu(), *own))
        losses.append(F.cross_entropy(torch.stack(outputs).mean(0), task.query_targets))
    _, step = gradients(learner, params, meta, tasks)
    assert step.consistency == pytest.approx(torch.stack(losses).mean().item(), abs=1e-12)


def test_tests_do_not_depend_on_heads_or_strength() -> None:
    learner, params, meta = build("maml", TRLearner(strength=0.3))
    how = replace(learner.training, training=False)
    before, after = (
        evaluate(learner.algorithm, how, params | heads, meta, [draw_tasks(3)], ACCURACY)
        for heads in ({}, {HEADS: 5 * params[HEADS]})
    )
    assert (before.losses == after.losses).all()
    assert (before.figures == after.figures).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"relation": "learnt"}, "unknown trlearner relation 'learnt': did you mean 'learned'?"),
        ({"strength": -0.1}, "strength is -0.1, expected 0 or more"),
        ({"strength": math.nan}, "strength is nan"),
        ({"heads": 0}, "heads is 0, expected at least 1"),
        ({"temperature": 0.0}, "temperature is 0.0, expected above 0"),
        ({"weighting": "literal", "pool": "probabilities"}, "literal weights can be negative"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        TRLearner(**fields)


def test_shuffled_relations_need_an_order() -> None:
    learner, params, meta = build("maml", TRLearner(relation="shuffled"))
    with pytest.raises(UsageError, match="need an order"):
        gradients(learner, params, meta, draw_tasks(3))
