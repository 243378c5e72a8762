"""What can be named on the command line: algorithms, rate schemes and backbones, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from episodes.errors import UsageError, unknown_name

Value = bool | int | float | str
State = Literal["works", "planned"]

NORMALISATIONS = ("batch", "support")
DOWNSAMPLINGS = ("pool", "stride")
DEVICES = ("cpu", "cuda", "mps")

MAML_PAPER = "Finn et al. 2017, Model-Agnostic Meta-Learning"
MLPLR_PAPER = "Meta-Learning with Personalized Learning Rates (MLPLR), eqs. 4-6"


@dataclass(frozen=True)
class Entry:
    """A name of the command line: one line about it, its source, its state.

    `settings` maps each run setting that belongs to this entry alone to its default, `fields` maps
    those settings to the entry's own field names where the two differ. `branches` names the two
    branches of a rate scheme that has them, first the one that it reports as 1.
    """

    name: str
    summary: str
    source: str
    state: State = "works"
    settings: Mapping[str, Value] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    branches: tuple[str, str] | None = None


def _table(*entries: Entry) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}


ALGORITHMS = _table(
    Entry(
        "maml",
        "every weight adapts; the outer gradient runs through the inner steps",
        MAML_PAPER,
        settings={"adapt_bn": True},
    ),
    Entry(
        "fomaml",
        "every weight adapts; the inner gradients are constants of the outer gradient",
        MAML_PAPER,
        settings={"adapt_bn": True},
    ),
    Entry("anil", "the head alone adapts", "Raghu et al. 2020, Rapid Learning or Feature Reuse?"),
    Entry("boil", "the body alone adapts", "Oh et al. 2021, BOIL", "planned"),
    Entry(
        "reptile",
        "moves the weights towards the adapted ones",
        "Nichol et al. 2018, On First-Order Meta-Learning Algorithms",
        "planned",
    ),
    Entry(
        "protonet",
        "nearest class mean in feature space",
        "Snell et al. 2017, Prototypical Networks",
        "planned",
    ),
    Entry(
        "proto-maml",
        "MAML with a head made from the class means",
        "Triantafillou et al. 2020, Meta-Dataset",
        "planned",
    ),
    Entry("imaml", "implicit gradients", "Rajeswaran et al. 2019", "planned"),
    Entry("r2d2", "a ridge-regression head", "Bertinetto et al. 2019", "planned"),
    Entry("t-net", "a learned metric and subspace of the weights", "Lee and Choi 2018", "planned"),
    Entry("maml++", "MAML with six repairs", "Antoniou et al. 2019", "planned"),
)

RATE_SCHEMES = _table(
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
    Entry("linear", "falls linearly over the steps", "no learned parameters", "planned"),
    Entry("step", "falls by a factor every few steps", "no learned parameters", "planned"),
    Entry("cosine", "falls as a half cosine over the steps", "no learned parameters", "planned"),
    Entry("alfa", "a network generates rate and decay", "Baik et al. 2020, ALFA", "planned"),
    Entry("pamela", "learned path-aware preconditioners", "Rajasegaran et al. 2020", "planned"),
    Entry("hypergradient", "hypergradient on both rates", "Behl et al. 2019", "planned"),
    Entry("meta-sgd", "a learned rate for each weight", "Li et al. 2017, Meta-SGD", "planned"),
    Entry(
        "lslr",
        "a learned rate for each tensor and step",
        "Antoniou et al. 2019, How to train your MAML",
        "planned",
    ),
    Entry("lstm", "a learned optimiser", "Ravi and Larochelle 2017", "planned"),
    Entry("curvature", "learned curvature matrices", "Park and Oliva 2019", "planned"),
)

BACKBONES = _table(
    Entry(
        "conv4",
        "four blocks of 3x3 convolution, batch norm and ReLU, then a linear head",
        "Vinyals et al. 2016; Finn et al. 2017",
        settings={"filters": 64, "downsample": "pool"},
    ),
    Entry("resnet12", "four residual blocks", "Oreshkin et al. 2018, TADAM", "planned"),
    Entry("mlp", "fully connected layers", "Finn et al. 2017 (sinusoid)", "planned"),
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

TABLES = {
    "algo": ALGORITHMS,
    "lr": RATE_SCHEMES,
    "backbone": BACKBONES,
    "divergence": DIVERGENCES,
}
"""Run setting -> the table that its value names an entry of."""

KINDS = {
    "algo": "algorithm",
    "lr": "rate scheme",
    "backbone": "backbone",
    "divergence": "divergence",
}


def find(setting: str, name: str) -> Entry:
    """The entry that `name` means as the value of `setting`.

    Raises UsageError when it is unknown, with the nearest match, or not built yet.
    """
    kind, table = KINDS[setting], TABLES[setting]
    if name not in table:
        raise unknown_name(kind, name, table)
    entry = table[name]
    if entry.state != "works":
        working = ", ".join(other.name for other in table.values() if other.state == "works")
        raise UsageError(f"{kind} {name!r} is planned, not built yet: choose one of {working}")
    return entry
