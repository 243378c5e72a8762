from itertools import combinations

import numpy as np
import pytest

from episodes.errors import EpisodesError, UsageError
from episodes.sampling.dpp import DynamicDPP, JoinedDPP, StaticDPP
from episodes.sampling.k_dpp import KDPP, k_dpp, log_elementary_polynomials, words_needed
from episodes.sampling.rng import episode_words
from tests.episodes.task_spaces import Classes, Functions
from tests.episodes.test_sampling_properties import p_value

PHI = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.5, 0.5]])
GOLDEN = {
    (0, 1): 0.004032,
    (0, 2): 0.403226,
    (0, 3): 0.100806,
    (1, 2): 0.326613,
    (1, 3): 0.064516,
    (2, 3): 0.100806,
}
DRAWS = 20_000


def likelihoods(features: np.ndarray, k: int) -> dict[tuple[int, ...], float]:
    """det(L_S) of every set of k rows."""
    kernel = features @ features.T
    subsets = combinations(range(len(features)), k)
    return {subset: np.linalg.det(kernel[np.ix_(subset, subset)]) for subset in subsets}


def chi_square_p(counts: np.ndarray, expected: np.ndarray) -> float:
    """Of counts against expected ones, by scaling their difference onto equal frequencies."""
    statistic = float(((counts - expected) ** 2 / expected).sum())
    spread = np.sqrt(statistic * 100 / len(counts)) * np.array([1.0, -1] * (len(counts) // 2))
    return p_value(100 + spread)


def test_probabilities_are_the_determinants_over_the_elementary_polynomial() -> None:
    values = np.linalg.eigvalsh(PHI @ PHI.T)[2:]
    polynomial = np.exp(log_elementary_polynomials(values, 2)[2, -1])
    assert polynomial == pytest.approx(2.48)
    for subset, likelihood in likelihoods(PHI, 2).items():
        assert likelihood / polynomial == pytest.approx(GOLDEN[subset], abs=1e-6)


def test_elementary_polynomials_are_sums_over_all_subsets() -> None:
    values = np.array([0.5, 2, 3, 1e-3, 7])
    table = np.exp(log_elementary_polynomials(values, 4))
    for count in range(6):
        for size in range(5):
            subsets = combinations(values[:count], size)
            assert table[size, count] == pytest.approx(sum(map(np.prod, subsets)))


def test_elementary_polynomials_stay_in_range() -> None:
    values = np.full(400, 1e-10)
    found = log_elementary_polynomials(values, 60)[60, -1]
    factors = [(400 - index) / (60 - index) for index in range(60)]
    assert found == pytest.approx(np.log(factors).sum() + 60 * np.log(1e-10))


@pytest.mark.parametrize("wide", [False, True])
def test_draws_follow_the_golden_table(wide: bool) -> None:
    # Columns of zeros make features wider than the classes are many, and change nothing else.
    features = np.hstack((PHI, np.zeros((4, 5)))) if wide else PHI
    kernel = KDPP(features, 2)
    words = episode_words(3, 0, DRAWS, kernel.words)
    drawn = np.array([kernel.draw(row) for row in words])
    sets = np.sort(drawn, axis=1)
    counts = np.array([(sets == subset).all(axis=1).sum() for subset in GOLDEN])
    assert counts.sum() == DRAWS
    expected = DRAWS * np.array([*likelihoods(PHI, 2).values()]) / 2.48
    assert chi_square_p(counts, expected) > 1e-4


def test_sets_of_three_follow_their_determinants() -> None:
    features = np.random.default_rng(2).normal(size=(6, 4))
    kernel = KDPP(features, 3)
    odds = likelihoods(features, 3)
    total = np.exp(log_elementary_polynomials(np.linalg.eigvalsh(features.T @ features), 3)[3, -1])
    assert sum(odds.values()) == pytest.approx(total)
    drawn = np.array([kernel.draw(row) for row in episode_words(5, 0, DRAWS, kernel.words)])
    sets = [tuple(row) for row in np.sort(drawn, axis=1).tolist()]
    counts = np.array([sets.count(subset) for subset in odds])
    assert chi_square_p(counts, DRAWS * np.array([*odds.values()]) / total) > 1e-4
    # Every order of a set is as likely, also of the likeliest by itself.
    likeliest = max(odds, key=odds.__getitem__)
    alone = np.array([classes == likeliest for classes in sets])
    for some in (drawn, drawn[alone]):
        orders = np.argsort(some, axis=1) @ [9, 3, 1]
        assert p_value(np.unique(orders, return_counts=True)[1]) > 1e-4


def test_a_class_is_never_drawn_twice_even_by_words_of_zeros() -> None:
    features = np.random.default_rng(2).normal(size=(9, 7))
    drawn = KDPP(features, 6).draw(np.zeros(15, np.uint64))
    assert len(set(drawn.tolist())) == 6


def test_k_dpp_is_one_draw_and_scale_changes_nothing() -> None:
    features = np.random.default_rng(4).normal(size=(30, 8))
    words = episode_words(1, 0, 1, words_needed(features.shape, 5))[0]
    drawn = k_dpp(features, 5, words)
    assert (drawn.dtype, len(set(drawn.tolist()))) == (np.int64, 5)
    for scale in (2.0**-600, 2.0**600):
        assert k_dpp(features * scale, 5, words).tolist() == drawn.tolist()


def test_of_full_rank_every_class_is_drawn() -> None:
    kernel = KDPP(np.diag([1e-3, 1, 1e3]), 3)
    assert sorted(kernel.draw(episode_words(1, 0, 1, kernel.words)[0])) == [0, 1, 2]


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        (PHI, 3, "rank 2; expected 1 to 2"),
        (np.zeros((4, 2)), 1, "rank 0"),
        (PHI, 0, "a set of 0 of 4"),
        (np.array([[np.nan, 1]]), 1, "expected finite numbers"),
        (np.ones(3), 1, "expected finite numbers"),
    ],
)
def test_senseless_draws_are_refused(features: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        KDPP(features, k)


def test_joined_sets_are_of_distinct_classes() -> None:
    features = np.random.default_rng(6).normal(size=(14, 6))
    joined = JoinedDPP(features, 10)
    drawn = [joined.draw(words) for words in episode_words(2, 0, 50, joined.words)]
    assert all(sorted(set(row)) == sorted(row) and len(row) == 10 for row in map(list, drawn))
    assert len({tuple(row) for row in drawn}) == 50


def test_static_draws_are_tasks_of_the_one_source() -> None:
    space, features = Classes(way=3), np.random.default_rng(1).normal(size=(12, 5))
    sampler = StaticDPP(space, 4, 9, features)
    proposals = [sampler.propose(batch) for batch in range(30)]
    tasks = np.concatenate([proposal.identities for proposal in proposals])
    assert (tasks.shape, tasks.dtype) == ((120, 4), np.int64)
    assert not tasks[:, 0].any()
    assert all(len(set(row[1:])) == 3 for row in tasks.tolist())
    assert [proposal.start for proposal in proposals] == list(range(0, 120, 4))
    assert len({tuple(row) for row in tasks.tolist()}) > 60
    # The random words have a seed of their own.
    other = StaticDPP(space, 4, 10, features)
    assert other.propose(3).identities.tolist() == proposals[3].identities.tolist()
    other = StaticDPP(space, 4, 9, features, generator_seed=2)
    assert other.propose(3).identities.tolist() != proposals[3].identities.tolist()


def test_static_features_come_by_feedback_and_are_kept_in_the_state() -> None:
    space, features = Classes(way=3), np.random.default_rng(1).normal(size=(12, 5))
    given, told = StaticDPP(space, 4, 9, features), StaticDPP(space, 4, 9)
    with pytest.raises(UsageError, match="s-dpp has no class_features at batch 0"):
        told.propose(0)
    assert told.wants_class_features(0) and not given.wants_class_features(0)
    told.feedback({"class_features": features})
    assert not told.wants_class_features(0)
    loaded = StaticDPP(space, 4, 9)
    loaded.load(told.state())
    for sampler in (told, loaded):
        assert sampler.propose(5).identities.tolist() == given.propose(5).identities.tolist()
    with pytest.raises(EpisodesError, match=r"'class_features' has shape \[11, 5\]; expected \[12"):
        loaded.load({"class_features": features[:11]})


def test_normalised_features_count_by_direction_only() -> None:
    space, features = Classes(way=3), np.random.default_rng(1).normal(size=(12, 5))
    scaled = features * 2.0 ** np.arange(-6, 6)[:, np.newaxis]
    for normalised in (True, False):
        pair = [StaticDPP(space, 8, 1, f, normalised=normalised) for f in (features, scaled)]
        tasks = [sampler.propose(0).identities.tolist() for sampler in pair]
        assert (tasks[0] == tasks[1]) == normalised


def test_dynamic_draws_are_uniform_before_batch_499() -> None:
    space = Classes(way=3)
    sampler = DynamicDPP(space, 4, 1)
    assert [n for n in range(1600) if sampler.wants_class_features(n)] == [499, 999, 1499]
    np.testing.assert_array_equal(sampler.propose(498).identities, space.identities(1992, 4))
    with pytest.raises(UsageError, match="d-dpp has no class_features at batch 499"):
        sampler.propose(499)
    features = np.random.default_rng(1).normal(size=(12, 5))
    sampler.feedback({"class_features": features})
    static = StaticDPP(space, 4, 1, features)
    drawn = sampler.propose(499).identities
    assert drawn.shape == static.propose(499).identities.shape
    assert drawn.tolist() != space.identities(1996, 4).tolist()
    resumed = DynamicDPP(space, 4, 1)
    resumed.load(sampler.state())
    assert resumed.propose(700).identities.tolist() == sampler.propose(700).identities.tolist()


def test_dynamic_draws_join_sets_of_five_where_the_rank_is_low() -> None:
    features = np.random.default_rng(1).normal(size=(20, 7))
    sampler = DynamicDPP(Classes(way=10, classes=20), 3, 1)
    sampler.feedback({"class_features": features})
    tasks = sampler.propose(600).identities
    assert all(len(set(row)) == 10 for row in tasks[:, 1:].tolist())
    with pytest.raises(UsageError, match="a set of 5 of 20 classes whose features have rank 4"):
        sampler.feedback({"class_features": features[:, :4]})
    for kind, way in ((DynamicDPP, 8), (StaticDPP, 10)):
        with pytest.raises(UsageError, match=f"a set of {way} of 20 classes .* rank 7"):
            kind(Classes(way=way, classes=20), 3, 1, features)


@pytest.mark.parametrize("space", [Functions(), Classes(sources=2)])
def test_only_classes_of_one_source_are_drawn(space: Functions | Classes) -> None:
    with pytest.raises(UsageError, match="draws classes of one source; found"):
        DynamicDPP(space, 4, 1)
