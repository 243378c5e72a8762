"""Settings that contradict each other are refused, with the reason and the way out."""

import pytest

from episodes.errors import UsageError
from trainers.catalog import ALGORITHMS, RATE_SCHEMES
from trainers.config import Settings, complete

MACHINE = {"split": "quarters", "threads": 1}


def refused(settings: Settings, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        complete(settings, MACHINE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "sinusoid", "way": 5}, "--way 5 has no use in sinusoid: it has no classes"),
        ({"dataset": "sinusoid", "metric": "accuracy"}, "accuracy has no use.*: use mse or r2"),
        ({"metric": "r2"}, "--metric r2 has no use in glyphs: use accuracy"),
        ({"dataset": "sinusoid", "algo": "protonet"}, "protonet classifies.*: use maml"),
        ({"dataset": "sinusoid", "head_init": "prototypes"}, "needs classes.*: use learned"),
        (
            {"dataset": "sinusoid", "lr": "personalized", "divergence": "kl_clamped"},
            "--divergence kl_clamped needs classes.*: leave it out",
        ),
    ],
)
def test_regression_has_no_classes(settings: Settings, message: str) -> None:
    refused(settings, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"lr": "cosine", "inner_lr_end": 0.2},
            "--inner-lr-end 0.2 is above --inner-lr 0.01",
        ),
        (
            {"lr": "meta-sgd", "lr_low": 0.01},
            "--lr-low 0.01 has no use beside --start constant: only --start uniform reads it",
        ),
        (
            {"lr": "pamela", "skips": False, "interval": 3},
            "--interval 3 has no use beside --no-skips: only --skips reads it",
        ),
        (
            {"lr": "pamela", "preconditioning": "none", "relative": True},
            "--relative has no use beside --preconditioning none: only .*per_step or .*shared",
        ),
        ({"lr_min": 0.2}, "--lr-min 0.2 is above --lr-max 0.1"),
        ({"algo": "reptile", "lr": "lslr"}, "--lr lslr has no use in reptile.*: use fixed, linear"),
        ({"algo": "imaml", "lr": "alfa"}, "--lr alfa has no use in imaml: it learns by a gradient"),
        ({"algo": "protonet", "lr": "fixed"}, "fixed has no use in protonet: there is no inner lo"),
        ({"algo": "r2d2", "lr": "fixed"}, "--lr fixed has no use in r2d2.*: use none"),
        ({"algo": "maml", "lr": "none"}, "--lr none: maml has an inner loop; choose a rate scheme"),
        ({"algo": "maml", "steps": 0}, "--steps 0: expected at least 1, for maml adapts"),
        ({"algo": "protonet", "steps": 3}, "--steps 3 --eval-steps 0: protonet has no inner loop"),
        ({"algo": "r2d2", "eval_steps": 3}, "--eval-steps 3: r2d2 has no inner loop; leave"),
    ],
)
def test_rates_and_steps(settings: Settings, message: str) -> None:
    refused(settings, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"random_shots": True}, "--random-shots draws from 1 to --train-shot 1: give a larger"),
        (
            {"compile": True, "multi_step_epochs": 2},
            "--compile would compile anew in each of --multi-step-epochs 2: leave one",
        ),
        ({"multi_step": True, "multi_step_epochs": 2}, "add --multi-step-epochs 0"),
        ({"first_order": True, "first_order_epochs": 2}, "add --first-order-epochs 0"),
        ({"algo": "fomaml", "first_order": False}, "fomaml is first order; use --algo maml"),
        ({"algo": "reptile", "multi_step": True}, "--multi-step has no use in reptile"),
        ({"algo": "imaml", "multi_step_epochs": 2}, "--multi-step has no use in imaml"),
        ({"algo": "protonet", "multi_step": True}, "--multi-step has no use in protonet"),
        ({"algo": "r2d2", "multi_step_epochs": 1}, "--multi-step has no use in r2d2"),
        ({"algo": "reptile", "first_order": True}, "--first-order has no use in reptile"),
        ({"algo": "imaml", "first_order_epochs": 1}, "--first-order has no use in imaml"),
        ({"algo": "protonet", "first_order": True}, "--first-order has no use in protonet"),
        (
            {"lr": "hypergradient", "outer_schedule": "cosine"},
            "--outer-schedule cosine has no use in hypergradient",
        ),
        ({"algo": "reptile", "l2f": True}, "--l2f has no use in reptile: no outer gradient"),
        ({"algo": "imaml", "l2f": True}, "--l2f has no use in imaml"),
        ({"algo": "protonet", "l2f": True}, "--l2f has no use in protonet"),
    ],
)
def test_outer_loss(settings: Settings, message: str) -> None:
    refused(settings, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algo": "protonet"}, "no use here: protonet has no inner loop: use stored"),
        ({"algo": "reptile"}, "no outer gradient runs through the inner steps of reptile"),
        ({"algo": "imaml"}, "no outer gradient runs through the inner steps of imaml"),
        ({"algo": "anil"}, "anil computes features once, and the graph of its head is small"),
        ({"algo": "fomaml"}, "in first order the graph of a pass ends with its step"),
        ({"algo": "boil", "first_order": True}, "in first order"),
        ({"algo": "maml", "task_batching": "batched"}, "--task-batching batched keeps the graph"),
    ],
)
def test_recomputed_graphs(settings: Settings, message: str) -> None:
    refused({**settings, "inner_graph": "recomputed"}, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algo": "maml", "bn": "per-step"}, "--bn per-step: .* do not adapt; add --no-adapt-bn"),
        ({"algo": "anil", "bn": "per-step"}, "--bn per-step has no use in anil"),
        ({"algo": "imaml", "bn": "per-step"}, "--bn per-step has no use in imaml"),
        (
            {"algo": "reptile", "bn": "per-step", "adapt_bn": False},
            "--bn per-step has no use in reptile: use batch or support",
        ),
    ],
)
def test_norms_of_each_step(settings: Settings, message: str) -> None:
    refused(settings, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algo": "boil", "head_init": "zero"}, "--head-init zero has no use in boil: use learned"),
        ({"algo": "protonet", "head_init": "zero"}, "has no use in protonet"),
        ({"algo": "r2d2", "head_init": "prototypes"}, "prototypes has no use in r2d2"),
        ({"algo": "reptile", "head_init": "prototypes"}, "has no use in reptile"),
        ({"algo": "imaml", "head_init": "zero"}, "has no use in imaml"),
        (
            {"train_way": 10, "algo": "maml", "lr": "pamela", "head_init": "zero"},
            "pamela learns of each of the head's 10 rows apart: add --head-rates shared",
        ),
        (
            {"train_way": 10, "algo": "t-net", "head_init": "zero"},
            "--train-way 10 differs from --way 5: under t-net the head is learned, one output a cl",
        ),
        ({"lr": "lslr", "head_rates": "shared"}, "--head-rates shared has no use in lslr"),
        ({"way": 5, "train_way": 10}, "--train-way 10 differs from --way 5: under anil the head"),
    ],
)
def test_heads(settings: Settings, message: str) -> None:
    refused(settings, message)


