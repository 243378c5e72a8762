"""Measure how hard glyphs is: a table of simple classifiers and of runs on the same episodes.

Example, for the table of docs/glyphs.md:

    trainers run --iterations 0 --out runs/untrained
    trainers run --out runs/trained
    python tools/measure_glyphs.py runs/untrained runs/trained
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

import episodes
from episodes import Episode, Stream
from episodes.errors import EpisodesError

Classifier = Callable[[Episode], np.ndarray]


@dataclass(frozen=True)
class Measurement:
    """Accuracy of one method in 0..1, and half the width of its 95 % interval."""

    method: str
    accuracy: float
    interval: float


def nearest(references: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Index of the Euclidean nearest of references [R, D] to each of queries [Q, D]."""
    differences = queries[:, None].astype(np.float64) - references.astype(np.float64)
    return np.square(differences).sum(-1).argmin(-1)


def centroids(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of features [S, D] for each label 0..way-1: float64 [way, D]."""
    way = labels.max() + 1
    return np.stack([features[labels == label].mean(0, dtype=np.float64) for label in range(way)])


def nearest_pixels(episode: Episode) -> np.ndarray:
    """Labels of the support images that the query images are nearest to, pixel by pixel."""
    support = episode.support_images.reshape(len(episode.support_images), -1)
    query = episode.query_images.reshape(len(episode.query_images), -1)
    return episode.support_labels[nearest(support, query)]


def untrained_centroids(way: int, image_shape: tuple[int, int, int], seed: int) -> Classifier:
    """Nearest class mean in the features of Conv4-64 with the initial weights of training `seed`.

    Support and query images are each normalised by their own batch moments.
    """
    import torch

    from trainers.backbones.conv4 import Conv4

    height, _, channels = image_shape
    backbone = Conv4(way, channels, height)
    params = backbone.init(torch.Generator().manual_seed(seed))

    def features(images: np.ndarray) -> np.ndarray:
        tensor = torch.tensor(images).movedim(-1, 1).to(torch.float32) / 255
        with torch.no_grad():
            return backbone.features(params, tensor).numpy()

    def classify(episode: Episode) -> np.ndarray:
        means = centroids(features(episode.support_images), episode.support_labels)
        return nearest(means, features(episode.query_images))

    return classify


def measure(method: str, classify: Classifier, stream: Stream, count: int) -> Measurement:
    """The method's accuracy on the first `count` episodes of the stream."""
    from trainers.evaluation import confidence_interval

    accuracies = np.array(
        [
            np.mean(classify(episode) == episode.query_labels)
            for episode in stream.iterate(stop=count)
        ]
    )
    return Measurement(method, float(accuracies.mean()), confidence_interval(accuracies))


def read_run(folder: Path, fingerprint: str) -> Measurement:
    """The test accuracy of a finished run; raises EpisodesError unless on the episodes cited."""
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        test, config = results["test"], results["config"]
        method = f"{config['algo']}, {config['lr']} rates, {config['iterations']} iterations"
        measurement = Measurement(method, test["accuracy"], test["interval"])
        tested_on = test["fingerprint"]
    except OSError as error:
        raise EpisodesError(f"{path}: {error.strerror}; expected a finished run") from None
    except (ValueError, KeyError, TypeError) as error:
        raise EpisodesError(f"{path}: not the results of a run ({error!r})") from None
    if tested_on != fingerprint:
        raise EpisodesError(
            f"{path}: tested on episodes {tested_on[:12]}, expected {fingerprint[:12]}: "
            "run again with the default shape, episodes and episode seed"
        )
    return measurement


def markdown(measurements: Sequence[Measurement]) -> str:
    """A table with a row for each measurement, in per cent."""
    rows = [
        f"| {m.method} | {100 * m.accuracy:.2f} ± {100 * m.interval:.2f} |" for m in measurements
    ]
    return "\n".join(["| method | accuracy, % |", "|---|---|", *rows])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--episodes", "count", default=600, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="Of the untrained weights.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(runs: tuple[Path, ...], count: int, seed: int, as_json: bool) -> None:
    """Measure simple classifiers, and read RUNS, on the same test episodes of glyphs.

    \b
    Example:
      python tools/measure_glyphs.py runs/untrained runs/trained
    """
    try:
        store = episodes.open("glyphs")
        stream = store.stream(split="test", way=5, shot=1, query=15, seed=0)
        fingerprint = stream.fingerprint(count)
        centroid = untrained_centroids(stream.spec.way, store.image_shape, seed)
        measurements = [
            *(read_run(folder, fingerprint) for folder in runs),
            measure("pixels, nearest neighbour", nearest_pixels, stream, count),
            measure("untrained Conv4-64, nearest centroid", centroid, stream, count),
        ]
    except EpisodesError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    measurements.sort(key=lambda measurement: measurement.accuracy)
    if as_json:
        figures = [asdict(measurement) for measurement in measurements]
        click.echo(json.dumps({"fingerprint": fingerprint, "measurements": figures}, indent=1))
    else:
        click.echo(markdown(measurements))


if __name__ == "__main__":
    main()
