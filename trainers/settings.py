"""Every setting of a run: its type, its range, and what `trainers run --help` says of it."""

from dataclasses import dataclass
from math import inf, isfinite

from episodes.errors import UsageError, unknown_name

Value = bool | int | float | str
LARGEST_SEED = 2**63 - 1
LARGEST_COUNT = 1_000_000


@dataclass(frozen=True)
class Setting:
    """A setting: `kind` is its type, `help` one line.

    A number is at least `least` and at most `most`, strictly so where `is_open`; a text is one of
    `choices`, if there are any. `negative` is the flag that a switch is turned off with. `default`
    says in words what an absent setting means.
    """

    kind: type
    help: str
    least: float = -inf
    most: float = inf
    is_open: bool = False
    choices: tuple[str, ...] = ()
    negative: str = ""
    default: str = ""

    def check(self, name: str, value: object) -> None:
        """Raises UsageError for a value of another type or out of range."""
        if type(value) is not self.kind:
            expected = self.kind.__name__
            raise UsageError(f"setting {name!r} is {value!r}, expected a value of type {expected}")
        if isinstance(value, str):
            self._check_text(name, value)
        elif not isinstance(value, bool):
            assert isinstance(value, (int, float))
            self._check_number(name, value)

    def _check_text(self, name: str, value: str) -> None:
        if self.choices and value not in self.choices:
            raise unknown_name(f"value of --{dashed(name)}", value, self.choices)
        if not value or not value.isprintable():
            raise UsageError(f"setting {name!r} is {value!r}, expected printable text")

    def _check_number(self, name: str, value: int | float) -> None:
        if not isfinite(value):
            raise UsageError(f"{flag(name, value)}: expected a finite number")
        if value < self.least or (self.is_open and value == self.least):
            than = "more than" if self.is_open else "at least"
            raise UsageError(f"{flag(name, value)}: expected {than} {self.least:g}")
        if value > self.most or (self.is_open and value == self.most):
            than = "less than" if self.is_open else "at most"
            raise UsageError(f"{flag(name, value)}: expected {than} {self.most:g}")


def _number(help: str, least: int = 1, most: float = LARGEST_SEED, default: str = "") -> Setting:
    return Setting(int, help, least, most, default=default)


def _positive(help: str, below: float = inf, default: str = "") -> Setting:
    return Setting(float, help, 0, below, is_open=True, default=default)


def _at_least_zero(help: str) -> Setting:
    return Setting(float, help, 0)


def _switch(help: str, negative: str) -> Setting:
    return Setting(bool, help, negative=negative)


def _choice(help: str, *choices: str) -> Setting:
    return Setting(str, help, choices=choices)


def _text(help: str, default: str = "") -> Setting:
    return Setting(str, help, default=default)


ADAPTIVITIES = ("generated", "constant", "fixed", "per_step", "per_layer")

