"""The guaranteed threshold: its promise is kept, by exact tests one after another."""

import numpy as np
import pytest
from routing_rows import simulated
from scipy import stats

from lrkit.answer.routing import fewest_rows, guaranteed_threshold, risk_coverage


def true_risk(threshold, digits, slope=0.3):
    """Risk of what `simulated` draws at or above a threshold, exactly."""
    if digits > 6:
        return slope * (1 - threshold) / 2
    grid = np.linspace(0, 1, 10**digits + 1)
    mass = np.ones(grid.size)
    mass[[0, -1]] = 0.5  # half as much is rounded to either end
    accepted = grid >= threshold - 1e-9
    return np.average(slope * (1 - grid[accepted]), weights=mass[accepted])


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_the_promise_is_broken_no_more_often_than_agreed(digits, delta):
    draws, max_risk = 400, 0.1
    found = [
        guaranteed_threshold(*simulated(500, seed, digits), max_risk, delta)
        for seed in range(draws)
    ]
    given = [f for f in found if f.n_accepted]
    broken = sum(true_risk(f.threshold, digits) > max_risk for f in given)
    assert broken <= stats.binom.ppf(0.999, draws, delta)
    # Not vacuous: two thirds of all rows could be accepted at this risk.
    assert len(given) > 0.8 * draws
    assert np.mean([f.coverage for f in found]) > 0.3


@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_a_risk_just_above_the_limit_is_promised_as_often_as_agreed(delta):
    """The worst case: confidence says nothing, all thresholds are a bit too risky."""
    rng = np.random.default_rng(0)
    draws, max_risk = 400, 0.1
    found = [
        guaranteed_threshold(rng.random(300), rng.random(300) > 0.1001, max_risk, delta)
        for _ in range(draws)
    ]
    broken = sum(f.n_accepted > 0 for f in found)
    assert broken <= stats.binom.ppf(0.999, draws, delta)
    assert broken >= stats.binom.ppf(0.001, draws, delta / 3), "and it is not timid"


def lowest_that_passes(confidence, correct, max_risk, delta):
    """The tempting way: test every threshold, keep the lowest that passes."""
    curve = risk_coverage(confidence, correct)
    wrong = (curve["risk"] * curve["n"]).round()
    passed = curve[stats.binom.cdf(wrong, curve["n"], max_risk) <= delta]
    return passed["n"].max() if len(passed) else 0


def test_the_tempting_way_breaks_the_same_promise():
    """So that the simulation above is known to notice."""
    rng = np.random.default_rng(0)
    broken = sum(
        lowest_that_passes(rng.random(300), rng.random(300) > 0.1001, 0.1, 0.05) > 0
        for _ in range(200)
    )
    assert broken > stats.binom.ppf(0.999, 200, 0.05)


def by_hand(confidence, correct, max_risk, delta, start):
    """The sequence of tests, one scipy test at a time."""
    best = (np.inf, 0)
    for threshold in sorted(set(confidence), reverse=True):
        accepted = confidence >= threshold
        n, wrong = int(accepted.sum()), int((~correct[accepted]).sum())
        if n < start:
            continue
        test = stats.binomtest(wrong, n, max_risk, alternative="less")
        if test.proportion_ci(1 - delta, "exact").high > max_risk:
            break
        assert test.pvalue <= delta + 1e-9, "the bound and the test are one"
        best = (threshold, n)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_search_is_the_sequence_of_exact_tests(seed):
    confidence, correct = simulated(300, seed)
    for max_risk, start in [(0.1, 40), (0.15, 1), (0.2, 60), (0.05, 100)]:
        found = guaranteed_threshold(confidence, correct, max_risk, 0.1, start)
        expected = by_hand(confidence, correct, max_risk, 0.1, start)
        assert (found.threshold, found.n_accepted) == expected
        if found.n_accepted:
            accepted = confidence >= found.threshold
            assert found.coverage == accepted.mean()
            assert found.risk == pytest.approx(1 - correct[accepted].mean())
            assert found.risk < found.bound <= max_risk