@pytest.mark.parametrize(
    "settings",
    [
        {"algo": "maml", "bn": "per-step", "adapt_bn": False},
        {"algo": "boil", "bn": "per-step", "adapt_bn": False},
        {"algo": "protonet", "train_way": 20},
        {"algo": "r2d2", "train_way": 20},
        {"algo": "anil", "head_init": "zero"},
        {"algo": "anil", "head_init": "zero", "train_way": 10},
        {"algo": "maml", "lr": "meta-sgd", "head_init": "zero", "train_way": 10}
        | {"head_rates": "shared"},
        {"algo": "fomaml", "multi_step_epochs": 2, "l2f": True},
        {"algo": "maml", "inner_graph": "recomputed", "first_order_epochs": 2},
        {"dataset": "sinusoid", "algo": "r2d2"},
        {"dataset": "sinusoid", "algo": "reptile"},
    ],
    ids=str,
)
def test_what_makes_sense_is_allowed(settings: Settings) -> None:
    config = complete(settings, MACHINE)
    assert settings.items() <= config.settings().items()


@pytest.mark.parametrize("lr", RATE_SCHEMES)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_algorithm_takes_the_rates_that_it_lists(algo: str, lr: str) -> None:
    allowed = ALGORITHMS[algo].rates or [name for name in RATE_SCHEMES if name != "none"]
    if lr in allowed:
        assert complete({"algo": algo, "lr": lr}, MACHINE).lr == lr
    else:
        refused({"algo": algo, "lr": lr}, f"--lr {lr}")
