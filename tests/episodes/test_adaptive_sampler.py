from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.errors import EpisodesError
from episodes.sampling import measures
from episodes.sampling.adaptive import Adaptive
from episodes.sampling.random_choice import (
    gumbel_top,
    log_probability,
    log_probability_gradient,
    softmax,
    softmax_backward,
)
from episodes.sampling.rng import episode_words
from episodes.sampling.weighting import HIDDEN, Adam, WeightingNetwork
from tests.episodes.task_spaces import Classes, Functions
from tests.episodes.test_sampling_properties import p_value

SEEDS = st.integers(0, 2**32)


def differences(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """The gradient of a function, by central differences."""
    gradient = np.empty(at.shape)
    for place in np.ndindex(at.shape):
        step = np.zeros(at.shape)
        step[place] = 1e-6
        gradient[place] = (function(at + step) - function(at - step)) / 2e-6
    return gradient


def network(inputs: int, seed: int = 0) -> WeightingNetwork:
    words = episode_words(seed, 0, 1, WeightingNetwork.words_needed(inputs))[0]
    return WeightingNetwork(inputs, words)


def pool(tasks: int, seed: int = 0, samples: int = 6) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "features": generator.normal(size=(tasks, samples, 5)),
        "labels": np.tile(np.arange(samples) // 2, (tasks, 1)),
        "gradient_norms": generator.exponential(size=tasks),
        "gradient_cosines": generator.uniform(-1, 1, tasks),
    }


def trained(sampler: Adaptive, batches: int = 3) -> Adaptive:
    """The sampler after some feedback, whose scores are no longer equal."""
    for batch in range(batches):
        proposal = sampler.propose(batch)
        chosen = sampler.select(pool(len(proposal), batch)).chosen
        generator = np.random.default_rng(batch)
        sampler.feedback(
            {
                "weight_gradients": generator.normal(size=len(chosen)),
                "validation_loss": np.array(generator.exponential()),
            }
        )
    return sampler


def test_the_softmax_chain_has_its_golden_values() -> None:
    probabilities = softmax(np.array([0.2, -0.1, 0.4]))
    assert probabilities == pytest.approx([0.337585, 0.250089, 0.412327], abs=1e-6)
    # One step ahead: tasks (theta - a)^2 / 2, validation (theta - 2)^2 / 2, theta 0, rate .1.
    centres, rate = np.array([1.0, -1, 3]), 0.1
    ahead = rate * probabilities @ centres
    assert ahead == pytest.approx(0.132448, abs=1e-6)
    gradients = rate * (ahead - 2) * centres
    assert gradients == pytest.approx([-0.186755, 0.186755, -0.560266], abs=1e-6)
    d_scores = softmax_backward(probabilities, gradients)
    assert d_scores == pytest.approx([0.020457, 0.108566, -0.129022], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, tasks=st.integers(1, 6))
def test_gradients_of_softmax_and_of_draws_are_their_differences(seed: int, tasks: int) -> None:
    generator = np.random.default_rng(seed)
    scores, weights = generator.normal(size=tasks), generator.normal(size=tasks)
    found = softmax_backward(softmax(scores), weights)
    expected = differences(lambda at: float(weights @ softmax(at)), scores)
    np.testing.assert_allclose(found, expected, atol=1e-8)

    drawn = generator.permutation(tasks)[: generator.integers(0, tasks + 1)]
    found = log_probability_gradient(scores, drawn)
    expected = differences(lambda at: log_probability(at, drawn), scores)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_draws_without_replacement_follow_plackett_and_luce() -> None:
    scores = np.log([1.0, 2, 3])
    orders = list(permutations(range(3), 2))
    odds = {order: np.exp(log_probability(scores, np.array(order))) for order in orders}
    assert odds[2, 1] == pytest.approx(1 / 2 * 2 / 3)
    assert sum(odds.values()) == pytest.approx(1)
    words = episode_words(8, 0, 20_000, 3)
    drawn = [tuple(gumbel_top(scores, 2, row).tolist()) for row in words]
    statistic = sum(
        (drawn.count(order) - 20_000 * odds[order]) ** 2 / (20_000 * odds[order])
        for order in orders
    )
    assert statistic < 25.7  # chi-square with 5 degrees of freedom: one in ten thousand


def test_a_word_of_zeros_is_an_ordinary_draw() -> None:
    words = np.array([0, 2**64 - 1, 2**63], np.uint64)
    with np.errstate(all="raise"):
        assert gumbel_top(np.zeros(3), 3, words).tolist() == [1, 2, 0]


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, inputs=st.integers(1, 5))
def test_gradients_of_the_network_are_its_differences(seed: int, inputs: int) -> None:
    generator = np.random.default_rng(seed)
    own = network(inputs, seed)
    own.parameters = {
        name: value + generator.normal(size=value.shape) for name, value in own.parameters.items()
    }
    rows, weights = generator.normal(size=(4, inputs)), generator.normal(size=4)
    parameters = own.parameters

    def loss(name: str, value: np.ndarray) -> float:
        own.parameters = {**parameters, name: value}
        return float(weights @ own.forward(rows)[0])

    _, cache = own.forward(rows)
    found = own.backward(cache, weights)
    assert found.keys() == parameters.keys()
    for name, value in parameters.items():
        expected = differences(lambda at, name=name: loss(name, at), value)
        np.testing.assert_allclose(found[name], expected, atol=1e-7)


