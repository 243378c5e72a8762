"""Combinations of settings that make no sense, each refused with its reason."""

from typing import TYPE_CHECKING, cast

from episodes.errors import UsageError
from trainers import catalog
from trainers.settings import Value, flag

if TYPE_CHECKING:
    from trainers.config import RunConfig

OUTER_LOSS_OF_ITS_OWN = ("reptile", "imaml")
ONE_HEAD = ("t-net", "mt-net", "boil", "reptile", "imaml")
HEAD_NOT_ADAPTED = ("boil", "protonet", "r2d2")
READ_ONLY_WITH: dict[str, tuple[str, tuple[Value, ...]]] = {
    "lr_low": ("start", ("uniform",)),
    "lr_high": ("start", ("uniform",)),
    "interval": ("skips", (True,)),
    "skip_index": ("skips", (True,)),
    "skip_start": ("skips", (True,)),
    "relative": ("preconditioning", ("per_step", "shared")),
    "candidates": ("sampler_mode", ("sampling",)),
    "trlearner_temperature": ("trlearner_weights", ("softmax",)),
    "trlearner_heads": ("trlearner_relation", ("learned", "shuffled")),
    "trlearner_representation": ("trlearner_relation", ("learned", "shuffled")),
}
"""Setting -> another, and the values of that which give it a use."""


def check(config: "RunConfig") -> None:
    """Raises UsageError where settings contradict each other."""
    algorithm, scheme = catalog.find("algo", config.algo), catalog.find("lr", config.lr)
    _check_problem(config)
    _check_sampler(config)
    _check_regularizer(config)
    _check_useless(config)
    _check_rates(config, algorithm, scheme)
    _check_outer_loss(config, algorithm)
    _check_inner_graph(config)
    _check_kernels(config)
    _check_batch_norm(config)
    _check_head(config, algorithm)


def _check_problem(config: "RunConfig") -> None:
    is_regression = catalog.is_regression(config.dataset)
    if is_regression and config.way is not None:
        raise UsageError(f"--way {config.way} has no use in {config.dataset}: it has no classes")
    if not is_regression and config.way is None and config.sampler != "meta-dataset":
        raise UsageError(f"setting 'way' is missing: {config.dataset} has classes")
    if config.sampler != "meta-dataset" and "," in config.dataset:
        raise UsageError(
            f"--dataset {config.dataset}: several datasets need --sampler meta-dataset"
        )
    if is_regression == (config.metric == "accuracy"):
        expected = "mse or r2" if is_regression else "accuracy"
        raise UsageError(f"--metric {config.metric} has no use in {config.dataset}: use {expected}")
    if is_regression and config.own.get("divergence", "ce") != "ce":
        raise UsageError(
            f"--divergence {config.own['divergence']} needs classes, {config.dataset} is "
            "regression, whose divergence is the squared error: leave it out"
        )
    if is_regression and config.algo == "protonet":
        raise UsageError(f"--algo protonet classifies, {config.dataset} is regression: use maml")
    if is_regression and config.head_init == "prototypes":
        raise UsageError(
            f"--head-init prototypes needs classes, {config.dataset} is regression: use learned"
        )


def _check_sampler(config: "RunConfig") -> None:
    sampler, is_regression = config.sampler, catalog.is_regression(config.dataset)
    if sampler == "meta-dataset":
        _check_variable(config)
    if sampler in ("single-batch", "fixed-pool") and config.meta_batch_size != 1:
        raise UsageError(
            f"--sampler {sampler} gives one task an iteration: leave --meta-batch-size "
            f"{config.meta_batch_size} out"
        )
    if sampler in catalog.STATELESS:
        return
    if config.random_shots:
        raise UsageError(f"--random-shots needs --sampler uniform, found {sampler}")
    if sampler in ("s-dpp", "d-dpp") and is_regression:
        raise UsageError(f"--sampler {sampler} chooses classes, {config.dataset} has none")
    if config.own.get("dpp_run") == "none":
        raise UsageError("--sampler s-dpp takes the features of a trained run: add --dpp-run RUN")
    if sampler == "adaptive":
        _check_adaptive(config)


def _check_adaptive(config: "RunConfig") -> None:
    if config.algo in OUTER_LOSS_OF_ITS_OWN:
        raise UsageError(
            f"--sampler adaptive has no use in {config.algo}: it learns by the gradient of an "
            "outer loss, and this is none"
        )
    if config.compile:
        raise UsageError("--compile holds no single task's gradient: leave out --sampler adaptive")


