"""The catalog against the classes that it describes without importing them."""

import dataclasses
from typing import get_args

import pytest

from episodes.errors import UsageError
from trainers import algorithms, backbones, catalog, rates
from trainers.rates import personalized

BUILT = {
    "algo": algorithms.ALGORITHMS,
    "lr": rates.SCHEMES,
    "backbone": backbones.BACKBONES,
    "divergence": get_args(personalized.Divergence),
}


@pytest.mark.parametrize("setting", catalog.TABLES)
def test_what_works_is_what_is_built(setting: str) -> None:
    working = {name for name, entry in catalog.TABLES[setting].items() if entry.state == "works"}
    assert working == set(BUILT[setting])


@pytest.mark.parametrize(
    ("setting", "name", "built"),
    [
        ("algo", "maml", algorithms.MAML),
        ("lr", "fixed", rates.Fixed),
        ("lr", "personalized", rates.Personalized),
        ("backbone", "conv4", backbones.Conv4),
    ],
)
def test_defaults_are_those_of_the_classes(setting: str, name: str, built: type) -> None:
    entry = catalog.find(setting, name)
    defaults = {field.name: field.default for field in dataclasses.fields(built)}
    described = {entry.fields.get(key, key): value for key, value in entry.settings.items()}
    assert described.items() <= defaults.items()


def test_smoothing_and_clamp_have_the_defaults_of_personalized() -> None:
    assert catalog.DIVERGENCES["kl_smoothed"].settings == {
        "smoothing": rates.Personalized.smoothing
    }
    assert catalog.DIVERGENCES["kl_clamped"].settings == {"clamp": rates.Personalized.clamp}


def test_an_unknown_name_fails_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="unknown algorithm 'fomalm': did you mean 'fomaml'"):
        catalog.find("algo", "fomalm")


def test_a_planned_name_fails_with_those_that_work() -> None:
    with pytest.raises(UsageError, match="'boil' is planned.*maml, fomaml, anil"):
        catalog.find("algo", "boil")
