"""Laws of the word problems: exact arithmetic, and sentences that say what is done."""

import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest

from lrkit.data import word_problems
from lrkit.data.problems import LENGTHS, problems

A, B = "(?P<a>[A-Z][a-z]+)", "(?P<b>[A-Z][a-z]+)"
K, THINGS = r"(?P<k>\d+)", r"[a-z]+"
# What a sentence about two people claims of their numbers a and b; written apart from
# the generator, which must not put such a sentence to another operation.
CLAIMS = {
    f"{A} (has|owns) {K} more {THINGS} than {B}": lambda a, b, k: a == b + k,
    f"{A} (has|owns) {K} fewer {THINGS} than {B}": lambda a, b, k: a == b - k,
    f"{A} owns {K} {THINGS} more than {B}": lambda a, b, k: a == b + k,
    f"{A} owns {K} {THINGS} fewer than {B}": lambda a, b, k: a == b - k,
    f"{A} owns as many( {THINGS})? as {B} and {K} more": lambda a, b, k: a == b + k,
    f"{A} owns as many( {THINGS})? as {B} but {K} fewer": lambda a, b, k: a == b - k,
    f"With {K} more, {A} would have as many {THINGS} as {B}": (
        lambda a, b, k: a + k == b
    ),
    f"{A} has {K} times as many {THINGS} as {B}": lambda a, b, k: a == k * b,
    f"For each of the {THINGS} of {A}, {B} has {K}": lambda a, b, k: k * a == b,
    f"{A} owns {K} {THINGS} for each that {B} owns": lambda a, b, k: a == k * b,
    f"It takes {K} people like {A} to have as many {THINGS} as {B}": (
        lambda a, b, k: k * a == b
    ),
    f"What {A} has, multiplied by {K}, is what {B} has": lambda a, b, k: a * k == b,
    f"What {A} has, divided by {K}, is what {B} has": lambda a, b, k: a == b * k,
}  # fmt: skip
# In stories of one amount, the words that give an operation away.
CUES = {
    "+": r"more|buys|finds|gives \d+ \w+ to|add|grows by|puts in \d",
    "-": r"fewer|gives \d+ of|loses|sells \d+ of|take|removes|gets \d+ of",
    "*": "each of|times|multiplied",
    "/": r"equal parts|every \d|shares|divided|split by",
}


def drawn(n: int = 300, **options):
    """Problems of every split."""
    return [p for split in LENGTHS for p in problems("words", split, n, **options)]


def sentences(problem) -> list[str]:
    return re.split(r"(?<=[.?]) ", problem.question)


def amounts(problem) -> list[int]:
    """The start, and the result of every step."""
    results = [int(step.strip("<>").split("=")[1]) for step in problem.steps]
    return [problem.made_from["start"], *results]


def test_the_numbers_alone_lead_to_the_answer():
    for problem in drawn():
        said = f"Fraction({problem.made_from['start']})"
        for op, k in problem.made_from["operations"]:
            said = f"({said}{op}{k})"
        assert Fraction(problem.answer) == eval(said)


def test_every_step_is_true_and_no_division_has_a_rest():
    for problem in drawn():
        for step in problem.steps:
            a, op, k, result = re.fullmatch(
                r"<<(\d+)([-+*/])(\d+)=(\d+)>>", step
            ).groups()
            assert eval(f"Fraction({a}) {op} {k}") == int(result)
            assert int(k) >= 2


@pytest.mark.parametrize("split", LENGTHS)
def test_amounts_stay_in_the_range_of_their_split(split):
    low, high = (100, 999) if split == "larger" else (0, 99)
    for problem in problems("words", split, 500):
        added = [k for op, k in problem.made_from["operations"] if op in "+-"]
        factors = [k for op, k in problem.made_from["operations"] if op in "*/"]
        assert all(low <= k <= high for k in amounts(problem) + added)
        assert all(2 <= k <= 9 for k in factors)


@pytest.mark.parametrize("larger", [False, True])
def test_from_every_amount_something_can_be_done_and_all_of_it_stays_in_range(larger):
    low, high = (100, 999) if larger else (0, 99)
    for amount in range(low, high + 1):
        possible = word_problems.operands(amount, larger)
        assert any(possible.values())
        for op, numbers in possible.items():
            compute = eval(f"lambda k: {amount} {op.replace('/', '//')} k")
            for k in numbers:
                after = compute(k)
                assert low <= after <= high and after != amount
                assert (op != "/" or after * k == amount) and (amount or op == "+")