def _check_regularizer(config: "RunConfig") -> None:
    if config.regularizer == "none":
        return
    head, pool = config.own["trlearner_head"], config.own["trlearner_pool"]
    if config.sampler == "meta-dataset":
        raise UsageError("--regularizer trlearner needs tasks of one way: use another --sampler")
    if config.algo in OUTER_LOSS_OF_ITS_OWN:
        raise UsageError(
            f"--regularizer trlearner has no use in {config.algo}: its outer gradient does not "
            "run through the adapted weights"
        )
    if head == "own" and config.algo in ("anil", "boil", "protonet", "r2d2"):
        raise UsageError(
            f"--trlearner-head own has no use in {config.algo}: tasks differ in the head alone, "
            "or have one head: use --trlearner-head peer"
        )
    if pool == "probabilities" and catalog.is_regression(config.dataset):
        raise UsageError(f"--trlearner-pool {pool} needs classes, {config.dataset} has none")
    if pool == "probabilities" and config.own["trlearner_weights"] == "literal":
        raise UsageError("--trlearner-weights literal can be negative: use --trlearner-pool logits")


def _check_variable(config: "RunConfig") -> None:
    if catalog.is_regression(config.dataset):
        raise UsageError(f"--sampler {config.sampler} draws classes, {config.dataset} has none")
    if (why := one_way(config)) is not None:
        reason, remedy = why
        raise UsageError(
            f"--sampler {config.sampler} gives each episode a way of its own, and {reason}: "
            + (f"add {remedy}" if remedy else "use proto-maml, maml, anil or protonet")
        )
    for name in ("random_shots", "compile"):
        if getattr(config, name):
            raise UsageError(f"{flag(name, True)} needs episodes of one shape: --sampler uniform")


def _check_useless(config: "RunConfig") -> None:
    """Settings that others leave without a use must keep their defaults."""
    for name, (other, values) in READ_ONLY_WITH.items():
        found = config.own.get(other)
        if found in (None, *values) or config.own[name] == _default(config, name):
            continue
        allowed = " or ".join(flag(other, value) for value in values)
        raise UsageError(
            f"{flag(name, config.own[name])} has no use beside {flag(other, cast(Value, found))}: "
            f"only {allowed} reads it"
        )


def _default(config: "RunConfig", name: str) -> Value | None:
    entries = (catalog.find(table, value) for table, value in _chosen(config))
    return next((entry.settings[name] for entry in entries if name in entry.settings), None)


def _chosen(config: "RunConfig") -> list[tuple[str, str]]:
    settings = config.settings()
    return [(table, str(settings[table])) for table in catalog.TABLES if table in settings]


def _check_rates(config: "RunConfig", algorithm: catalog.Entry, scheme: catalog.Entry) -> None:
    low, high = config.own.get("lr_min"), config.own.get("lr_max")
    if low is not None and high is not None and float(low) > float(high):
        raise UsageError(f"--lr-min {low} is above --lr-max {high}")
    start, end = (float(config.own.get(name, 0)) for name in ("inner_lr", "inner_lr_end"))
    if end > start:
        raise UsageError(f"--inner-lr-end {end} is above --inner-lr {start}")
    has_inner_loop = algorithm.rates != ("none",)
    if algorithm.rates and scheme.name not in algorithm.rates:
        allowed = ", ".join(algorithm.rates)
        why = (
            "it learns by a gradient that its outer loss does not have"
            if has_inner_loop
            else "there is no inner loop"
        )
        raise UsageError(f"--lr {scheme.name} has no use in {config.algo}: {why}: use {allowed}")
    if has_inner_loop and scheme.name == "none":
        raise UsageError(f"--lr none: {config.algo} has an inner loop; choose a rate scheme")
    if has_inner_loop and config.steps < 1:
        raise UsageError(f"--steps {config.steps}: expected at least 1, for {config.algo} adapts")
    if not has_inner_loop and (config.steps or config.eval_steps):
        raise UsageError(
            f"--steps {config.steps} --eval-steps {config.eval_steps}: "
            f"{config.algo} has no inner loop; leave them out"
        )


