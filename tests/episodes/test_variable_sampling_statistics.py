"""What variable plans are on average, beside the published sampler's figures.

The expected figures are means over 20,000 episodes of another implementation of Meta-Dataset's
sampler, so the rarest, the share of classes with one shot, is itself only known to some 5 %.
"""

import math

import numpy as np
import pytest

from episodes import manifest
from episodes.sampling import ClassTable, VariableSpec
from episodes.sampling.pools import pools_of
from episodes.sampling.rng import plan_key
from tests.episodes.test_sampling_by_hand import class_table
from tests.episodes.test_variable_sampling_by_hand import Source, plans_of

SCHEME = "meta-dataset"
EPISODES_OF_THE_EXPECTED = 20_000

# For each part: ways, support size, query images a class, shots a class, % of classes with one.
EXPECTED = {
    ("imagenet", "train"): ("19.1", "375", "10", "19.6", "1.7"),
    ("imagenet", "val"): ("20.4", "371", "10", "18.2", "1.9"),
    ("imagenet", "test"): ("14.9", "377", "10", "25.4", "1.5"),
    ("omniglot", "train"): ("19.9", "95.8", "10", "4.81", "16"),
    ("omniglot", "val"): ("10.6", "51.0", "10", "4.82", "16"),
    ("omniglot", "test"): ("19.0", "90.7", "10", "4.78", "16"),
    ("aircraft", "train"): ("27.4", "415", "10", "15.1", "1.7"),
    ("aircraft", "val"): ("10.0", "338", "10", "33.9", "1.7"),
    ("aircraft", "test"): ("10.0", "340", "10", "33.9", "1.7"),
    ("cub", "train"): ("27.5", "361", "10", "13.1", "3.2"),
    ("cub", "val"): ("17.5", "314", "10", "18.0", "3.2"),
    ("cub", "test"): ("17.5", "316", "10", "18.1", "3.2"),
    ("dtd", "train"): ("19.0", "407", "10", "21.4", "1.5"),
    ("dtd", "val"): ("6.0", "284", "10", "47.3", "1.5"),
    ("dtd", "test"): ("6.0", "282", "10", "47.1", "1.5"),
    ("quickdraw", "train"): ("27.4", "422", "10", "15.4", "1.7"),
    ("quickdraw", "val"): ("27.4", "422", "10", "15.4", "1.7"),
    ("quickdraw", "test"): ("27.4", "422", "10", "15.4", "1.7"),
    ("fungi", "train"): ("27.5", "359", "4.05", "13.1", "7.8"),
    ("fungi", "val"): ("27.5", "358", "4.38", "13.1", "6.8"),
    ("fungi", "test"): ("27.5", "362", "4.05", "13.1", "7.8"),
    ("vgg-flower", "train"): ("27.4", "382", "10", "14.0", "3.0"),
    ("vgg-flower", "val"): ("10.0", "270", "10", "27.1", "3.0"),
    ("vgg-flower", "test"): ("10.5", "293", "10", "27.8", "3.0"),
    ("traffic-sign", "test"): ("24.0", "418", "10", "17.4", "2.7"),
    ("mscoco", "val"): ("22.5", "414", "10", "18.4", "7.7"),
    ("mscoco", "test"): ("22.4", "415", "10", "18.5", "4.8"),
}
A_FEW = [("imagenet", "test"), ("omniglot", "train"), ("fungi", "val"), ("mscoco", "test")]


def source_of(dataset: str, part: str) -> Source:
    """The classes of a part of Meta-Dataset as a store lays them out, from the manifest alone."""
    facts = manifest.load(dataset)
    every = class_table(np.array(facts.class_images))
    ids = np.array(facts.schemes[SCHEME].classes[part])
    names = [facts.class_names[index] for index in ids]
    table = ClassTable(ids, every.starts[ids], every.sizes[ids])
    return table, pools_of(facts, SCHEME, part, names)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float]:
    """The sum of one over the sum of the other, and its standard error; an entry an episode."""
    share = numerator.sum() / denominator.sum()
    spread = np.mean((numerator - share * denominator) ** 2)
    return share, math.sqrt(spread / len(numerator)) / denominator.mean()


def figures(dataset: str, part: str, episodes: int) -> list[tuple[float, float]]:
    """The five figures of EXPECTED, each with its standard error."""
    spec = VariableSpec()
    key = plan_key(1, f"{SCHEME}.{part}", spec.canonical())
    plans = plans_of([source_of(dataset, part)], spec, key, 0, episodes)
    each = np.ones(episodes)
    support = plans.support_counts.sum(axis=1)
    with_one = (plans.support_counts == 1).sum(axis=1)
    assert len(plans.support_rows) == support.sum()
    return [
        ratio(plans.ways, each),
        ratio(support, each),
        ratio(plans.query_counts.max(axis=1), each),
        ratio(support, plans.ways),
        ratio(100 * with_one, plans.ways),
    ]


def printed_tolerance(expected: str) -> float:
    """3 %, or half of the last printed digit."""
    return max(0.03 * float(expected), 0.5 * 10.0 ** -len(expected.partition(".")[2]))


def noise(error: float, episodes: int) -> float:
    """Four standard errors of the difference from what 20,000 other episodes gave."""
    return 4 * error * math.sqrt(1 + episodes / EPISODES_OF_THE_EXPECTED)


@pytest.mark.parametrize(("dataset", "part"), A_FEW)
def test_some_means_are_those_of_the_published_sampler(dataset: str, part: str) -> None:
    found = figures(dataset, part, 4000)
    for (mean, error), expected in zip(found, EXPECTED[dataset, part], strict=True):
        tolerance = max(printed_tolerance(expected), noise(error, 4000))
        assert mean == pytest.approx(float(expected), abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "part"), list(EXPECTED))
def test_means_are_those_of_the_published_sampler(dataset: str, part: str) -> None:
    *found, (share, error) = figures(dataset, part, 20_000)
    *expected, expected_share = EXPECTED[dataset, part]
    for (mean, _), printed in zip(found, expected, strict=True):
        assert mean == pytest.approx(float(printed), abs=printed_tolerance(printed))
    tolerance = max(printed_tolerance(expected_share), noise(error, 20_000))
    assert share == pytest.approx(float(expected_share), abs=tolerance)


# Images of the parts of each source, and the least and the most images of its classes.
IMAGES = {
    "omniglot": ((17_660, 1_620, 13_180), 20, 20),
    "aircraft": ((7_000, 1_500, 1_500), 100, 100),
    "cub": ((8_239, 1_779, 1_770), 41, 60),
    "dtd": ((3_960, 840, 840), 120, 120),
    "quickdraw": ((34_776_331, 7_939_640, 7_710_295), 113_613, 340_029),
    "fungi": ((64_449, 12_195, 13_116), 6, 442),
    "vgg-flower": ((5_655, 1_109, 1_425), 40, 258),
    "traffic-sign": ((0, 0, 39_209), 210, 2250),
    "mscoco": ((0, 513_021, 346_980), 198, 262_465),
}


@pytest.mark.parametrize("dataset", list(IMAGES))
def test_the_counts_that_are_sampled_from_are_meta_datasets(dataset: str) -> None:
    facts = manifest.load(dataset)
    images = np.array(facts.class_images)
    parts = facts.schemes[SCHEME].classes
    sums = tuple(int(images[list(parts[part])].sum()) for part in ("train", "val", "test"))
    assert (sums, images.min(), images.max()) == IMAGES[dataset]
