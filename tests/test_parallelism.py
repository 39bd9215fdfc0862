"""Laws of N_eff and Top-2: known values, bounds, and what they cannot tell."""

import numpy as np
import pytest

from lrkit.study.parallelism import (
    FLOOR,
    closest_unused,
    effective_number,
    masses,
    parallelism,
    segments,
    shares,
)

VOCABULARY = 40


def thought(*of_latents):
    """Distributions of latents, each even on some tokens."""
    given = np.zeros((len(of_latents), VOCABULARY))
    for row, tokens in zip(given, of_latents, strict=True):
        row[list(tokens)] = 1 / len(tokens)
    return given


# --- pieces ---------------------------------------------------------------------------
def test_segments_are_a_chain_in_order_as_even_as_can_be():
    for length in range(1, 15):
        for n in range(1, length + 1):
            parts = segments(range(length), n)
            assert [x for part in parts for x in part] == list(range(length))
            assert len(parts) == n
            sizes = {len(part) for part in parts}
            assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1
    assert segments("abcdefg", 3) == [["a", "b"], ["c", "d"], ["e", "f", "g"]]
    for n in (0, 4):
        with pytest.raises(ValueError, match="a chain of 3 tokens cannot be cut"):
            segments([1, 2, 3], n)


def test_each_latent_takes_the_closest_segment_that_is_left():
    directions = np.eye(4)
    shuffled = [2, 0, 3, 1]
    assert closest_unused(directions, 5 * directions[shuffled]).tolist() == [1, 3, 0, 2]
    alike = np.ones((3, 4))
    assert closest_unused(alike, alike).tolist() == [0, 1, 2], "each once"
    # Both latents are closest to segment 0: the second one takes what is left.
    two = closest_unused([[1, 0], [1, 0.1]], [[1, 0], [0, 1]])
    assert two.tolist() == [0, 1]


def test_a_mass_counts_a_token_once_and_the_likeliest_tokens_alone():
    given = thought((1, 2, 3, 4))
    assert masses(given, [[1, 1, 1, 2]])[0, 0] == pytest.approx(0.5)
    assert masses(given, [[1, 2, 3, 4, 4]])[0, 0] == pytest.approx(1.0)
    given[0, 1] = 0.4
    given /= given.sum()
    assert masses(given, [[2, 3]], top=1)[0, 0] == 0
    assert masses(given, [[1, 2]], top=1)[0, 0] == given[0, 1]


def test_the_effective_number_goes_from_one_to_all():
    assert effective_number([1.0, 0, 0]) == pytest.approx(1)
    assert effective_number([0.25] * 4) == pytest.approx(4)
    assert effective_number([0.5, 0.5, 0, 0]) == pytest.approx(2)
    rng = np.random.default_rng(0)
    found = effective_number(rng.dirichlet(np.ones(5), 200))
    assert ((found >= 1) & (found <= 5)).all()
    sharper = [effective_number(shares([0.0, 1, 2], t)) for t in (5, 1, 0.1, 0.01)]
    assert sharper == sorted(sharper, reverse=True)
    assert sharper[-1] == pytest.approx(1)
    with pytest.raises(ValueError, match="tau must be above 0"):
        shares([1.0, 2.0], 0)


# --- the metric -----------------------------------------------------------------------
A, B, C = [1, 2, 3, 4], [11, 12, 13, 14], [21, 22, 23, 24]


def test_a_thought_on_one_chain_has_one_effective_chain():
    found = parallelism(thought((1, 2), (3, 4)), [A, B, C])
    assert found.n_eff == pytest.approx(1)
    assert found.scores[0] == pytest.approx(0, abs=1e-9)
    assert found.scores[1:] == pytest.approx(np.log(FLOOR))
    assert found.top2_ratio < 1e-9 and found.top2_mass == pytest.approx(1)