def test_a_new_network_scores_zero_and_is_uniform_in_its_first_layer() -> None:
    own = network(4)
    scores, _ = own.forward(np.random.default_rng(0).normal(size=(9, 4)))
    np.testing.assert_array_equal(scores, np.zeros(9))
    weights = own.parameters["first.weight"]
    assert weights.shape == (HIDDEN, 4)
    assert 0.45 < np.abs(weights).max() <= 0.5
    # Of uniform numbers within 1/2 of 0 the spread is 1 / sqrt(12).
    assert weights.std() == pytest.approx(12**-0.5, rel=0.15)
    assert not np.array_equal(weights, network(4, seed=1).parameters["first.weight"])


def test_adam_is_its_definition() -> None:
    gradients = [np.array([0.5, -2.0]), np.array([0.1, 3.0]), np.array([-4.0, 0.0])]
    adam, parameters = Adam({"w": np.zeros(2)}, 0.01), {"w": np.array([1.0, 2.0])}
    expected, first, second = [1.0, 2.0], [0.0, 0.0], [0.0, 0.0]
    for step, gradient in enumerate(gradients, 1):
        parameters = adam.stepped(parameters, {"w": gradient})
        for place, value in enumerate(gradient.tolist()):
            first[place] = 0.9 * first[place] + 0.1 * value
            second[place] = 0.999 * second[place] + 0.001 * value**2
            mean, square = first[place] / (1 - 0.9**step), second[place] / (1 - 0.999**step)
            expected[place] -= 0.01 * mean / (square**0.5 + 1e-8)
        np.testing.assert_allclose(parameters["w"], expected, rtol=1e-12)


@pytest.mark.parametrize("criteria", ["asr", "trl4"])
@pytest.mark.parametrize("tasks", [1, 3, 7, 49])
def test_all_tasks_weigh_exactly_1_at_first(tasks: int, criteria: str) -> None:
    sampler = Adaptive(Classes(), tasks, 1, criteria=criteria)
    sampler.propose(0)
    selection = sampler.select(pool(tasks))
    assert selection.weights.tolist() == [1.0] * tasks
    assert selection.chosen.tolist() == list(range(tasks))


