"""Laws of clock arithmetic: true steps, sentences that say what is done, order."""

import re
from collections import Counter
from itertools import pairwise, product

import pytest

from lrkit.data import clock
from lrkit.data.problems import LENGTHS, problems

# What a reader goes by, and nothing of the generator: the word that gives it away.
CUES = {
    "+": r"forward|ahead|plus",
    "-": r"back|minus",
    "*": r"times|multiplied",
}


def drawn(n: int = 300, **options):
    """Problems of every split."""
    return [p for split in LENGTHS for p in problems("clock", split, n, **options)]


def read(question: str) -> tuple[int, int, list[tuple[str, int]]]:
    """Modulus, start and operations, read off the words."""
    sentences = question.split(", ")
    found = [
        (op, int(re.search(r"\d+", sentence)[0]))
        for sentence in sentences
        for op, cue in CUES.items()
        if re.search(cue, sentence)
    ]
    cues = "|".join(CUES.values())
    opening = " ".join(s for s in sentences if not re.search(cues, s))
    n_hours = int(re.search(r"(\d+) hours", opening)[1])
    start = int(re.search(r"\d+", opening.replace(f"{n_hours} hours", "", 1))[0])
    return n_hours, start, found


@pytest.mark.parametrize("n_hours", [5, 10, 12])
def test_the_words_alone_lead_to_the_answer(n_hours):
    for problem in drawn(120, n_hours=n_hours):
        n, amount, operations = read(problem.question)
        assert n == n_hours and len(operations) == problem.n_steps
        for op, k in operations:
            # Without any reduction in between: the last one must do.
            amount = eval(f"{amount}{op}{k}")
        assert problem.answer == str(amount % n)


def test_every_step_is_true_modulo_the_hours():
    for problem in drawn(n_hours=10):
        for step in problem.steps:
            left, right = step.strip("<>").split("=")
            assert int(right) in range(10) and (eval(left) - int(right)) % 10 == 0


def test_a_question_has_its_numbers_and_no_others():
    for problem in drawn():
        made = problem.made_from
        expected = [made["n_hours"], made["start"], *(k for _, k in made["operations"])]
        assert Counter(map(int, re.findall(r"\d+", problem.question))) == Counter(
            expected
        )
        assert not re.search(r"\b1 hours", problem.question)


@pytest.mark.parametrize("n_hours, larger", list(product(range(5, 25), (False, True))))
def test_no_operation_is_trivial(n_hours, larger):
    for op in clock.OPERATIONS:
        for k in clock.operands(op, n_hours, larger):
            after = [eval(f"{hour}{op}{k}") % n_hours for hour in range(n_hours)]
            assert after != list(range(n_hours)) and len(set(after)) > 1
            assert (k >= n_hours) == larger and k < 2 * n_hours


def test_larger_operands_are_those_of_train_and_as_many_hours_more():
    for op in clock.OPERATIONS:
        small, large = (clock.operands(op, 10, larger) for larger in (False, True))
        assert large == [k + 10 for k in small]


def test_the_order_of_two_operations_matters_often():
    differs = []
    for problem in problems("clock", "test", 1000):
        made = dict(problem.made_from)
        for i, (one, other) in enumerate(pairwise(made["operations"])):
            swapped = list(made["operations"])
            swapped[i : i + 2] = [other, one]
            changed = clock.steps(made | {"operations": swapped})
            if {one[0], other[0]} & {"*"} and one[0] != other[0]:
                differs.append(changed[-1][-3] != problem.steps[-1][-3])
    assert len(differs) > 500 and sum(differs) / len(differs) > 0.5


def test_the_hour_is_spread_over_the_clock():
    answers = Counter(p.answer for p in problems("clock", "test", 2000))
    assert set(answers) == set("0123456789") and max(answers.values()) < 400


def test_five_steps_take_fewer_than_75_words():
    def longest(bank, slots):
        return max(len(template.split()) for slot in slots for template in bank[slot])

    for bank in (clock.SENTENCES, clock.HELD_OUT):
        ends = longest(bank, ["start"]) + longest(bank, ["question"])
        assert ends + 5 * longest(bank, clock.OPERATIONS) < 75
