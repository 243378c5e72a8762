"""How the outer loop learns: its schedules, and what is added to its loss."""

from trainers.catalog.entry import MAML_PAPER, Entry, table

OUTER_SCHEDULES = table(
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

TRLEARNER_PAPER = "Rethinking Meta-Learning from a Learning Lens (TRLearner), eqs. 4-6"

REGULARIZERS = table(
    Entry("none", "the tasks' outer losses alone", MAML_PAPER),
    Entry(
        "trlearner",
        "models adapted to related tasks must predict a task's queries",
        TRLEARNER_PAPER,
        settings={
            "trlearner_lambda": 0.5,
            "trlearner_heads": 4,
            "trlearner_relation": "learned",
            "trlearner_weights": "relu",
            "trlearner_temperature": 1.0,
            "trlearner_pool": "logits",
            "trlearner_head": "peer",
            "trlearner_representation": "auto",
        },
        fields={
            "trlearner_lambda": "strength",
            "trlearner_heads": "heads",
            "trlearner_relation": "relation",
            "trlearner_weights": "weighting",
            "trlearner_temperature": "temperature",
            "trlearner_pool": "pool",
            "trlearner_head": "head",
            "trlearner_representation": "representation",
        },
    ),
)

OTHER_REGULARIZERS = table(
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
"""Those with a flag of their own."""
