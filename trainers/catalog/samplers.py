"""How training episodes are drawn."""

from trainers.catalog.entry import Entry, table

DIVERSITY_PAPER = "Kumar, Deleu and Bengio 2023, The Effect of Diversity in Meta-Learning"
ADAPTIVE_PAPER = "Wang et al. 2024, Towards Task Sampler Learning for Meta-Learning"

SAMPLERS = table(
    Entry("uniform", "classes uniformly, episodes of one shape", "Vinyals et al. 2016"),
    Entry(
        "meta-dataset",
        "by Meta-Dataset's rules, with ways and shots of their own unless they are given",
        "Triantafillou et al. 2020, Meta-Dataset",
    ),
    Entry("ndt", "no diversity: one set of classes for the run", DIVERSITY_PAPER),
    Entry("ndb", "every meta-batch has the same sets of classes", DIVERSITY_PAPER),
    Entry("ndtb", "one set of classes for each meta-batch", DIVERSITY_PAPER),
    Entry(
        "single-batch",
        "uniform, one task an iteration; with more --iterations, Kumar's increased data",
        DIVERSITY_PAPER,
        changes={"meta_batch_size": 1},
    ),
    Entry(
        "fixed-pool",
        "one task an iteration, each set of classes several times in succession",
        DIVERSITY_PAPER,
        settings={"repeats": 4},
        changes={"meta_batch_size": 1},
    ),
    Entry("ohtm", "half of each meta-batch are the hardest tasks so far", DIVERSITY_PAPER),
    Entry("owhtm", "half are drawn from them, the harder the likelier", DIVERSITY_PAPER),
    Entry(
        "s-dpp",
        "diverse classes, by a determinantal point process on a trained run's features",
        DIVERSITY_PAPER,
        settings={"dpp_run": "none", "dpp_normalised": False},
        fields={"dpp_normalised": "normalised"},
        elsewhere=("dpp_run",),
    ),
    Entry(
        "d-dpp",
        "the same on this run's features, anew every 500 iterations",
        DIVERSITY_PAPER,
        settings={"dpp_normalised": False},
        fields={"dpp_normalised": "normalised"},
    ),
    Entry(
        "adaptive",
        "a network weights or chooses tasks by their diversity, entropy and difficulty",
        ADAPTIVE_PAPER,
        settings={
            "sampler_mode": "weighting",
            "sampler_criteria": "asr",
            "sampler_lr": 1e-3,
            "sampler_temperature": 1.0,
            "candidates": 4,
        },
        fields={
            "sampler_mode": "mode",
            "sampler_criteria": "criteria",
            "sampler_lr": "rate",
            "sampler_temperature": "temperature",
        },
    ),
)

STATELESS = ("uniform", "meta-dataset", "single-batch")
"""Those whose episodes are those of a stream, by number."""