def test_at_first_every_candidate_is_as_likely_to_be_drawn() -> None:
    sampler = Adaptive(Classes(), 2, 1, mode="sampling")
    counts = np.zeros(8)
    for batch in range(3000):
        proposal = sampler.propose(batch)
        assert (len(proposal), proposal.start) == (8, 8 * batch)
        selection = sampler.select(pool(8))
        assert selection.weights.tolist() == [1.0, 1.0]
        counts[selection.chosen[0]] += 1
    assert p_value(counts) > 1e-4


def test_criteria_are_the_measures_of_unit_norm_features() -> None:
    given_pool = pool(5)
    unit = measures.unit_norm(given_pool["features"])
    labels = given_pool["labels"]
    expected = {
        "asr": {
            "diversity": measures.diversity(unit),
            "entropy": measures.entropy(unit, labels),
            "difficulty": given_pool["gradient_norms"],
        },
        "trl4": {
            "compactness": measures.compactness(unit, labels),
            "separability": measures.separability(unit, labels),
            "enrichment": measures.enrichment(unit),
            "invariance": given_pool["gradient_cosines"],
        },
    }
    for criteria, raw in expected.items():
        sampler = Adaptive(Classes(), 5, 1, criteria=criteria)
        sampler.select({name: given_pool[name] for name in sampler.measures})
        assert sampler.last.keys() == {"weights", *raw}
        for name, values in raw.items():
            np.testing.assert_array_equal(sampler.last[name], values)


def test_the_network_is_given_standard_scores() -> None:
    given_pool = pool(5)
    sampler = Adaptive(Classes(), 5, 1)
    sampler.select(given_pool)
    raw = [sampler.last[name] for name in ("diversity", "entropy", "difficulty")]
    logs = np.log1p(np.stack(raw, axis=1))
    expected = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    np.testing.assert_allclose(_inputs(sampler), expected)
    with_context = Adaptive(Classes(), 5, 1, context=True)
    with_context.select(given_pool)
    means = np.broadcast_to(logs.mean(axis=0), (5, 3))
    np.testing.assert_allclose(_inputs(with_context), np.hstack((expected, means)))
    signs = Adaptive(Classes(), 5, 1, criteria="trl4")
    signs.select(given_pool)
    compactness = signs.last["compactness"]
    expected_first = -(compactness - compactness.mean()) / compactness.std()
    np.testing.assert_allclose(_inputs(signs)[:, 0], expected_first)


def _inputs(sampler: Adaptive) -> np.ndarray:
    """What the network was given in the last selection."""
    assert sampler._pending is not None
    return sampler._pending.cache[0]


def test_of_one_task_standard_scores_are_zero() -> None:
    sampler = Adaptive(Classes(), 1, 1)
    sampler.select(pool(1))
    np.testing.assert_array_equal(_inputs(sampler), np.zeros((1, 3)))


def test_equal_tasks_weigh_the_same_and_are_no_trouble() -> None:
    sampler = trained(Adaptive(Classes(), 4, 1))
    same = {name: np.repeat(values[:1], 4, axis=0) for name, values in pool(4).items()}
    assert sampler.select(same).weights == pytest.approx(np.ones(4), abs=1e-9)


@pytest.mark.parametrize(("criteria", "left"), [("asr", 2), ("trl4", 2)])
def test_without_labels_the_criteria_of_classes_are_left_out(criteria: str, left: int) -> None:
    sampler = Adaptive(Functions(), 4, 1, criteria=criteria)
    assert "labels" not in sampler.measures
    given_pool = pool(4)
    del given_pool["labels"]
    sampler.select(given_pool)
    assert _inputs(sampler).shape == (4, left)
    assert not {"entropy", "compactness", "separability"} & sampler.last.keys()


def test_what_helps_comes_to_weigh_more() -> None:
    # The gradient of the validation loss falls with difficulty: hard tasks help.
    sampler = Adaptive(Classes(), 6, 1, rate=0.01)
    for batch in range(300):
        sampler.propose(batch)
        given_pool = pool(6, batch)
        sampler.select(given_pool)
        sampler.feedback({"weight_gradients": -given_pool["gradient_norms"]})
    given_pool = pool(6, 1000)
    weights = sampler.select(given_pool).weights
    assert weights.mean() == pytest.approx(1)
    assert weights.argmax() == given_pool["gradient_norms"].argmax()
    assert weights.max() > 2 * weights.min()
    np.testing.assert_array_equal(sampler.last["weights"], weights)