def test_a_thought_on_several_chains_has_as_many():
    two = parallelism(thought((1, 2, 11, 12), (3, 4, 13, 14)), [A, B, C])
    assert two.n_eff == pytest.approx(2)
    assert two.scores[:2] == pytest.approx(np.log(0.5))
    assert two.top2_ratio == pytest.approx(1) and two.top2_mass == pytest.approx(1)
    first = [x for path in (A, B, C) for x in path[:2]]
    last = [x for path in (A, B, C) for x in path[2:]]
    three = parallelism(thought(first, last), [A, B, C])
    assert three.n_eff == pytest.approx(3)
    assert three.top2_mass == pytest.approx(2 / 3)
    # Segments at random: a match is right in half of the trials, for all or for one.
    assert three.n_eff_random < 3
    assert three.ratio == pytest.approx(3 / three.n_eff_random)


def test_identical_chains_count_as_often_as_they_come():
    found = parallelism(thought((1, 2), (3, 4)), [A, A, A, A])
    assert found.n_eff == pytest.approx(4) and found.top2_ratio == pytest.approx(1)


def test_chains_that_fit_equally_badly_look_parallel_and_only_scores_tell():
    bad = parallelism(thought((30,), (31,)), [A, B, C])
    assert bad.n_eff == pytest.approx(3) and bad.top2_ratio == pytest.approx(1)
    assert bad.scores == pytest.approx(np.log(FLOOR))
    assert bad.ratio == pytest.approx(1), "at random it is no worse"
    good = parallelism(
        thought((1, 2, 11, 12, 21, 22), (3, 4, 13, 14, 23, 24)), [A, B, C]
    )
    assert good.n_eff == pytest.approx(bad.n_eff)
    assert (good.scores > bad.scores + 20).all()


def test_one_latent_has_nothing_to_match_at_random():
    found = parallelism(thought((1, 11, 12)), [A, B], trials=5)
    assert found.ratio == pytest.approx(1)
    assert found.random_scores == pytest.approx(found.scores)


def test_everything_stays_within_its_bounds():
    rng = np.random.default_rng(0)
    for seed in range(20):
        given = rng.dirichlet(np.ones(VOCABULARY) / 5, 4)
        paths = [rng.integers(0, VOCABULARY, 9).tolist() for _ in range(5)]
        found = parallelism(given, paths, seed=seed)
        assert 1 <= found.n_eff <= 5 and 1 <= found.n_eff_random <= 5
        assert 0 <= found.top2_ratio <= 1
        assert 2 / 5 <= found.top2_mass <= 1 + 1e-9
        assert (found.scores <= 0).all()


def test_the_order_of_the_chains_changes_nothing_but_their_order():
    rng = np.random.default_rng(2)
    given = rng.dirichlet(np.ones(VOCABULARY), 4)
    one = parallelism(given, [A, B, C])
    other = parallelism(given, [C, A, B])
    assert other.scores == pytest.approx(one.scores[[2, 0, 1]])
    assert other.n_eff == pytest.approx(one.n_eff)


def test_matching_finds_segments_that_stand_in_another_order():
    """Path B, told backwards, is followed just as well: only matching sees it."""
    backwards = [*B[2:], *B[:2]]
    given = thought((1, 2, 11, 12), (3, 4, 13, 14))
    rows = np.eye(VOCABULARY)
    vectors = given @ rows
    of_segments = [
        np.stack([rows[part].mean(0) for part in segments(path, 2)])
        for path in (A, backwards)
    ]
    matched = parallelism(given, [A, backwards], vectors, of_segments)
    by_place = parallelism(given, [A, backwards])
    assert matched.n_eff == pytest.approx(2)
    assert by_place.n_eff == pytest.approx(1)


def test_the_same_seed_draws_the_same_matchings():
    given = np.random.default_rng(3).dirichlet(np.ones(VOCABULARY) / 4, 4)
    values = [parallelism(given, [A, B], seed=s).n_eff_random for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_what_cannot_be_compared_is_refused():
    given = thought((1, 2), (3, 4))
    with pytest.raises(ValueError, match="two or more chains"):
        parallelism(given, [A])
    with pytest.raises(ValueError, match="a chain of 1 tokens cannot be cut into 2"):
        parallelism(given, [A, [5]])
    with pytest.raises(ValueError, match="of latents and of segments, or neither"):
        parallelism(given, [A, B], latents=given)
