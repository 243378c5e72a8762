"""The papers' whole protocols, by name: settings that flags then override."""

from trainers.catalog.entry import MLPLR_PAPER, Entry

FOUR_CONV: dict[str, bool | int | float | str] = {
    "filters": 48,
    "leaky_slope": 0.01,
    "weight_init": "xavier",
}
"""MAML++'s network, which ALFA's code shares."""

PRESETS = {
    entry.name: entry
    for entry in (
        Entry(
            "mlplr",
            "MAML with personalized rates: 5 inner steps in training, 10 in tests, meta-batch 4",
            MLPLR_PAPER,
            changes={"algo": "maml", "lr": "personalized", "steps": 5, "eval_steps": 10},
        ),
        Entry(
            "alfa",
            "MAML with generated rates and decay: 48 filters, batch norm not adapted, 100 x 500",
            "Baik et al. 2020, ALFA, and its code's configurations (5-shot)",
            changes={
                "algo": "maml",
                "lr": "alfa",
                "adapt_bn": False,
                "steps": 5,
                "eval_steps": 5,
                "meta_batch_size": 2,
                "iterations": 50_000,
                "validate_every": 500,
                **FOUR_CONV,
            },
        ),
        Entry(
            "pamela",
            "MAML with path-aware preconditioners: 5 steps, 2 skips, meta-batch 4",
            "Rajasegaran et al. 2020, PAMELA",
            changes={"algo": "maml", "lr": "pamela", "steps": 5, "eval_steps": 5},
        ),
        Entry(
            "maml++",
            "MAML with rates a tensor and step, multi-step loss, batch norm a step, cosine outer "
            "rate, first order first",
            "Antoniou et al. 2019, How to train your MAML",
            changes={
                "algo": "maml",
                "lr": "lslr",
                "bn": "per-step",
                "adapt_bn": False,
                "multi_step_epochs": 15,
                "first_order_epochs": 50,
                "outer_schedule": "cosine",
                "outer_lr_end": 1e-5,
                "grad_clip": 10.0,
                "steps": 5,
                "eval_steps": 5,
                "meta_batch_size": 2,
                "iterations": 50_000,
                **FOUR_CONV,
            },
        ),
        Entry(
            "alpha-maml",
            "MAML whose inner and outer rate follow their hypergradients, by gradient descent: one "
            "step, strided network",
            "Behl et al. 2019, Alpha MAML",
            changes={
                "algo": "maml",
                "lr": "hypergradient",
                "downsample": "stride",
                "steps": 1,
                "eval_steps": 1,
            },
        ),
    )
}