def test_rows_that_tie_are_accepted_together_or_not_at_all():
    confidence = np.array([0.9] * 100 + [0.8] * 100)
    correct = np.array([True] * 180 + [False] * 20)
    found = guaranteed_threshold(confidence, correct, 0.05, min_accepted=60)
    assert (found.threshold, found.n_accepted, found.risk) == (0.9, 100, 0)
    order = np.random.default_rng(0).permutation(200)
    args = confidence[order], correct[order], 0.05
    assert guaranteed_threshold(*args, min_accepted=60) == found
    # A start in the middle of a tie is a start behind it, where the risk is too high.
    assert guaranteed_threshold(*args, min_accepted=101).n_accepted == 0


def test_nothing_behind_the_first_failure_is_looked_at():
    """Ten wrong rows after sixty right ones: later rows are never asked."""
    correct = np.array([True] * 60 + [False] * 10 + [True] * 900)
    confidence = np.linspace(1, 0, correct.size)
    found = guaranteed_threshold(confidence, correct, 0.1, min_accepted=50)
    assert 60 <= found.n_accepted < 70
    assert "most confident rows" in found.note
    assert lowest_that_passes(confidence, correct, 0.1, 0.05) == correct.size


def test_the_whole_split_is_accepted_where_nothing_is_wrong():
    found = guaranteed_threshold(np.linspace(0.2, 0.9, 200), np.ones(200), 0.05)
    assert found.coverage == 1 and found.threshold == pytest.approx(0.2)
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 200))
    assert found.note == "every row can be accepted."


@pytest.mark.parametrize(
    "n, right, said",
    [
        (50, True, "50 rows are too few: the first test takes 124"),
        (500, False, "of the 124 most confident rows 124 are wrong"),
    ],
)
def test_where_nothing_can_be_promised_a_sentence_says_so(n, right, said):
    found = guaranteed_threshold(np.linspace(1, 0, n), np.full(n, right), 0.05)
    assert found.threshold == np.inf and found.coverage == found.n_accepted == 0
    assert np.isnan(found.risk) and np.isnan(found.bound)
    assert said in found.note


def test_more_rows_more_risk_and_more_doubt_accept_more():
    confidence, correct = simulated(2000, 3)
    base = guaranteed_threshold(confidence, correct, 0.1, min_accepted=80)
    for args in ({"max_risk": 0.12}, {"max_risk": 0.1, "delta": 0.2}):
        more = guaranteed_threshold(confidence, correct, min_accepted=80, **args)
        assert more.coverage > base.coverage
    coverages = [
        np.mean(
            [guaranteed_threshold(*simulated(n, s), 0.1).coverage for s in range(20)]
        )
        for n in (200, 800, 3200)
    ]
    assert coverages == sorted(coverages) and coverages[2] < 2 / 3 + 0.02


@pytest.mark.parametrize("max_risk", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("wrong", [0, 2])
def test_the_fewest_rows_are_the_fewest_that_pass(max_risk, wrong):
    n = fewest_rows(max_risk, 0.05, wrong)
    highs = [
        stats.binomtest(wrong, m, alternative="less").proportion_ci(0.95, "exact").high
        for m in (n - 1, n)
    ]
    assert highs[1] <= max_risk < highs[0]
    if wrong == 0:
        assert n == np.ceil(np.log(0.05) / np.log(1 - max_risk))


@pytest.mark.parametrize(
    "args, sentence",
    [
        ({"max_risk": 0.0}, "max_risk must lie between 0 and 1, got 0.0"),
        ({"max_risk": 5}, "max_risk must lie"),
        ({"max_risk": 0.1, "delta": 1.0}, "delta must lie"),
        ({"max_risk": 0.1, "delta": float("nan")}, "delta must lie"),
        ({"max_risk": 0.1, "min_accepted": 0}, "min_accepted must be 1 or more"),
    ],
)
def test_promises_that_are_none_are_refused(args, sentence):
    with pytest.raises(ValueError, match=sentence):
        guaranteed_threshold([0.5, 0.6], [True, False], **args)
