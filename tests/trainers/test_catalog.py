"""The catalog against the classes that it describes without importing them."""

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
import torch

from episodes.errors import UsageError
from trainers import algorithms, backbones, catalog, rates
from trainers.catalog.algorithms import UNLEARNED_RATES
from trainers.config import RunConfig
from trainers.rates import personalized
from trainers.settings import SETTINGS
from trainers.tasks import FAMILIES
from trainers.types import ParamInfo

BUILT = {
    "algo": algorithms.ALGORITHMS,
    "lr": rates.SCHEMES,
    "backbone": backbones.BACKBONES,
    "divergence": get_args(personalized.Divergence),
}
FIELDS = ("algo", "lr", "backbone")


@pytest.mark.parametrize("setting", BUILT)
def test_what_works_is_what_is_built(setting: str) -> None:
    assert set(catalog.TABLES[setting]) == set(BUILT[setting])


OTHER_DEFAULTS = {"proto-maml": {"adapt_bn": False}, "mlp": {"hidden": "40,40"}}
"""A method's own choice, and how a flag spells a tuple."""


@pytest.mark.parametrize(
    ("setting", "name"), [(table, name) for table in FIELDS for name in catalog.TABLES[table]]
)
def test_defaults_are_those_of_the_classes(setting: str, name: str) -> None:
    entry, built = catalog.find(setting, name), BUILT[setting][name]
    fields = dataclasses.fields(getattr(built, "func", built))
    defaults = {field.name: field.default for field in fields} | OTHER_DEFAULTS.get(name, {})
    described = {
        entry.fields.get(key, key): value
        for key, value in entry.settings.items()
        if key not in entry.elsewhere
    }
    assert described.items() <= defaults.items()


def test_every_setting_of_an_entry_is_a_flag() -> None:
    for table in catalog.TABLES.values():
        for entry in table.values():
            assert {*entry.settings, *entry.changes} <= SETTINGS.keys()
            for name, value in {**entry.settings, **entry.changes}.items():
                SETTINGS[name].check(name, value)


def test_every_flag_belongs_to_a_run() -> None:
    entries = [entry for table in catalog.TABLES.values() for entry in table.values()]
    owned = {name for entry in entries for name in entry.settings}
    shared = {field.name for field in dataclasses.fields(RunConfig)} - {"own"}
    assert set(SETTINGS) == owned | shared and not owned & shared


def test_rates_that_an_algorithm_lists_exist_and_the_learned_have_something_to_learn() -> None:
    for entry in catalog.ALGORITHMS.values():
        assert set(entry.rates) <= set(rates.SCHEMES)
    info = ParamInfo("w.weight", (2, 2), "w", "linear", adapted=True)
    built = {name: rates.build(name) for name in catalog.RATE_SCHEMES}
    unlearned = {n for n, scheme in built.items() if not scheme.init([info], 2, torch.Generator())}
    assert unlearned == {"none", *UNLEARNED_RATES}


def test_regression_is_known_by_the_name() -> None:
    assert set(catalog.FAMILIES) == set(FAMILIES)
    assert all(map(catalog.is_regression, [*FAMILIES, "a/tasks.npz", "tasks.parquet"]))
    assert not catalog.is_regression("omniglot")


def test_smoothing_and_clamp_have_the_defaults_of_personalized() -> None:
    assert catalog.DIVERGENCES["kl_smoothed"].settings == {
        "smoothing": rates.Personalized.smoothing
    }
    assert catalog.DIVERGENCES["kl_clamped"].settings == {"clamp": rates.Personalized.clamp}


def test_an_unknown_name_fails_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="unknown algorithm 'fomalm': did you mean 'fomaml'"):
        catalog.find("algo", "fomalm")


@pytest.mark.parametrize("name", catalog.ALGORITHMS)
def test_an_algorithm_is_called_as_its_page_is(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "algorithms" / f"{name}.md"
    heading = page.read_text(encoding="utf-8").splitlines()[0]
    assert heading == f"# {catalog.find('algo', name).title} (`--algo {name}`)"


def test_what_heads_a_page_names_rates_where_there_are_any() -> None:
    assert catalog.title("anil", "personalized") == "ANIL with personalized rates"
    assert catalog.title("protonet", "none") == "Prototypical networks"
