"""Features of classes, by which samplers can choose those that differ."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import episodes
from episodes.errors import UsageError
from trainers import learner as learners
from trainers import run_directory
from trainers.learner import Learner
from trainers.outer_state import load_weights, read_position
from trainers.recorded import best_checkpoint, read_config
from trainers.sources import open_source
from trainers.types import Params

IMAGES_A_CLASS = 5
CLASSES_AT_ONCE = 20

Prototypes = Callable[[Params], np.ndarray]


def prototypes(learner: Learner, store: "episodes.Store", split: str) -> Prototypes:
    """A function of weights: the mean feature of each class of a split, float64 `[C, d]`.

    Of the first five images of a class, or as many as it has; normalised by the moments of the
    images of twenty classes at once. They are in the order of the split's classes.
    """
    classes = store.split_classes(split)
    counts = np.minimum(store.class_sizes[classes], IMAGES_A_CLASS)

    def of_weights(params: Params) -> np.ndarray:
        how, algorithm = learner.training, learner.algorithm
        weights = algorithm.weights_at(how, params, 0)
        found = []
        for first in range(0, len(classes), CLASSES_AT_ONCE):
            some = slice(first, first + CLASSES_AT_ONCE)
            starts = store.class_starts[classes[some]]
            rows = [start + np.arange(n) for start, n in zip(starts, counts[some], strict=True)]
            images = torch.as_tensor(store.images(np.concatenate(rows))).to(learner.device)
            inputs = images.movedim(-1, -3).to(torch.float32).div(255).contiguous()
            with torch.no_grad():
                features = how.backbone.features(weights, inputs).double().cpu()
            found += [part.mean(0) for part in features.split(counts[some].tolist())]
        return torch.stack(found).numpy()

    return of_weights


def of_run(path: Path, store: "episodes.Store", split: str) -> np.ndarray:
    """The prototypes of a split's classes by the best checkpoint of a run.

    Raises UsageError where the run was made for other images.
    """
    directory = run_directory.find(path)
    recorded, _ = read_config(directory)
    source = open_source(recorded.dataset, recorded.sampler)
    height, width, channels = store.image_shape
    if source.input_shape != (channels, height, width):
        raise UsageError(
            f"--dpp-run {path} was trained on images of (channels, height, width) "
            f"{source.input_shape}, expected {(channels, height, width)}: give another run"
        )
    learner = learners.build(recorded, source)
    position = read_position(directory.last_checkpoint, directory.advice, recorded)
    best, _ = best_checkpoint(directory, position)
    params, _ = load_weights(best, directory.advice, recorded, learner)
    return prototypes(learner, store, split)(params)
