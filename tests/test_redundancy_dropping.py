"""Laws of what is dropped, and of what a text still says."""

import random
from itertools import pairwise

import numpy as np
import pytest

from lrkit.data.chains import verbose
from lrkit.data.problems import problems
from lrkit.study.redundancy.dropping import dropped, first, last, partners, shuffled
from lrkit.study.redundancy.ideal import copies, ideal_accuracy, survival
from lrkit.study.redundancy.mentions import mentions, states, without

ITEMS = list(range(400))


def source(seed=0):
    return random.Random(seed)


# --- dropping -------------------------------------------------------------------------
@pytest.mark.parametrize("p", (0.1, 0.5, 0.9))
def test_the_share_that_is_kept_is_one_minus_p_and_the_order_stays(p):
    kept = [dropped(ITEMS, p, source(seed)) for seed in range(100)]
    assert all(one == sorted(one) for one in kept)
    n = len(kept) * len(ITEMS)
    error = np.sqrt(p * (1 - p) / n)
    assert abs(sum(map(len, kept)) / n - (1 - p)) < 4 * error


def test_items_go_independently_of_one_another():
    kept = np.array([[i in set(dropped(range(6), 0.5, source(s))) for i in range(6)]
                     for s in range(4000)])  # fmt: skip
    off = np.corrcoef(kept.T) - np.eye(6)
    assert np.abs(off).max() < 4 / np.sqrt(len(kept))


def test_nothing_goes_at_none_and_all_goes_at_one():
    assert dropped(ITEMS, 0, source()) == ITEMS and dropped(ITEMS, 1, source()) == []
    assert dropped([], 0.5, source()) == []


def test_the_random_seed_decides_what_goes_and_more_p_takes_more():
    assert dropped(ITEMS, 0.5, source(1)) == dropped(ITEMS, 0.5, source(1))
    assert dropped(ITEMS, 0.5, source(1)) != dropped(ITEMS, 0.5, source(2))
    kept = [set(dropped(ITEMS, p, source(3))) for p in (0.0, 0.2, 0.5, 0.8, 1.0)]
    assert all(more < less for less, more in pairwise(kept))


def test_beginning_and_end_are_kept_by_their_share():
    assert first(ITEMS, 0.25) == ITEMS[:100] and last(ITEMS, 0.25) == ITEMS[300:]
    for keep in (first, last):
        assert keep(ITEMS, 1) == ITEMS and keep(ITEMS, 0) == [] == keep([], 0.5)


def test_shuffled_steps_are_the_same_in_another_order():
    for n in range(2, 8):
        for seed in range(50):
            found = shuffled(range(n), source(seed))
            assert sorted(found) == list(range(n)) != found
    assert shuffled([3, 3], source()) == [3, 3] and shuffled([], source()) == []


def test_everybody_gets_another_ones_chain_and_each_is_given_once():
    for seed in range(50):
        found = partners(7, source(seed))
        assert sorted(found) == list(range(7))
        assert all(i != j for i, j in enumerate(found))
    with pytest.raises(ValueError, match="ask two"):
        partners(1, source())


def test_shares_that_are_none_are_refused():
    for drop in (lambda p: dropped(ITEMS, p, source()), lambda p: first(ITEMS, p),
                 lambda p: last(ITEMS, p)):  # fmt: skip
        for p in (-0.1, 1.1):
            with pytest.raises(ValueError, match="must lie between 0 and 1"):
                drop(p)


# --- mentions -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "answer", "n"),
    [
        ("112 is 12, and 1.12 or 12.5", "12", 1),
        ("12. So 12.0 it is", "12", 2),
        ("1,000 and 1000 and 10,000", "1000", 2),
        ("7-5=2, -5 and (-5)", "5", 1),
        ("7-5=2, -5 and (-5)", "-5", 2),
        ("<<7+5=12>>12", "12", 2),
        ("A dolpus, no dolpuses, DOLPUS.", "dolpus", 2),
        ("the  red\nhouse", "red house", 1),
        ("nothing", "12", 0),
    ],
)
def test_an_answer_is_stated_by_whole_numbers_and_whole_words(text, answer, n):
    assert len(mentions(text, answer)) == n and states(text, answer) == (n > 0)


def test_no_mention_is_left_and_no_new_number_appears():
    rng = source()
    for _ in range(3000):
        text = "".join(rng.choices("12 .,-=(<>", k=rng.randrange(25)))
        for answer in ("1", "12", "-2", "2.1"):
            left = without(text, answer)
            assert not states(left, answer), (text, answer)
            if not states(text, answer):
                assert left == text
    assert without("1 12 2", "12") == "1  2"
    assert without("So <<7+5=12>>12.", "12") == "So <<7+5=>>."


def test_an_empty_answer_is_refused():
    with pytest.raises(ValueError, match="stated everywhere"):
        states("text", " ")


# --- the ideal reader -----------------------------------------------------------------
def test_copies_follow_from_how_a_chain_was_made():
    for problem in problems("clock", "test", 100):
        bare = copies(verbose(problem, 0), problem.steps)
        assert bare == [1] * problem.n_steps
        chain = verbose(problem, 0.8)
        found = copies(chain, problem.steps)
        for n in range(problem.n_steps):
            own = [s for s in chain if s.step == n]
            hedges = sum(s.kind == "hedges" for s in own)
            restated = sum(s.kind in ("step", "restates") for s in own)
            assert restated <= found[n] <= len(own) - hedges


def test_survival_is_what_dropping_sentences_leaves():
    """The chain is dropped by sentences and counted; the formula never sees one."""
    for k, problem in enumerate(problems("clock", "longer", 3)):
        chain = verbose(problem, 0.7)
        said = [states(s.text, problem.steps[s.step].partition("=")[2].strip(">"))
                for s in chain]  # fmt: skip
        for p in (0.2, 0.5, 0.8):
            whole, n = 0, 4000
            for seed in range(n):
                kept = dropped(range(len(chain)), p, source(f"{k} {seed}"))
                steps = {chain[i].step for i in kept if said[i]}
                whole += len(steps) == problem.n_steps
            expected = float(survival(copies(chain, problem.steps), p))
            error = np.sqrt(max(expected * (1 - expected), 1e-3) / n)
            assert abs(whole / n - expected) < 4 * error, (k, p)


def test_survival_at_its_limits():
    assert survival([1, 1, 1], 0.5) == 0.125 and survival([3], 0.5) == 0.875
    assert survival([2, 5], 0) == 1 and survival([2, 5], 1) == 0
    assert survival([], 0.5) == 1 and survival([0, 9], 0.3) == 0
    assert (np.diff(survival([[1, 2], [2, 2], [2, 3]], 0.5)) > 0).all()


def test_the_answer_alone_survives_more_often_than_all_steps():
    counts = [copies(verbose(p, 0.5), p.steps) for p in problems("clock", "test", 50)]
    every = ideal_accuracy(counts, (0, 0.3, 0.6, 1))
    answer = ideal_accuracy(counts, (0, 0.3, 0.6, 1), last=True)
    assert every[0] == answer[0] == 1 and every[-1] == answer[-1] == 0
    assert (answer[1:3] > every[1:3]).all()
    by_hand = np.mean([1 - 0.3 ** one[-1] for one in counts])
    assert answer[1] == pytest.approx(by_hand)