def test_a_question_has_its_numbers_and_no_others():
    for problem in drawn():
        made = problem.made_from
        expected = [made["start"], *(k for _, k in made["operations"])]
        expected += [made["distractor"]] if made["distractor"] is not None else []
        found = Counter(map(int, re.findall(r"\d+", problem.question)))
        assert found == Counter(expected)


def test_no_slot_is_left_unfilled_and_every_sentence_ends():
    for problem in drawn():
        assert not re.search(r"[{}]|  ", problem.question)
        assert all(s[0].isupper() or s[0].isdigit() for s in sentences(problem))
        assert problem.question.endswith("?") and problem.question.count("?") == 1


def test_what_is_said_of_two_people_is_true_of_their_numbers():
    used = Counter()
    for problem in drawn(400, distractors=0):
        if problem.made_from["kind"] != "people":
            continue
        names, values = problem.made_from["names"], amounts(problem)
        owns = dict(zip(names, values, strict=False))
        _, *claims, asked = sentences(problem)
        assert names[problem.n_steps] in asked
        for sentence in claims:
            for claim, holds in CLAIMS.items():
                if found := re.fullmatch(rf"{claim}\.", sentence):
                    a, b = owns[found["a"]], owns[found["b"]]
                    assert holds(a, b, int(found["k"])), problem
                    used[claim] += 1
                    break
            else:
                pytest.fail(f"nobody reads {sentence!r}")
    assert set(used) == set(CLAIMS)


def test_the_words_of_the_other_stories_give_away_every_operation():
    told = set()
    for problem in drawn(500, distractors=0):
        told |= set(problem.made_from["templates"])
        if problem.made_from["kind"] == "people":
            continue
        first, *rest, asked = sentences(problem)
        assert problem.made_from["things"] in asked
        assert int(re.search(r"\d+", first)[0]) == problem.made_from["start"]
        found = [
            [op, int(re.search(r"\d+", sentence)[0])]
            for sentence in rest
            for op, cue in CUES.items()
            if re.search(cue, sentence)
        ]
        assert found == problem.made_from["operations"], problem.question
    banks = (word_problems.SENTENCES, word_problems.HELD_OUT)
    assert told == {
        template
        for bank in banks
        for slots in bank.values()
        for templates in slots.values()
        for template in templates
    }


def test_a_sentence_belongs_to_one_operation_only():
    for bank in (word_problems.SENTENCES, word_problems.HELD_OUT):
        for slots in bank.values():
            every = [template for templates in slots.values() for template in templates]
            assert len(set(every)) == len(every)


def test_unneeded_numbers_are_as_rare_as_asked_and_change_nothing():
    for share in (0.0, 0.3, 1.0):
        found = problems("words", "test", 1000, distractors=share)
        having = [p for p in found if p.made_from["distractor"] is not None]
        assert len(having) / 1000 == pytest.approx(share, abs=0.05)
    for problem in having:
        assert len(sentences(problem)) == problem.n_steps + 3
    few = sum(p.made_from["distractor"] is not None for p in drawn())
    assert 0.02 < few / (300 * len(LENGTHS)) < 0.08


def test_the_order_of_two_operations_matters_often():
    differs = []
    for problem in problems("words", "test", 1000):
        operations = problem.made_from["operations"]
        for (op, k), (op2, k2) in pairwise(operations):
            there = eval(f"(Fraction(7) {op} {k}) {op2} {k2}")
            differs.append(there != eval(f"(Fraction(7) {op2} {k2}) {op} {k}"))
    assert sum(differs) / len(differs) > 0.4


def test_every_kind_and_every_operation_is_common():
    found = problems("words", "train", 2000)
    kinds = Counter(p.made_from["kind"] for p in found)
    ops = Counter(op for p in found for op, _ in p.made_from["operations"])
    assert set(kinds) == set(word_problems.SENTENCES) and min(kinds.values()) > 400
    assert set(ops) == set("+-*/") and min(ops.values()) / ops.total() > 0.1
