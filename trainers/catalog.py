"""What can be named on the command line: algorithms, rate schemes and backbones, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from episodes.errors import unknown_name
from trainers.settings import Value

MAML_PAPER = "Finn et al. 2017, Model-Agnostic Meta-Learning"
MLPLR_PAPER = "Meta-Learning with Personalized Learning Rates (MLPLR), eqs. 4-6"


@dataclass(frozen=True)
class Entry:
    """A name of the command line: one line about it, and its source.

    `settings` maps each run setting that belongs to this entry alone to its default, `fields` maps
    those settings to the entry's own field names where the two differ. `branches` names the two
    branches of a rate scheme that has them, first the one that it reports as 1. `changes` are the
    defaults that the entry puts in the place of the protocol's. An algorithm lists the rate schemes
    that it works with under `rates` if not all do; `any_way` says that test episodes may have
    another way than training's;
    `elsewhere` lists settings that are not fields of what the entry names. A rate scheme that
    learns something of each row of the head has `of_head_rows`.
    """

    name: str
    summary: str
    source: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    branches: tuple[str, str] | None = None
    changes: Mapping[str, Value] = field(default_factory=dict)
    rates: tuple[str, ...] = ()
    any_way: bool = False
    elsewhere: tuple[str, ...] = ()
    of_head_rows: bool = False


def _table(*entries: Entry) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}


ADAPT_BN = {"adapt_bn": True}
UNLEARNED_RATES = ("fixed", "linear", "step", "cosine", "personalized")
NO_INNER_LOOP: Mapping[str, Value] = {"lr": "none", "steps": 0, "eval_steps": 0}

ALGORITHMS = _table(
    Entry(
        "maml",
        "every weight adapts; the outer gradient runs through the inner steps",
        MAML_PAPER,
        settings=ADAPT_BN,
    ),
    Entry(
        "fomaml",
        "every weight adapts; the inner gradients are constants of the outer gradient",
        MAML_PAPER,
        settings=ADAPT_BN,
        changes={"first_order": True},
    ),
    Entry("anil", "the head alone adapts", "Raghu et al. 2020, Rapid Learning or Feature Reuse?"),
    Entry("boil", "the body alone adapts", "Oh et al. 2021, BOIL", settings=ADAPT_BN),
    Entry(
        "reptile",
        "moves the weights towards the adapted ones",
        "Nichol et al. 2018, On First-Order Meta-Learning Algorithms",
        settings=ADAPT_BN,
        changes={
            "outer": "sgd",
            "outer_lr": 1.0,
            "outer_schedule": "linear",
            "train_shot": 15,
            "train_query": 5,
            "lr": "fixed",
        },
        rates=UNLEARNED_RATES,
    ),
    Entry(
        "protonet",
        "nearest class mean in feature space; no inner loop",
        "Snell et al. 2017, Prototypical Networks",
        changes=NO_INNER_LOOP,
        rates=("none",),
        any_way=True,
    ),
    Entry(
        "proto-maml",
        "MAML with a head made from the class means",
        "Triantafillou et al. 2020, Meta-Dataset",
        settings={"adapt_bn": False},
        changes={"head_init": "prototypes", "bn": "support"},
    ),
    Entry(
        "imaml",
        "the outer gradient by the implicit function theorem",
        "Rajeswaran et al. 2019, Meta-Learning with Implicit Gradients",
        settings={"proximity": 2.0, "cg_steps": 5},
        changes={"lr": "fixed"},
        rates=UNLEARNED_RATES,
    ),
    Entry(
        "r2d2",
        "a ridge-regression head, solved in closed form; no inner loop",
        "Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers",
        settings={"ridge_lambda": 50.0, "ridge_scale": 10.0},
        changes=NO_INNER_LOOP,
        rates=("none",),
        any_way=True,
    ),
    Entry(
        "t-net",
        "MAML with a learned matrix after each layer, which does not adapt",
        "Lee and Choi 2018, Gradient-Based Meta-Learning with Learned Layerwise Metric",
        settings=ADAPT_BN,
    ),
    Entry(
        "mt-net",
        "T-Net in which learned random masks choose the channels that adapt",
        "Lee and Choi 2018, Gradient-Based Meta-Learning with Learned Layerwise Metric",
        settings=ADAPT_BN,
    ),
)

RATE_SCHEMES = _table(
    Entry("none", "no inner loop", "for algorithms without one"),
    Entry(
        "fixed",
        "one rate for every task, step and weight",
        MAML_PAPER,
        settings={"inner_lr": 0.01},
        fields={"inner_lr": "lr"},
    ),
    Entry(
        "personalized",
        "lr_max minus the task's divergence k where k <= lr_max, else lr_min",
        MLPLR_PAPER,
        settings={
            "lr_min": 0.01,
            "lr_max": 0.1,
            "divergence": "ce",
            "detach_rate": True,
            "clip_rate": False,
        },
        fields={"clip_rate": "clip"},
        branches=("lr_max - k", "lr_min"),
    ),
    Entry(
        "linear",
        "falls linearly over the inner steps",
        "an inner-loop schedule, of no paper",
        settings={"inner_lr": 0.01, "inner_lr_end": 0.0},
        fields={"inner_lr": "lr", "inner_lr_end": "lr_min"},
    ),
    Entry(
        "step",
        "falls by a factor every few inner steps",
        "an inner-loop schedule, of no paper",
        settings={"inner_lr": 0.01, "factor": 0.5, "every": 2},
        fields={"inner_lr": "lr"},
    ),
    Entry(
        "cosine",
        "falls as half a cosine over the inner steps",
        "Loshchilov and Hutter 2017, SGDR, eq. 5",
        settings={"inner_lr": 0.01, "inner_lr_end": 0.0},
        fields={"inner_lr": "lr", "inner_lr_end": "lr_min"},
    ),
    Entry(
        "lslr",
        "a learned rate for each tensor and step",
        "Antoniou et al. 2019, How to train your MAML, section 4",
        settings={"inner_lr": 0.01},
        fields={"inner_lr": "lr"},
    ),
    Entry(
        "meta-sgd",
        "a learned rate for each weight",
        "Li et al. 2017, Meta-SGD",
        settings={"inner_lr": 0.01, "start": "constant", "lr_low": 0.005, "lr_high": 0.1},
        fields={"inner_lr": "lr"},
        of_head_rows=True,
    ),
    Entry(
        "curvature",
        "learned matrices transform the gradient along each of its axes",
        "Park and Oliva 2019, Meta-Curvature",
        settings={"inner_lr": 0.01},
        fields={"inner_lr": "lr"},
        of_head_rows=True,
    ),
    Entry(
        "lstm",
        "a learned optimiser: an LSTM on each coordinate, with shared weights",
        "Ravi and Larochelle 2017, Optimization as a Model for Few-Shot Learning",
        settings={"lstm_hidden": 20, "lstm_p": 10.0},
        fields={"lstm_hidden": "hidden", "lstm_p": "p"},
    ),
    Entry(
        "alfa",
        "a network generates rate and decay of each tensor from the task's state",
        "Baik et al. 2020, ALFA, eqs. 4-7",
        settings={
            "inner_lr": 0.01,
            "weight_decay": 5e-4,
            "alpha": "generated",
            "beta": "generated",
            "state": "both",
            "generator_layers": 3,
            "random_init": False,
            "unit_start": False,
        },
        fields={"inner_lr": "lr"},
    ),
    Entry(
        "pamela",
        "learned preconditioners of each step, and skips that bring earlier weights back",
        "Rajasegaran et al. 2020, PAMELA, eq. 5",
        settings={
            "inner_lr": 0.01,
            "preconditioning": "per_step",
            "skips": True,
            "interval": 2,
            "skip_index": "after",
            "relative": False,
            "skip_start": 0.0,
            "beyond": "fixed",
        },
        fields={"inner_lr": "lr", "skip_index": "index"},
        of_head_rows=True,
    ),
    Entry(
        "hypergradient",
        "one rate, adapted online along its own gradient, as is the outer rate",
        "Behl et al. 2019, Alpha MAML, eqs. 4-9",
        settings={"inner_lr": 0.01, "hyper_lr": 1e-3, "outer_hyper_lr": 1e-5},
        fields={"inner_lr": "lr"},
        elsewhere=("hyper_lr", "outer_hyper_lr"),
        changes={"outer": "sgd"},
    ),
)

BACKBONES = _table(
    Entry(
        "conv4",
        "four blocks of 3x3 convolution, batch norm and ReLU, then a linear head",
        "Vinyals et al. 2016; Finn et al. 2017",
        settings={
            "filters": 64,
            "downsample": "pool",
            "leaky_slope": 0.0,
            "weight_init": "torch",
        },
    ),
    Entry(
        "resnet12",
        "four residual blocks of three 3x3 convolutions, then a linear head",
        "Baik et al. 2020, ALFA",
        settings={"filters": 64, "weight_init": "xavier"},
    ),
    Entry(
        "mlp",
        "fully connected layers with ReLU",
        "Finn et al. 2017, the sinusoid network",
        settings={"hidden": "40,40", "weight_init": "torch"},
    ),
)

DIVERGENCES = _table(
    Entry("ce", "mean cross entropy, which is KL(labels || predictions)", MLPLR_PAPER),
    Entry("ce_mean_over_classes", "cross entropy divided by the way", MLPLR_PAPER),
    Entry(
        "kl_smoothed",
        "KL(predictions || smoothed labels)",
        MLPLR_PAPER,
        settings={"smoothing": 0.1},
    ),
    Entry(
        "kl_clamped",
        "KL(predictions || labels clamped away from zero)",
        MLPLR_PAPER,
        settings={"clamp": 1e-8},
    ),
    Entry("p_no_log", "minus the mean probability of the true class", MLPLR_PAPER),
)

SINE_PROTOCOL: Mapping[str, Value] = {
    "backbone": "mlp",
    "lr": "fixed",
    "algo": "maml",
    "shot": 10,
    "query": 100,
    "train_query": 10,
    "metric": "mse",
    "eval_steps": 5,
    "iterations": 60_000,
    "validate_every": 5_000,
    "episodes": 1_000,
}

FAMILIES = _table(
    Entry(
        "sinusoid",
        "sine waves of different amplitude and phase",
        "Finn et al. 2017, section 5.1",
        changes=SINE_PROTOCOL,
    ),
    Entry(
        "sinusoid-frequency",
        "sine waves of different amplitude, frequency and phase",
        "Baik et al. 2020, ALFA, section 4.5; Rajasegaran et al. 2020, PAMELA, section 4.2",
        changes=SINE_PROTOCOL,
    ),
    Entry(
        "sinusoid-480",
        "noisy sine waves, 480 of them in training",
        "TRLearner, its sinusoid tasks",
        changes=SINE_PROTOCOL,
    ),
    Entry(
        "sinusoid-line",
        "sine waves and lines",
        "Finn et al. 2018, Probabilistic MAML",
        changes=SINE_PROTOCOL,
    ),
    Entry(
        "harmonic",
        "sums of two waves, 5,000 of them in training",
        "Lacoste et al. 2018, Uncertainty in Multitask Transfer Learning",
        changes=SINE_PROTOCOL,
    ),
)

OUTER_SCHEDULES = _table(
    Entry("constant", "the outer rate stays", "Finn et al. 2017"),
    Entry(
        "cosine",
        "half a cosine, a value an epoch",
        "Antoniou et al. 2019",
        settings={"outer_lr_end": 1e-5},
    ),
    Entry(
        "linear",
        "a straight line, a value an iteration",
        "Nichol et al. 2018",
        settings={"outer_lr_end": 0.0},
    ),
)

REGULARISERS = _table(
    Entry(
        "l2f",
        "attenuates the initial weights for each task by a learned network (--l2f)",
        "Baik et al. 2020, Learning to Forget for Meta-Learning",
    ),
    Entry(
        "multi-step",
        "the query loss after every inner step (--multi-step, --multi-step-epochs)",
        "Antoniou et al. 2019, How to train your MAML",
    ),
)

TABLES = {
    "algo": ALGORITHMS,
    "lr": RATE_SCHEMES,
    "backbone": BACKBONES,
    "divergence": DIVERGENCES,
    "outer_schedule": OUTER_SCHEDULES,
}
"""Run setting -> the table that its value names an entry of."""

KINDS = {
    "algo": "algorithm",
    "lr": "rate scheme",
    "backbone": "backbone",
    "divergence": "divergence",
    "outer_schedule": "outer schedule",
}


def is_regression(dataset: str) -> bool:
    """Whether a dataset's name means regression tasks: a family's, or a file of tasks."""
    return dataset in FAMILIES or dataset.endswith((".npz", ".parquet"))


def changes_of_dataset(dataset: str) -> Mapping[str, Value]:
    """The defaults that a dataset puts in the place of the protocol's: those of regression."""
    if not is_regression(dataset):
        return {}
    return FAMILIES[dataset].changes if dataset in FAMILIES else SINE_PROTOCOL


def find(setting: str, name: str) -> Entry:
    """The entry that `name` means as the value of `setting`.

    Raises UsageError when it is unknown, with the nearest match.
    """
    kind, table = KINDS[setting], TABLES[setting]
    if name not in table:
        raise unknown_name(kind, name, table)
    return table[name]