SETTINGS: dict[str, Setting] = {
    "dataset": _text(
        "A dataset's name, the path of a store, or a family of regression tasks; with --sampler "
        "meta-dataset several stores, with commas."
    ),
    "split": _text("The split scheme.", "the dataset's own"),
    "algo": _text("What adapts, and how the outer gradient is formed."),
    "lr": _text("The rate scheme of the inner loop."),
    "backbone": _text("The network."),
    "sampler": _text("How training episodes are drawn; with meta-dataset test episodes too."),
    "regularizer": _text("What is added to the outer loss."),
    "way": _number("Classes an episode.", 2, LARGEST_COUNT),
    "shot": _number("Support images a class.", 1, LARGEST_COUNT),
    "query": _number("Query images a class.", 1, LARGEST_COUNT),
    "train_way": _number("Classes a training episode.", 2, LARGEST_COUNT, "as --way"),
    "train_shot": _number("Support images a class in training.", 1, LARGEST_COUNT, "as --shot"),
    "train_query": _number(
        "Query images a class in training.", 1, LARGEST_COUNT, "as --query; in regression 10"
    ),
    "random_shots": _switch(
        "Draw the shot of each training meta-batch, from 1 to --train-shot.", "--fixed-shots"
    ),
    "steps": _number("Inner steps in training.", 0, 10_000),
    "eval_steps": _number("Inner steps in validation and test.", 0, 10_000),
    "outer": _choice("The outer loop's optimiser.", "adam", "sgd"),
    "outer_lr": _positive("Its rate.", 1e6),
    "outer_schedule": _choice("How that rate falls over the run.", "constant", "cosine", "linear"),
    "outer_lr_end": _at_least_zero("The rate that it falls to."),
    "meta_batch_size": _number("Training episodes an iteration.", 1, 100_000),
    "iterations": _number("Outer iterations; 0 tests the initial weights.", 0),
    "epoch": _number("Iterations an epoch, of which the settings in epochs speak."),
    "validate_every": _number("Iterations between validations."),
    "val_episodes": _number("Episodes a validation; 0: none, the last checkpoint is tested.", 0),
    "episodes": _number("Test episodes."),
    "metric": _choice(
        "What runs are judged by: r2, the squared correlation, as with drug activities.",
        "accuracy",
        "mse",
        "r2",
    ),
    "keep_top": _number("How many checkpoints to keep, the best by validation."),
    "skip_diverged": _number(
        "Leave out so many outer steps that are not finite, before the run gives up.", 0
    ),
    "first_order": _switch("Take the inner gradients for constants.", "--second-order"),
    "first_order_epochs": _number("Epochs of first order before second order begins.", 0),
    "multi_step_epochs": _number(
        "Epochs in which the query loss after every inner step counts, less and less.", 0
    ),
    "multi_step": _switch(
        "Let the query loss after every inner step count alike, throughout.", "--last-step"
    ),
    "bn": _choice(
        "What normalises query images: their own batch; the support set's moments; in tests the "
        "running average of those; or their own batch, with scale and offset of each step.",
        "batch",
        "support",
        "running",
        "per-step",
    ),
    "head_init": _choice("The head that a task starts from.", "learned", "zero", "prototypes"),
    "head_rates": _choice(
        "What a scheme learns of the head's weights: for each class apart, or one row for all "
        "classes, so that tests may have another way.",
        "per-class",
        "shared",
    ),
    "l2f": _switch("Attenuate the initial weights for each task, as L2F.", "--no-l2f"),
    "task_batching": _choice(
        "Adapt a meta-batch's tasks at once, or one after the other.", "auto", "batched", "loop"
    ),
    "blocks": _choice(
        "Compute what follows a convolution as one compiled function, which needs a CPU and a C++ "
        "compiler, or step by step; auto fuses where that works.",
        "auto",
        "fused",
        "plain",
    ),
    "precision": _choice(
        "What convolutions compute in; weights, rates, statistics and losses are float32.",
        "fp32",
        "tf32",
        "bf16",
    ),
    "inner_graph": _choice(
        "Keep the graph of the inner steps, or make it again step by step for the outer gradient; "
        "auto keeps what fits into the free memory.",
        "auto",
        "stored",
        "recomputed",
    ),
    "compile": _switch("Compile the outer gradient of batched tasks.", "--no-compile"),
    "cuda_graph": _choice(
        "Launch the outer gradient of batched tasks at once, where the device is a GPU of NVIDIA's "
        "and it can be recorded; its numbers are the same.",
        "auto",
        "off",
    ),
    "seed": _number("The training seed: initial weights and training episodes.", 0),
    "episode_seed": _number("The seed of the fixed validation and test episodes.", 0),
    "device": _choice("Where to compute.", "cpu", "cuda", "mps"),
    "threads": _number("CPU threads.", 1, 1024, "torch's own: the cores, or OMP_NUM_THREADS"),
    "grad_clip": _positive(
        "Clip the outer gradient, element by element, to this size.", default="no clipping"
    ),
    "adapt_bn": _switch(
        "Whether the scale and offset of batch norm adapt in the inner loop.", "--no-adapt-bn"
    ),
    "proximity": _positive("The weight lambda of iMAML's proximal term."),
    "cg_steps": _number("iMAML's conjugate gradient steps.", 1, 10_000),
    "ridge_lambda": _positive("The regularisation of R2-D2's ridge regression."),
    "ridge_scale": _positive("The initial scale of R2-D2's logits."),
    "inner_lr": _at_least_zero("The inner rate; where rates are learned, the initial one."),
    "inner_lr_end": _at_least_zero("What it falls to, a step after the last."),
    "factor": _positive("What --lr step multiplies the rate by."),
    "every": _number("The inner steps between."),
    "start": _choice("Whether learned rates start alike or are drawn.", "constant", "uniform"),
    "lr_low": _at_least_zero("The least rate drawn."),
    "lr_high": _at_least_zero("The largest rate drawn."),
    "lstm_hidden": _number("The units of the LSTM of --lr lstm.", 1, 4096),
    "lstm_p": _positive("The range of its preprocessing: below e^-p values count linearly."),
    "weight_decay": _at_least_zero(
        "The weight decay of --lr alfa, which begins at it times the rate."
    ),
    "alpha": _choice("What its rates are: a paper's ablation.", *ADAPTIVITIES),
    "beta": _choice("What its decays are.", *ADAPTIVITIES),
    "state": _choice("What its generator sees.", "both", "weights", "gradients"),
    "generator_layers": _number("The linear layers of its generator.", 2, 3),
    "random_init": _switch(
        "Keep the initial weights random, and learn the rest.", "--learned-init"
    ),
    "unit_start": _switch("Begin with outputs of 1, as gradient descent.", "--random-start"),
    "preconditioning": _choice("The Q of --lr pamela.", "per_step", "shared", "none"),
    "skips": _switch("Its P: mix earlier weights in.", "--no-skips"),
    "interval": _number("The steps between its skips.", 1, 10_000),
    "skip_index": _choice("Which steps mix.", "after", "block_end"),
    "relative": _switch("Learn Q as a factor of --inner-lr.", "--absolute"),
    "skip_start": Setting(float, "Where P begins."),
    "beyond": _choice("What steps beyond the trained ones take.", "fixed", "last"),
    "lr_min": _positive("The rate of --lr personalized where the divergence is above --lr-max."),
    "lr_max": _positive("Its largest rate, and the divergence under which it is used."),
    "divergence": _text("How it measures the divergence of predictions and labels."),
    "detach_rate": _switch(
        "Whether the outer gradient takes the rate for a constant.", "--attach-rate"
    ),
    "clip_rate": _switch("Whether the rate is kept at --lr-min or above.", "--no-clip-rate"),
    "smoothing": _positive("The label smoothing of --divergence kl_smoothed.", 1),
    "clamp": _positive("The smallest label of --divergence kl_clamped.", 1),
    "hyper_lr": _at_least_zero("The rate at which --lr hypergradient moves the inner rate."),
    "outer_hyper_lr": _at_least_zero("The rate at which it moves the outer rate."),
    "filters": _number("The backbone's filters in each layer.", 1, 4096),
    "downsample": _choice("How each of its blocks halves the image.", "pool", "stride"),
    "leaky_slope": Setting(float, "The slope of its activation below zero; 0 is ReLU.", 0, 0.999),
    "weight_init": _choice(
        "How its weights start: torch's default, or Xavier-uniform with zero biases.",
        "torch",
        "xavier",
    ),
    "repeats": _number("How often in succession --sampler fixed-pool takes a set of classes."),
    "dpp_run": _text("The run whose features --sampler s-dpp takes; it must be given."),
    "dpp_normalised": _switch(
        "Whether class features are brought to length 1 before.", "--no-dpp-normalised"
    ),
    "sampler_mode": _choice(
        "Whether --sampler adaptive weights the tasks of a meta-batch, or chooses them.",
        "weighting",
        "sampling",
    ),
    "sampler_criteria": _choice(
        "What its network sees: diversity, entropy and difficulty, or the four of TRLearner.",
        "asr",
        "trl4",
    ),
    "sampler_lr": _at_least_zero("The rate of its network; 0 keeps it uniform."),
    "sampler_temperature": _positive("The temperature of its softmax."),
    "candidates": _number("Of how many times as many tasks it chooses.", 1, 1000),
    "trlearner_lambda": _at_least_zero("The weight of TRLearner's consistency loss."),
    "trlearner_heads": _number("The heads of its relations.", 1, 4096),
    "trlearner_relation": _choice(
        "Its relations, or a control: all alike, or those of other tasks.",
        "learned",
        "uniform",
        "shuffled",
    ),
    "trlearner_weights": _choice(
        "How relations become weights: negative ones dropped, as they are, or by softmax.",
        "relu",
        "literal",
        "softmax",
    ),
    "trlearner_temperature": _positive("The temperature of that softmax."),
    "trlearner_pool": _choice("What of the peers is mixed.", "logits", "probabilities"),
    "trlearner_head": _choice(
        "Whether peers predict through their own head or the task's.", "peer", "own"
    ),
    "trlearner_representation": _choice(
        "What a task's relations see: mean features, or their products with the targets.",
        "auto",
        "features",
        "labelled",
    ),
    "hidden": _text("The widths of the hidden layers of --backbone mlp."),
}


def dashed(name: str) -> str:
    """A setting's name as its flag spells it."""
    return name.replace("_", "-")


def flag(name: str, value: object) -> str:
    """A setting as one types it: `--inner-lr 0.01`, `--no-adapt-bn`."""
    if value is False:
        return SETTINGS[name].negative
    spelled = f"--{dashed(name)}"
    return spelled if value is True else f"{spelled} {value}"
