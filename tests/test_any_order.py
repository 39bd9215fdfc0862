"""Laws of problems that several chains solve."""

import random
from collections import Counter
from itertools import islice, permutations

import pytest

from lrkit.data.any_order import any_order_stream, chains, commutes, in_some_order
from lrkit.data.chains import step_value
from lrkit.data.problems import STEP, problems


@pytest.fixture(scope="module")
def some():
    return list(islice(any_order_stream("train"), 60))


def test_every_chain_is_right_and_ends_at_the_answer(some):
    for p in some:
        hours = p.made_from["n_hours"]
        for chain in chains(p):
            now = p.made_from["start"]
            for step in chain:
                left, result = STEP.fullmatch(step).groups()
                op = "+" if "+" in left else "-"
                first, second = map(int, left.split(op))
                assert first == now
                now = (first + second if op == "+" else first - second) % hours
                assert int(result) == now
            assert step_value(chain[-1]) == p.answer


def test_there_are_all_chains_each_once_and_the_own_one_first(some):
    for p in some:
        found = chains(p)
        assert found[0] == p.steps and len(set(found)) == len(found) >= 2
        operations = [tuple(op) for op in p.made_from["operations"]]
        assert len(found) == len(set(permutations(operations)))
        for chain in found:
            taken = [
                (op, k)
                for step in chain
                for op in "+-"
                for _, sep, k in [STEP.fullmatch(step)[1].partition(op)]
                if sep
            ]
            assert Counter((op, int(k)) for op, k in taken) == Counter(operations)


def test_a_problem_of_operations_that_do_not_commute_is_refused():
    other = next(p for p in problems("clock", "train", 50) if not commutes(p))
    with pytest.raises(ValueError, match="have one order"):
        chains(other)


def test_only_problems_with_enough_chains_of_their_split_come():
    for least in (2, 6):
        for p in islice(any_order_stream("validation", 3, least), 10):
            assert len(chains(p)) >= least and p.split == "validation"
    again = [p.id for p in islice(any_order_stream("validation", 3, 6), 10)]
    assert again == [p.id for p in islice(any_order_stream("validation", 3, 6), 10)]
    with pytest.raises(ValueError, match="1 to 120 chains"):
        any_order_stream("train", least=121)


def test_an_order_is_drawn_with_even_chances_and_changes_nothing_else(some):
    p = next(p for p in some if len(chains(p)) == 6)
    rng = random.Random(0)
    drawn = [in_some_order(p, rng) for _ in range(1200)]
    counts = Counter(d.steps for d in drawn)
    assert set(counts) == set(chains(p))
    assert all(140 < n < 260 for n in counts.values())
    assert all((d.question, d.answer, d.id) == (p.question, p.answer, p.id)
               for d in drawn)  # fmt: skip
