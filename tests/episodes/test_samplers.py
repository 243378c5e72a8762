"""Samplers by the tasks that they propose, whatever they are told of how it went."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.errors import EpisodesError, UsageError
from episodes.sampling import FEEDBACK, MEASURES, SAMPLERS, Sampler, TaskSpace, build
from episodes.sampling.diversity import FixedPool
from episodes.sampling.hard_tasks import BUFFER, HardTasks, WeightedHardTasks
from episodes.sampling.sampler import entry
from tests.episodes.task_spaces import Classes, Functions
from tests.episodes.test_sampling_properties import p_value

SETTINGS: dict[str, dict[str, object]] = {
    "fixed-pool": {"repeats": 3},
    "s-dpp": {"features": np.random.default_rng(0).normal(size=(12, 6))},
    "adaptive": {"mode": "sampling", "candidates": 2, "rate": 0.1},
}


def made(name: str, space: TaskSpace, batch_size: int, seed: int = 3) -> Sampler:
    batch_size = 1 if name == "fixed-pool" else batch_size
    return build(name, space, batch_size, seed, **SETTINGS.get(name, {}))


def measured(sampler: Sampler, batch: int, tasks: int, labels: bool = True) -> dict:
    """Measures of proposed tasks, random but for ever the same."""
    generator = np.random.default_rng(batch)
    of_tasks = {
        "features": generator.normal(size=(tasks, 6, 4)),
        "labels": np.tile([0, 0, 1, 1, 2, 2], (tasks, 1)),
        "gradient_norms": generator.exponential(size=tasks),
        "gradient_cosines": generator.uniform(-1, 1, tasks),
    }
    return {name: of_tasks[name] for name in sampler.measures}


def told(sampler: Sampler, batch: int, tasks: int, classes: int) -> dict:
    generator = np.random.default_rng(1000 + batch)
    of_tasks = {
        "losses": generator.exponential(size=tasks),
        "accuracies": generator.uniform(size=tasks),
        "weight_gradients": generator.normal(size=tasks),
        "validation_loss": generator.exponential(size=()),
        "class_features": generator.normal(size=(classes, 6)),
    }
    missing = {"class_features"} | (set() if classes else {"accuracies"})
    return {name: of_tasks[name] for name in sampler.feedback_wanted - missing}


def run(sampler: Sampler, batches: range, classes: int = 12) -> list[tuple]:
    """What is trained on: identities, images and weights of each batch."""
    trained: list[tuple] = []
    for batch in batches:
        if sampler.wants_class_features(batch):
            features = np.random.default_rng(batch).normal(size=(classes, 6))
            sampler.feedback({"class_features": features})
        proposal = sampler.propose(batch)
        again = sampler.propose(batch)
        assert again.start == proposal.start
        np.testing.assert_array_equal(again.identities, proposal.identities)
        selection = sampler.select(measured(sampler, batch, len(proposal)))
        assert len(selection.chosen) == len(set(selection.chosen.tolist())) == sampler.batch_size
        assert selection.weights.mean() == pytest.approx(1)
        tasks = proposal.identities[selection.chosen]
        images = proposal.start + selection.chosen
        trained.append((tasks.tolist(), images.tolist(), selection.weights.tolist()))
        sampler.feedback(told(sampler, batch, len(tasks), classes))
    return trained


def sets_of(batch: tuple) -> list[tuple[int, ...]]:
    return [tuple(sorted(task[1:])) for task in batch[0]]


def test_the_registry_has_every_sampler_by_its_name() -> None:
    names = ["uniform", "ndt", "ndb", "ndtb", "fixed-pool", "ohtm", "owhtm", "s-dpp", "d-dpp"]
    assert list(SAMPLERS) == [*names, "adaptive"]
    for name in SAMPLERS:
        sampler = made(name, Classes(), 4)
        assert isinstance(sampler, SAMPLERS[name]) and sampler.name == name
        assert sampler.measures <= MEASURES and sampler.feedback_wanted <= FEEDBACK


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("unifrom", {}, "unknown sampler 'unifrom': did you mean 'uniform'?"),
        ("fixed-pool", {"repeat": 2}, "unknown setting of the sampler fixed-pool 'repeat': did yo"),
        ("adaptive", {"mode": "weights"}, "unknown mode 'weights': did you mean 'weighting'?"),
        ("adaptive", {"criteria": "trl"}, "unknown criteria 'trl': did you mean 'trl4'?"),
        ("adaptive", {"temperature": 0}, "temperature 0; expected 0 or more, and more than 0"),
        ("adaptive", {"candidates": 0}, "candidates is 0"),
        ("owhtm", {"temperature": -1}, "temperature is -1; expected a number above 0"),
        ("fixed-pool", {}, "fixed-pool trains on 1 task a batch; found batch_size 4"),
    ],
)
def test_what_there_is_not_is_refused(name: str, values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, Classes(), 4, 1, **values)


def test_senseless_sizes_and_seeds_are_refused() -> None:
    for batch_size in (0, 1.0, True):
        with pytest.raises(UsageError, match="batch_size is .*; expected a whole number of 1"):
            build("uniform", Classes(), batch_size, 1)
    with pytest.raises(UsageError, match="seed is '1'; expected a whole number"):
        build("uniform", Classes(), 1, "1")
    with pytest.raises(UsageError, match="repeats is 0"):
        FixedPool(Classes(), 1, 1, repeats=0)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from([*SAMPLERS]),
    way=st.integers(2, 5),
    batch_size=st.integers(1, 6),
    seed=st.integers(0, 2**40),
    first=st.integers(1, 36),
)
def test_a_sampler_goes_on_from_its_state(
    name: str, way: int, batch_size: int, seed: int, first: int
) -> None:
    space = Classes(way)
    whole = run(made(name, space, batch_size, seed), range(first + 3))
    stopped = made(name, space, batch_size, seed)
    assert run(stopped, range(first)) == whole[:first]
    state = {key: value.copy() for key, value in stopped.state().items()}
    assert {value.dtype.str for value in state.values()} <= {"<f8", "<i8", "<u8"}
    resumed = made(name, space, batch_size, seed)
    resumed.load(state)
    assert run(resumed, range(first, first + 3)) == whole[first:]
    for tasks, _, _ in whole:
        assert all(len(task) == len({*task[1:]}) + 1 == way + 1 for task in tasks)


@pytest.mark.parametrize("name", [*SAMPLERS])
def test_images_are_never_drawn_for_the_same_number_twice(name: str) -> None:
    trained = run(made(name, Classes(), 4), range(40))
    numbers = [number for _, images, _ in trained for number in images]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", [*SAMPLERS])
def test_labels_vary(name: str) -> None:
    trained = run(made(name, Classes(), 4), range(40))
    orders = {tuple(np.argsort(task[1:])) for tasks, _, _ in trained for task in tasks}
    assert len(orders) == 6


@pytest.mark.parametrize("name", ["ndt", "ndb", "ndtb", "ohtm", "adaptive"])
def test_seeds_differ(name: str) -> None:
    first, second = (run(made(name, Classes(), 8, seed), range(35)) for seed in (3, 4))
    assert first != second


@pytest.mark.parametrize("name", ["ohtm", "owhtm", "s-dpp", "d-dpp", "adaptive"])
def test_a_state_that_does_not_fit_is_refused(name: str) -> None:
    sampler = made(name, Classes(), 4)
    run(sampler, range(2))
    state = sampler.state()
    for key, value in state.items():
        fresh = made(name, Classes(), 4)
        with pytest.raises(EpisodesError, match=f"'{key}' is missing; found"):
            fresh.load({other: array for other, array in state.items() if other != key})
        with pytest.raises(EpisodesError, match=f"'{key}' has "):
            fresh.load(state | {key: np.zeros((*value.shape, 2))})


def test_an_entry_is_a_copy_of_the_asked_for_type() -> None:
    values = np.arange(3.0)
    found = entry({"a": values}, "a", (3,))
    found[0] = 9
    assert values[0] == 0
    assert entry({"a": np.arange(3)}, "a", (3,)).dtype == np.float64
    with pytest.raises(EpisodesError, match=r"'a' has shape \[3\]; expected \[2\]"):
        entry({"a": values}, "a", (2,))
    with pytest.raises(EpisodesError, match=r"'a' has shape \[3\]; expected \['any', 2\]"):
        entry({"a": values}, "a", (None, 2))


def test_uniform_is_the_uniform_stream() -> None:
    space = Classes(sources=2)
    for batch, (tasks, images, weights) in enumerate(run(made("uniform", space, 5), range(4))):
        assert tasks == space.identities(5 * batch, 5).tolist()
        assert images == list(range(5 * batch, 5 * batch + 5))
        assert weights == [1.0] * 5


def test_ndt_has_one_class_set() -> None:
    trained = run(made("ndt", Classes(), 4), range(20))
    assert len({classes for batch in trained for classes in sets_of(batch)}) == 1
    assert len({tuple(map(tuple, tasks)) for tasks, _, _ in trained}) > 1


def test_each_sampler_has_words_of_its_own() -> None:
    # The first batch of both is of the same class set.
    first, second = (made(name, Classes(), 9).propose(0).identities for name in ("ndt", "ndtb"))
    np.testing.assert_array_equal(np.sort(first[:, 1:]), np.sort(second[:, 1:]))
    assert first.tolist() != second.tolist()


def test_ndb_has_the_same_class_sets_in_every_batch_in_new_orders() -> None:
    trained = run(made("ndb", Classes(), 4), range(20))
    batches = [sets_of(batch) for batch in trained]
    assert len(set(batches[0])) == 4
    assert {tuple(sorted(batch)) for batch in batches} == {tuple(sorted(batches[0]))}
    assert len(set(map(tuple, batches))) > 10


def test_ndtb_has_one_class_set_in_each_batch() -> None:
    batches = [set(sets_of(batch)) for batch in run(made("ndtb", Classes(), 4), range(20))]
    assert {len(batch) for batch in batches} == {1}
    assert len(set().union(*batches)) > 15


def test_a_fixed_pool_repeats_each_class_set() -> None:
    trained = run(made("fixed-pool", Classes(), 1), range(30))
    sets = [classes for batch in trained for classes in sets_of(batch)]
    assert sets == [classes for classes in sets[::3] for _ in range(3)]
    assert len(set(sets)) > 8


@pytest.mark.parametrize("name", ["ndt", "ndb", "ndtb", "ohtm", "owhtm"])
def test_functions_have_no_labels_to_permute(name: str) -> None:
    trained = run(made(name, Functions(), 4), range(35), classes=0)
    functions = [[task[0] for task in tasks] for tasks, _, _ in trained]
    if name == "ndt":
        assert functions == [[0] * 4] * 35
    elif name == "ndb":
        assert all(sorted(batch) == [0, 1, 2, 3] for batch in functions)
    elif name == "ndtb":
        assert functions == [[batch] * 4 for batch in range(35)]
    else:
        assert functions[:31] == [list(range(4 * n, 4 * n + 4)) for n in range(31)]
        # A function's number is its position, which the uniform half keeps.
        assert functions[31][2:] == [126, 127] and max(functions[31][:2]) < 124


def hard_run(sampler: HardTasks, batches: int) -> dict[tuple[int, ...], float]:
    """The latest score of every task, as feedback gave them."""
    scores: dict[tuple[int, ...], float] = {}
    for batch in range(batches):
        tasks = sampler.propose(batch).identities
        sampler.select({})
        accuracies = np.random.default_rng(batch).permutation(100)[: len(tasks)] / 100 + batch / 1e5
        sampler.feedback({"accuracies": accuracies, "losses": -accuracies})
        scores |= dict(zip(map(tuple, tasks.tolist()), accuracies.tolist(), strict=True))
    return scores


def test_ohtm_is_uniform_before_batch_32_then_half_the_hardest() -> None:
    space, sampler = Classes(), HardTasks(Classes(), 7, 3)
    scores = hard_run(sampler, 30)
    last = sampler.propose(30).identities
    np.testing.assert_array_equal(last, space.identities(210, 7))
    sampler.feedback({"accuracies": np.ones(7)})
    scores |= {tuple(task): 1.0 for task in last.tolist()}
    proposal = sampler.propose(31)
    hardest = sorted(scores, key=scores.__getitem__)[:3]
    mined = [tuple(task) for task in proposal.identities[:3].tolist()]
    assert sorted(mined) == sorted(hardest)
    assert proposal.start == 217
    np.testing.assert_array_equal(proposal.identities[3:], space.identities(220, 4))


def test_ohtm_mines_in_random_order() -> None:
    sampler = HardTasks(Classes(), 6, 3)
    hard_run(sampler, 31)
    mined = [sampler.propose(batch).identities[:3].tolist() for batch in range(31, 60)]
    assert len({tuple(map(tuple, tasks)) for tasks in mined}) == 6
    assert len({tuple(sorted(map(tuple, tasks))) for tasks in mined}) == 1


def test_the_buffer_keeps_the_50_hardest_with_their_latest_scores() -> None:
    sampler = HardTasks(Classes(), 9, 3)
    scores = hard_run(sampler, 20)
    state = sampler.state()
    assert len(state["tasks"]) == len(state["hardness"]) == BUFFER
    kept = sorted(scores.items(), key=lambda item: item[1])[:BUFFER]
    assert [tuple(task) for task in state["tasks"].tolist()] == [task for task, _ in kept]
    assert state["hardness"].tolist() == [-accuracy for _, accuracy in kept]
    # A task that is mined and now goes well makes room.
    sampler.load(state)
    mined = sampler.propose(31).identities[:4].tolist()
    sampler.feedback({"accuracies": np.full(9, 2.0)})
    assert not {tuple(task) for task in mined} & {
        tuple(task) for task in sampler.state()["tasks"][:46].tolist()
    }
    assert sampler.state()["hardness"][-1] == -2


def test_losses_count_where_there_are_no_accuracies_and_must_be_numbers() -> None:
    sampler = HardTasks(Functions(), 4, 1)
    with pytest.raises(EpisodesError, match="ohtm got feedback before it had proposed tasks"):
        sampler.feedback({"losses": np.zeros(4)})
    sampler.propose(0)
    with pytest.raises(EpisodesError, match="'losses' is missing"):
        sampler.feedback({})
    sampler.feedback({"losses": np.array([1.0, np.nan, 3.0, np.inf])})
    state = sampler.state()
    assert state["tasks"].tolist() == [[3], [2], [0]]
    assert state["hardness"].tolist() == [np.inf, 3, 1]


def test_a_batch_of_more_than_the_buffer_mines_all_of_it() -> None:
    sampler = HardTasks(Functions(), 8, 1)
    sampler.load({"tasks": np.array([[500], [600]]), "hardness": np.array([2.0, 1.0])})
    tasks = sampler.propose(31).identities[:, 0].tolist()
    assert sorted(tasks[:2]) == [500, 600] and tasks[2:] == list(range(250, 256))


def test_owhtm_draws_by_the_softmax_of_hardness() -> None:
    sampler = WeightedHardTasks(Functions(), 2, 1, temperature=0.5)
    hardness = np.log([1.0, 2, 3, 4]) / 2
    order = np.argsort(-hardness)
    sampler.load({"tasks": order[:, np.newaxis], "hardness": hardness[order]})
    drawn = Counter(int(sampler.propose(batch).identities[0, 0]) for batch in range(100, 6100))
    counts = np.array([drawn[task] for task in range(4)])
    assert p_value(counts / [1, 2, 3, 4] * 2.5) > 1e-4
    assert len({*sampler.propose(31).identities[:, 0].tolist()} & set(range(4))) == 1


def test_owhtm_draws_each_task_once() -> None:
    sampler = WeightedHardTasks(Functions(), 8, 1)
    hard_run(sampler, 31)
    for batch in range(31, 60):
        assert len({*sampler.propose(batch).identities[:4, 0].tolist()}) == 4
