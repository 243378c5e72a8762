"""The families of regression tasks."""

from collections.abc import Mapping

from trainers.catalog.entry import Entry, table
from trainers.settings import Value

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

FAMILIES = table(
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
