"""The algorithms: what adapts, and how the outer gradient is formed."""

from collections.abc import Mapping

from trainers.catalog.entry import MAML_PAPER, Entry, table
from trainers.settings import Value

ADAPT_BN = {"adapt_bn": True}
UNLEARNED_RATES = ("fixed", "linear", "step", "cosine", "personalized")
NO_INNER_LOOP: Mapping[str, Value] = {"lr": "none", "steps": 0, "eval_steps": 0}

ALGORITHMS = table(
    Entry(
        "maml",
        "every weight adapts; the outer gradient runs through the inner steps",
        MAML_PAPER,
        settings=ADAPT_BN,
        title="MAML",
    ),
    Entry(
        "fomaml",
        "every weight adapts; the inner gradients are constants of the outer gradient",
        MAML_PAPER,
        settings=ADAPT_BN,
        changes={"first_order": True},
        title="First-order MAML",
    ),
    Entry(
        "anil",
        "the head alone adapts",
        "Raghu et al. 2020, Rapid Learning or Feature Reuse?",
        title="ANIL",
    ),
    Entry(
        "boil",
        "the body alone adapts",
        "Oh et al. 2021, BOIL",
        settings=ADAPT_BN,
        title="BOIL",
    ),
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
        title="Reptile",
    ),
    Entry(
        "protonet",
        "nearest class mean in feature space; no inner loop",
        "Snell et al. 2017, Prototypical Networks",
        changes=NO_INNER_LOOP,
        rates=("none",),
        any_way=True,
        title="Prototypical networks",
    ),
    Entry(
        "proto-maml",
        "MAML with a head made from the class means",
        "Triantafillou et al. 2020, Meta-Dataset",
        settings={"adapt_bn": False},
        changes={"head_init": "prototypes", "bn": "support"},
        title="Proto-MAML",
    ),
    Entry(
        "imaml",
        "the outer gradient by the implicit function theorem",
        "Rajeswaran et al. 2019, Meta-Learning with Implicit Gradients",
        settings={"proximity": 2.0, "cg_steps": 5},
        changes={"lr": "fixed"},
        rates=UNLEARNED_RATES,
        title="Implicit MAML",
    ),
    Entry(
        "r2d2",
        "a ridge-regression head, solved in closed form; no inner loop",
        "Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers",
        settings={"ridge_lambda": 50.0, "ridge_scale": 10.0},
        changes=NO_INNER_LOOP,
        rates=("none",),
        any_way=True,
        title="R2-D2",
    ),
    Entry(
        "t-net",
        "MAML with a learned matrix after each layer, which does not adapt",
        "Lee and Choi 2018, Gradient-Based Meta-Learning with Learned Layerwise Metric",
        settings=ADAPT_BN,
        title="T-Net",
    ),
    Entry(
        "mt-net",
        "T-Net in which learned random masks choose the channels that adapt",
        "Lee and Choi 2018, Gradient-Based Meta-Learning with Learned Layerwise Metric",
        settings=ADAPT_BN,
        title="MT-Net",
    ),
)