def test_what_is_rewarded_comes_to_be_drawn() -> None:
    sampler = Adaptive(Classes(), 1, 1, mode="sampling", rate=0.01)
    for batch in range(400):
        sampler.propose(batch)
        given_pool = pool(4, batch)
        (chosen,) = sampler.select(given_pool).chosen
        sampler.feedback({"validation_loss": -given_pool["gradient_norms"][chosen]})
    given_pool = pool(4, 1000)
    sampler.select(given_pool)
    weights = sampler.last["weights"]
    assert weights.argmax() == given_pool["gradient_norms"].argmax()
    assert weights.max() > 2 * weights.min()


def test_the_baseline_is_the_first_reward_then_a_moving_average() -> None:
    sampler = Adaptive(Classes(), 2, 1, mode="sampling")
    assert sampler.state()["baseline"].shape == (0,)
    averages = []
    for batch, loss in enumerate((2.0, 1.0, 4.0)):
        sampler.propose(batch)
        sampler.select(pool(8))
        before = sampler.state()["network.last.weight"]
        sampler.feedback({"validation_loss": np.array(loss)})
        changed = not np.array_equal(before, sampler.state()["network.last.weight"])
        assert changed == (batch > 0)
        averages.append(float(sampler.state()["baseline"][0]))
    assert averages == pytest.approx([-2, -1.9, -2.11])


def test_the_step_is_down_the_gradient_of_the_validation_loss() -> None:
    sampler, gradients = Adaptive(Classes(), 5, 1, temperature=2.0), np.arange(5.0)
    sampler.propose(0)
    sampler.select(pool(5))
    inputs, hidden = sampler._pending.cache  # type: ignore[union-attr]

    def ahead(last: np.ndarray) -> float:
        return float(gradients @ softmax(hidden @ last / 2))

    expected = differences(ahead, np.zeros(HIDDEN))
    sampler.feedback({"weight_gradients": gradients})
    # Adam's first moments are a tenth of the first gradient.
    found = sampler.state()["adam.first.last.weight"] * 10
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert np.abs(expected).max() > 1e-3


def test_senseless_measures_and_feedback_are_refused() -> None:
    sampler = Adaptive(Classes(), 4, 1)
    with pytest.raises(EpisodesError, match="got feedback before it had selected tasks"):
        sampler.feedback({"weight_gradients": np.zeros(4)})
    with pytest.raises(EpisodesError, match="'features' is missing"):
        sampler.select({})
    with pytest.raises(EpisodesError, match=r"'gradient_norms' has shape \[5\]; expected \[4\]"):
        sampler.select(pool(4) | {"gradient_norms": np.ones(5)})
    with pytest.raises(EpisodesError, match="the difficulty of a proposed task is not a finite"):
        sampler.select(pool(4) | {"gradient_norms": np.array([1, np.nan, 1, 1])})
    sampler.select(pool(4))
    with pytest.raises(EpisodesError, match="'weight_gradients' is missing"):
        sampler.feedback({"validation_loss": np.zeros(())})
    for mode, name, value in (
        ("weighting", "weight_gradients", np.array([0, np.inf, 0, 0])),
        ("sampling", "validation_loss", np.array(np.nan)),
    ):
        sampler = Adaptive(Classes(), 4, 1, mode=mode)
        sampler.select(pool(sampler.pool))
        with (
            np.errstate(invalid="ignore"),
            pytest.raises(EpisodesError, match="feedback has numbers that are not finite"),
        ):
            sampler.feedback({name: value})
        assert not sampler.state()["baseline"].size