def _check_outer_loss(config: "RunConfig", algorithm: catalog.Entry) -> None:
    is_multi_step = config.multi_step or config.multi_step_epochs > 0
    if config.multi_step and config.multi_step_epochs:
        raise UsageError("--multi-step is for the whole run: add --multi-step-epochs 0")
    if config.random_shots and config.train_shot == 1:
        raise UsageError("--random-shots draws from 1 to --train-shot 1: give a larger one")
    if config.compile and config.multi_step_epochs:
        raise UsageError(
            "--compile would compile anew in each of --multi-step-epochs "
            f"{config.multi_step_epochs}: leave one of them out, or use --multi-step"
        )
    if config.first_order and config.first_order_epochs:
        raise UsageError("--first-order is for the whole run: add --first-order-epochs 0")
    if config.algo == "fomaml" and not config.first_order:
        raise UsageError("--second-order: fomaml is first order; use --algo maml")
    own = config.algo in OUTER_LOSS_OF_ITS_OWN
    if (own or algorithm.rates == ("none",)) and is_multi_step:
        raise UsageError(f"--multi-step has no use in {config.algo}: its outer loss is another")
    if config.lr == "hypergradient" and config.outer_schedule != "constant":
        raise UsageError(
            f"--outer-schedule {config.outer_schedule} has no use in hypergradient: "
            "it adapts the outer rate itself"
        )
    if (own or algorithm.rates == ("none",)) and (config.first_order or config.first_order_epochs):
        raise UsageError(f"--first-order has no use in {config.algo}: it never is of second order")
    if config.l2f and (own or algorithm.rates == ("none",)):
        raise UsageError(f"--l2f has no use in {config.algo}: no outer gradient reaches it")


def _check_inner_graph(config: "RunConfig") -> None:
    if config.inner_graph == "recomputed" and (why := why_stored(config)) is not None:
        raise UsageError(f"--inner-graph recomputed has no use here: {why}: use stored")


def _check_kernels(config: "RunConfig") -> None:
    if config.blocks == "fused" and (why := why_plain(config)) is not None:
        raise UsageError(f"--blocks fused is not there: {why}: use plain")
    if config.precision == "tf32" and config.device != "cuda":
        raise UsageError(
            f"--precision tf32 is that of NVIDIA's GPUs, found --device {config.device}: "
            "use fp32 or bf16"
        )
    if config.precision == "bf16" and config.compile:
        raise UsageError("--compile computes in float32: leave --precision bf16 out")


def why_plain(config: "RunConfig") -> str | None:
    """Why what follows a convolution is not fused; None where it can be."""
    if config.backbone == "mlp":
        return "mlp has no convolutions"
    if config.device != "cpu":
        return f"it is for the CPU, not --device {config.device}"
    return "--compile fuses by itself" if config.compile else None


def why_stored(config: "RunConfig") -> str | None:
    """Why the graph of the inner steps is not to be recomputed; None where it can be."""
    if catalog.find("algo", config.algo).rates == ("none",):
        return f"{config.algo} has no inner loop"
    if config.algo in OUTER_LOSS_OF_ITS_OWN:
        return f"no outer gradient runs through the inner steps of {config.algo}"
    if config.algo == "anil":
        return "anil computes features once, and the graph of its head is small"
    if config.first_order:
        return "in first order the graph of a pass ends with its step"
    if config.task_batching == "batched":
        return "--task-batching batched keeps the graph of all tasks at once"
    return None


def _check_batch_norm(config: "RunConfig") -> None:
    if config.bn != "per-step":
        return
    if config.own.get("adapt_bn"):
        raise UsageError(
            "--bn per-step: scale and offset of each step do not adapt; add --no-adapt-bn"
        )
    if "adapt_bn" not in config.own or config.algo in OUTER_LOSS_OF_ITS_OWN:
        raise UsageError(f"--bn per-step has no use in {config.algo}: use batch or support")


def _check_head(config: "RunConfig", algorithm: catalog.Entry) -> None:
    if config.head_init != "learned" and config.algo in (*HEAD_NOT_ADAPTED, "reptile", "imaml"):
        raise UsageError(f"--head-init {config.head_init} has no use in {config.algo}: use learned")
    if config.train_way != config.way and (why := one_way(config)) is not None:
        reason, remedy = why
        raise UsageError(
            f"--train-way {config.train_way} differs from --way {config.way}: {reason}"
            + (f": add {remedy}" if remedy else "")
        )
    if config.head_rates == "shared" and not _learns_of_head_rows(config):
        raise UsageError(
            f"--head-rates shared has no use in {config.lr}: it learns nothing of single classes"
        )


def one_way(config: "RunConfig") -> tuple[str, str] | None:
    """Why tests must have training's way, and the flags by which they need not, if there are any;
    None where any way will do."""
    algorithm = catalog.find("algo", config.algo)
    if algorithm.any_way:
        return None
    if config.algo in ONE_HEAD or config.head_init == "learned":
        remedy = "" if config.algo in ONE_HEAD else "--head-init zero or --head-init prototypes"
        return f"under {config.algo} the head is learned, one output a class", remedy
    if _learns_of_head_rows(config) and config.head_rates != "shared":
        reason = f"{config.lr} learns of each of the head's {config.train_way} rows apart"
        return reason, "--head-rates shared"
    return None


def _learns_of_head_rows(config: "RunConfig") -> bool:
    if config.algo == "boil":
        return False
    return catalog.find("lr", config.lr).of_head_rows or bool(config.own.get("random_init"))
