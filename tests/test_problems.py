"""Laws of the generated problems of every task, and of their splits."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError, replace
from itertools import islice, product

import pytest

from lrkit.data import clock, word_problems
from lrkit.data.problems import LENGTHS, TASKS, Problem, part_of, problems, stream
from lrkit.paths import data_dir, root

N = 1200
IN_DISTRIBUTION = ("train", "validation", "test")


@pytest.fixture(scope="module", params=TASKS)
def drawn(request):
    """Split -> problems of one task."""
    return {split: problems(request.param, split, N) for split in LENGTHS}


def done(problem: Problem) -> tuple:
    """What happens in a problem, whatever its wording."""
    made = problem.made_from
    return made["start"], *map(tuple, made["operations"])


def words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall("[a-z]+", text.lower()))


def sentences(found: list[Problem]) -> set[str]:
    """All sentences, but without numbers, names and things."""
    names = "|".join(word_problems.NAMES)
    things = "|".join((*word_problems.THINGS, *(t for _, t in word_problems.DEEDS)))
    places = "|".join(word_problems.PLACES)
    does = "|".join(d for d, _ in word_problems.DEEDS)
    masked = set()
    for problem in found:
        text = problem.question.replace("hours", "hour")
        for words in (r"\d+", names, things, f"(?:{places})s?", does):
            text = re.sub(rf"\b(?:{words})\b", "#", text)
        masked |= set(re.split(r"(?<=[.?,]) ", text))
    return masked


# --- the row --------------------------------------------------------------------------


def test_a_row_can_be_hashed_and_its_origin_written_as_json(drawn):
    for found in drawn.values():
        assert len(set(found)) == len({p.id for p in found}) == N
        for problem in found[:50]:
            made = dict(problem.made_from)
            assert json.loads(json.dumps(made)) == made
    with pytest.raises(FrozenInstanceError):
        found[0].answer = "0"


def test_a_row_that_cannot_be_is_refused():
    problem = problems("clock", "train", 1)[0]
    with pytest.raises(ValueError, match="has an empty question"):
        replace(problem, question=" ")
    with pytest.raises(ValueError, match="has an empty answer"):
        replace(problem, answer="")
    with pytest.raises(ValueError, match=r"step 2: '7\+5=2' is no equation"):
        replace(problem, steps=("<<7+5=2>>", "7+5=2"))


def test_the_answer_is_the_last_result_and_every_step_starts_from_the_one_before(drawn):
    for problem in (p for found in drawn.values() for p in found):
        amount = str(problem.made_from["start"])
        assert problem.n_steps == len(problem.made_from["operations"])
        for step, (op, k) in zip(
            problem.steps, problem.made_from["operations"], strict=True
        ):
            assert step.startswith(f"<<{amount}{op}{k}=")
            amount = step.removesuffix(">>").split("=")[1]
        assert problem.answer == amount


# --- the splits -----------------------------------------------------------------------


def test_lengths_are_those_of_the_split_and_all_alike(drawn):
    for split, some in drawn.items():
        # Enough of them that chance alone stays far within the bound.
        found = problems(some[0].task, split, 5000)
        lengths = Counter(p.n_steps for p in found)
        assert set(lengths) == set(LENGTHS[split])
        assert max(lengths.values()) < 1.3 * min(lengths.values())
    assert set(LENGTHS["train"]) == {1, 2, 3, 4, 5}
    assert set(LENGTHS["longer"]) == {6, 7, 8}


def test_no_operations_are_in_train_and_in_another_split(drawn):
    seen = {split: {done(p) for p in found} for split, found in drawn.items()}
    for one, other in product(seen, IN_DISTRIBUTION):
        if one != other and (one, other) != ("templates", "test"):
            assert not seen[one] & seen[other], (one, other)
    # The same operations in other sentences: what differs is the wording alone.
    assert seen["templates"] & seen["test"]


@pytest.mark.parametrize("n_hours", range(5, 25))
def test_every_problem_of_one_step_has_one_part_and_no_part_is_empty(n_hours):
    every = [
        {"start": start, "operations": [[op, k]]}
        for op in clock.OPERATIONS
        for start, k in product(range(n_hours), clock.operands(op, n_hours, False))
    ]
    parts = Counter(map(part_of, every))
    assert set(parts) == set(IN_DISTRIBUTION)
    if n_hours == 10:
        assert parts == {"train": 208, "validation": 24, "test": 28}


def test_the_parts_are_about_80_and_10_and_10_per_cent():
    every = product(range(30), "+-*/", range(2, 30), "+-", range(2, 6))
    parts = Counter(part_of({"start": a, "operations": [[o, b], [q, c]]})
                    for a, o, b, q, c in every)  # fmt: skip
    assert parts["train"] / parts.total() == pytest.approx(0.8, abs=0.01)
    assert parts["test"] / parts.total() == pytest.approx(0.1, abs=0.01)


def test_no_other_split_uses_a_sentence_of_templates(drawn):
    held_out = sentences(drawn["templates"])
    for split, found in drawn.items():
        if split != "templates":
            assert not held_out & sentences(found)
    # And the other way round: the others all use the same ones.
    assert sentences(drawn["longer"]) <= sentences(drawn["train"] + drawn["larger"])


def test_the_held_out_sentences_have_no_word_that_is_not_trained(drawn):
    words = {
        split: words_of(" ".join(p.question for p in found))
        for split, found in drawn.items()
    }
    for split in drawn:
        assert words[split] <= words["train"], split


def test_larger_numbers_are_larger_than_any_of_train(drawn):
    def numbers(found, ops):
        return [k for p in found for op, k in p.made_from["operations"] if op in ops]

    # Factors stay small where the amounts themselves are large.
    ops = "+-*" if drawn["train"][0].task == "clock" else "+-"
    assert min(numbers(drawn["larger"], ops)) > max(numbers(drawn["train"], ops))


# --- the draw -------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_task_split_and_seed_decide_everything(task):
    first = problems(task, "test", 40)
    assert first == problems(task, "test", 40)
    assert first[:7] == problems(task, "test", 7)
    assert first == list(islice(stream(task, "test"), 40))
    other = problems(task, "test", 40, seed=1)
    assert not {p.id for p in first} & {p.id for p in other}
    assert [p.question for p in first] != [p.question for p in other]


def test_another_process_draws_the_same():
    said = "from lrkit.data.problems import problems as p; "
    said += "print([q.question for t in ('clock', 'words') for q in p(t, 'test', 5)])"
    run = [sys.executable, "-c", said]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(root())}
    shown = subprocess.run(run, capture_output=True, text=True, env=environment)
    here = [q.question for t in ("clock", "words") for q in problems(t, "test", 5)]
    assert shown.stdout.strip() == str(here)


def test_what_is_unknown_is_refused_with_what_there_is():
    for refused, said in (
        (("sums", "train", 1), "no task 'sums': there are clock, words"),
        (("clock", "dev", 1), "no split 'dev': there are train, validation, test, lon"),
        (("clock", "train", 0), "n must be 1 or more, got 0"),
    ):
        with pytest.raises(ValueError, match=said):
            problems(*refused)
    with pytest.raises(ValueError, match="no option 'base': there are n_hours"):
        problems("clock", "train", 1, base=10)
    with pytest.raises(ValueError, match="n_hours must be from 5 to 24, got 3"):
        stream("clock", n_hours=3)  # at once, not at the first problem
    with pytest.raises(ValueError, match="share from 0 to 1, got 2"):
        stream("words", distractors=2)


def test_the_card_says_what_the_splits_are():
    card = (data_dir() / "README.md").read_text("utf-8")
    section = card.split("\n## Generated problems\n")[1].split("\n## ")[0]
    rows = re.findall(r"\| `(\w+)` \| (\d) to (\d) \|", section)
    said = {split: range(int(low), int(high) + 1) for split, low, high in rows}
    assert said == LENGTHS
    vocabulary = [
        {w for p in problems(task, "train", 3000) for w in words_of(p.question)}
        for task in ("clock", "words")
    ]
    n_clock, n_words = map(len, vocabulary)
    assert f"{n_clock} words tell all clocks and {n_words} all stories" in section
    answers = Counter(p.answer for p in problems("clock", "test", 5000))
    assert f"0 in {answers['0'] / 5000:.0%}".replace("%", " %") in section
