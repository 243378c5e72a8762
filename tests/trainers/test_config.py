"""RunConfig: validation, precedence of defaults, and the TOML file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.errors import EpisodesError, UsageError
from trainers import catalog
from trainers.catalog import is_regression
from trainers.config import complete, differences, flag, overridden, read_toml, to_toml
from trainers.presets import PRESETS

MACHINE = {"split": "quarters", "threads": 1}
RATES = st.floats(min_value=1e-300, max_value=1e30)
COUNTS = st.integers(1, 10**6)
SEEDS = st.integers(0, 2**63 - 1)
NAMES = (
    st.text(min_size=1)
    .filter(str.isprintable)
    .filter(lambda name: not is_regression(name) and "," not in name)
)

shared_settings = st.fixed_dictionaries(
    {},
    optional={
        "dataset": NAMES,
        "split": NAMES,
        "way": st.integers(2, 50),
        "shot": COUNTS,
        "train_query": COUNTS,
        "iterations": st.integers(0, 10**6),
        "outer_lr": st.floats(1e-300, 1e6, exclude_max=True),
        "grad_clip": RATES,
        "seed": SEEDS,
        "episode_seed": SEEDS,
        "bn": st.sampled_from(["batch", "support", "running"]),
        "head_init": st.sampled_from(["learned", "zero", "prototypes"]),
        "multi_step": st.booleans(),
        "outer": st.sampled_from(["adam", "sgd"]),
        "outer_schedule": st.sampled_from(["constant", "cosine", "linear"]),
        "task_batching": st.sampled_from(["auto", "batched", "loop"]),
        "inner_graph": st.sampled_from(["auto", "stored"]),
        "downsample": st.sampled_from(["pool", "stride"]),
    },
)
algorithm_settings = st.one_of(
    st.fixed_dictionaries({"algo": st.just("anil")}),
    st.fixed_dictionaries(
        {"algo": st.sampled_from(["maml", "fomaml", "t-net"])},
        optional={"adapt_bn": st.booleans()},
    ),
)
rate_settings = st.one_of(
    st.fixed_dictionaries({"lr": st.just("fixed")}, optional={"inner_lr": RATES}),
    st.fixed_dictionaries(
        {"lr": st.just("personalized"), "divergence": st.just("kl_smoothed")},
        optional={"smoothing": st.floats(0.001, 0.999), "clip_rate": st.booleans()},
    ),
    st.fixed_dictionaries(
        {"lr": st.just("alfa")}, optional={"inner_lr": RATES, "unit_start": st.booleans()}
    ),
    st.builds(
        lambda low, factor: {"lr_min": low, "lr_max": low * factor},
        st.floats(1e-6, 1),
        st.floats(1, 100),
    ),
)
STORE = {"name": "x", "digest": "0", "image_size": 28, "channels": 1}
all_settings = st.builds(
    lambda *parts: {name: value for part in parts for name, value in part.items()},
    shared_settings,
    algorithm_settings,
    rate_settings,
)


@given(all_settings)
def test_a_config_file_gives_the_same_run(
    tmp_path_factory: pytest.TempPathFactory, settings: dict
) -> None:
    config = complete(settings, MACHINE)
    path = tmp_path_factory.getbasetemp() / "config.toml"
    path.write_text(to_toml(config, {"store": STORE}), encoding="utf-8")
    read, tables = read_toml(path)
    assert complete(read, {}) == config
    assert complete(read, {}).digest() == config.digest()
    assert tables == {"store": STORE}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[run]\nalgo = "maml"\n', "unknown setting 'run'"),
        ('[store]\nname = "x"\n', r"\[store\] must hold digest, name"),
        (
            '[versions]\npython = "3"\ntorch = "2"\nnumpy = "2"\ngrad_clip = 10.0\n',
            r"grad_clip belongs above the tables, not in \[versions\]",
        ),
        ("versions = 3\n", r"\[versions\] must hold"),
    ],
)
def test_a_setting_in_the_wrong_place_is_not_ignored(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(EpisodesError, match=message):
        read_toml(tmp_path / "config.toml")


def test_given_settings_take_their_followers_along() -> None:
    recorded = complete({"lr": "personalized", "train_shot": 3}, MACHINE).settings()
    found = complete(overridden(recorded, {"lr": "fixed", "way": 3, "shot": 2}), {})
    assert found.lr == "fixed" and found.own["inner_lr"] == 0.01 and "lr_min" not in found.own
    assert (found.way, found.train_way, found.shot, found.train_shot) == (3, 3, 2, 3)


def test_the_protocol_yields_to_the_dataset_and_the_dataset_to_what_is_given() -> None:
    dataset = MACHINE | {"iterations": 500, "validate_every": 100}
    config = complete({"iterations": 7, "query": 3}, dataset)
    assert (config.iterations, config.validate_every, config.val_episodes) == (7, 100, 600)
    assert (config.query, config.train_query, config.train_shot) == (3, 3, 1)


def test_a_default_of_the_dataset_without_a_use_is_left_out() -> None:
    config = complete({"lr": "personalized"}, MACHINE | {"inner_lr": 0.4})
    assert "inner_lr" not in config.own
    assert complete({"lr": "fixed"}, MACHINE | {"inner_lr": 0.4}).own["inner_lr"] == 0.4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner_lr": 0.1}, "--inner-lr 0.1 has no use here: only --lr fixed or .* reads it"),
        ({"lr": "fixed", "lr_max": 0.1}, "--lr-max 0.1 has no use here: only --lr personalized"),
        ({"smoothing": 0.2}, "--smoothing 0.2 .* only --divergence kl_smoothed reads it"),
        ({"lr": "fixed", "smoothing": 0.2}, "only --divergence kl_smoothed"),
        ({"adapt_bn": False}, "--no-adapt-bn has no use here: only --algo maml or .* reads it"),
        ({"algo": "malm"}, "unknown algorithm 'malm': did you mean 'maml'"),
        ({"divergence": "kl_smooth"}, "did you mean 'kl_smoothed'"),
        ({"bn": "runing"}, "unknown value of --bn 'runing': did you mean 'running'"),
        ({"outer": "adamw"}, "unknown value of --outer 'adamw': did you mean 'adam'"),
        ({"outer_lr_end": 0.1}, "--outer-lr-end 0.1 .* only --outer-schedule cosine or linear"),
        ({"outer_hyper_lr": 0.1}, "only --lr hypergradient reads it"),
        ({"filters": 4, "backbone": "mlp"}, "--filters 4 .* only --backbone conv4 or resnet12"),
        ({"way": 1}, "--way 1: expected at least 2"),
        ({"iterations": -1}, "--iterations -1: expected at least 0"),
        ({"shot": 0}, "--shot 0: expected at least 1"),
        ({"outer_lr": 0.0}, "--outer-lr 0.0: expected more than 0"),
        ({"outer_lr": float("nan")}, "--outer-lr nan: expected a finite number"),
        ({"lr": "fixed", "inner_lr": float("inf")}, "expected a finite number"),
        ({"divergence": "kl_clamped", "clamp": 1.0}, "--clamp 1.0: expected less than 1"),
        ({"seed": 2**63}, "--seed .*: expected at most"),
        ({"seed": 1.5}, "setting 'seed' is 1.5, expected a value of type int"),
        ({"way": True}, "setting 'way' is True"),
        ({"dataset": "a\nb"}, "expected printable text"),
        ({"shots": 5}, "unknown setting 'shots': did you mean 'shot'"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        complete(settings, MACHINE)


def test_an_algorithm_brings_its_defaults() -> None:
    reptile = complete({"algo": "reptile"}, MACHINE)
    assert (reptile.outer, reptile.outer_lr, reptile.lr) == ("sgd", 1.0, "fixed")
    assert (reptile.train_shot, reptile.train_query, reptile.shot) == (15, 5, 1)
    assert complete({"algo": "reptile", "outer_lr": 0.5}, MACHINE).outer_lr == 0.5
    assert complete({"algo": "fomaml"}, MACHINE).first_order
    assert not complete({"algo": "maml"}, MACHINE).first_order
    protonet = complete({"algo": "protonet", "train_way": 20}, MACHINE)
    assert (protonet.lr, protonet.steps, protonet.eval_steps) == ("none", 0, 0)
    assert protonet.train_way == 20 and protonet.way == 5


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_run_and_its_file_the_same_run(preset: str) -> None:
    changes = PRESETS[preset].changes
    config = complete(changes, MACHINE)
    assert changes.items() <= config.settings().items()
    assert complete(config.settings(), {}) == config


def test_another_algorithm_takes_the_defaults_of_the_last_away() -> None:
    recorded = complete({"algo": "reptile", "outer_lr": 0.5}, MACHINE).settings()
    found = complete(overridden(recorded, {"algo": "maml"}), {})
    assert (found.outer, found.outer_schedule, found.outer_lr) == ("adam", "constant", 0.5)


@pytest.mark.parametrize("dataset", ["sinusoid", "harmonic", "own/tasks.npz"])
def test_regression_has_no_way(dataset: str) -> None:
    config = complete({"dataset": dataset}, MACHINE)
    assert config.way is None and config.train_way is None and config.backbone == "mlp"
    assert (config.shot, config.train_shot, config.query, config.train_query) == (10, 10, 100, 10)
    assert complete(config.settings(), {}) == config


def test_differences_name_flag_recorded_and_given_value() -> None:
    recorded = complete({"algo": "maml", "seed": 1}, MACHINE)
    given = {"seed": 2, "adapt_bn": False, "inner_lr": 0.5, "way": 5}
    assert differences(recorded, given) == [
        "--seed 2 (recorded: --seed 1)",
        "--no-adapt-bn (recorded: --adapt-bn)",
        "--inner-lr 0.5 (not in this run)",
    ]


def test_flags_are_spelled_as_they_are_typed() -> None:
    assert flag("detach_rate", False) == "--attach-rate"
    assert flag("clip_rate", True) == "--clip-rate"
    assert flag("meta_batch_size", 4) == "--meta-batch-size 4"


def test_a_config_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(EpisodesError, match=r"config\.toml: no such config file"):
        read_toml(path)
    with pytest.raises(EpisodesError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)
    path.write_text("way = ")
    with pytest.raises(EpisodesError, match=r"config\.toml: not valid TOML"):
        read_toml(path)
    path.write_text("wya = 5")
    with pytest.raises(EpisodesError, match=r"config\.toml: .*did you mean 'way'"):
        read_toml(path)


@pytest.mark.parametrize("algo", catalog.ALGORITHMS)
@pytest.mark.parametrize("before", ["maml", "protonet", "reptile", "proto-maml"])
def test_another_algorithm_on_a_config_is_that_of_a_fresh_run(before: str, algo: str) -> None:
    recorded = complete({"algo": before}, MACHINE).settings()
    assert complete(overridden(recorded, {"algo": algo}), {}) == complete({"algo": algo}, MACHINE)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "flags", [{}, {"dataset": "sinusoid"}, {"backbone": "resnet12"}, {"lr": "fixed"}], ids=str
)
def test_a_preset_stands_flags_that_replace_parts_of_it(preset: str, flags: dict) -> None:
    changes = PRESETS[preset].changes
    found = complete(overridden(dict(changes), flags), MACHINE).settings()
    assert {name: found[name] for name in flags} == flags
    kept = changes.keys() & found.keys() - flags.keys()
    assert {name: found[name] for name in kept} == {name: changes[name] for name in kept}
    assert {"algo", "steps"} <= kept


def test_another_dataset_takes_its_splits_and_classes_along() -> None:
    recorded = complete({"dataset": "glyphs"}, MACHINE).settings()
    found = complete(overridden(recorded, {"dataset": "sinusoid"}), {"split": "tasks"})
    assert found.way is None and found.split == "tasks"
