"""Problems with a chain of steps: the one row type, and the splits of generated ones.

`lrkit.data.clock` and `lrkit.data.word_problems` know how one problem is made and told,
`lrkit.data.chains` writes its chain as text, `lrkit.data.gsm` reads public sets into
rows of this type. Here is what a row is, and which problem may be in which split.

A task is a module with four names: `Options`, a frozen dataclass; `operations(rng,
n_steps, larger, options)`, the start and what is done to it, as plain data;
`steps(made)`, the equations; `question(rng, made, held_out, options)`, the text and
what it was worded with.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from lrkit.data import clock, word_problems

# One equation as GSM8K writes it, such as <<7+5=2>>: what is computed, and its result.
STEP = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
TASKS = {"clock": clock, "words": word_problems}
SHORT, LONG = range(1, 6), range(6, 9)
LENGTHS = {
    "train": SHORT,
    "validation": SHORT,
    "test": SHORT,
    "longer": LONG,
    "templates": SHORT,
    "larger": SHORT,
}
# Whose operations a split may use; the others have none in common with train anyway:
# longer ones are longer, larger ones hold a number that train never does.
PART = {s: s for s in ("train", "validation", "test")} | {"templates": "test"}
# Chosen so that the 260 clock problems of one step fall 208 : 24 : 28, every operation
# among them; without it 15 of them would be test's.
SALT = "steps"


@dataclass(frozen=True)
class Question:
    """What every task's rows have: a question, the steps to its answer, its origin.

    Attributes:
        id: unlike that of any other problem of the same source.
        question: the text that is asked.
        steps: in the order of the solution; () where a public set has none.
        answer: the final result, as text.
        task: the name of the task, or of a public set.
        split: where it belongs.
        made_from: how it came about, in data that JSON can hold.

    Raises:
        ValueError: for an empty question or answer.
    """

    id: str
    question: str
    steps: tuple[str, ...]
    answer: str
    task: str
    split: str
    made_from: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        for name in ("question", "answer"):
            if not getattr(self, name).strip():
                raise ValueError(f"problem {self.id!r} has an empty {name}.")

    @property
    def n_steps(self) -> int:
        """How many steps lead to the answer."""
        return len(self.steps)


@dataclass(frozen=True)
class Problem(Question):
    """A question whose steps are equations in the manner of GSM8K-Aug: "<<7+5=2>>".

    `task` is "clock", "words", or the name of a public set. Generated problems have
    "start" and "operations", a list of [operation, number], in `made_from`.

    Raises:
        ValueError: for an empty question or answer, or a step that is no equation.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for n, step in enumerate(self.steps, 1):
            if not STEP.fullmatch(step):
                raise ValueError(
                    f"problem {self.id!r}, step {n}: {step!r} is no equation; one like "
                    "'<<12+5=17>>' was expected."
                )


def part_of(made: Mapping[str, Any]) -> str:
    """The part that owns a start and its operations: 80 % train, 10 % of each other.

    It depends on these numbers alone, neither on the wording nor on anything that
    differs between two runs or machines (as Python's own `hash` does).
    """
    done = [f"{op}{k}" for op, k in made["operations"]]
    said = " ".join([SALT, str(made["start"]), *done])
    digest = hashlib.sha256(said.encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


def _draw(task: str, split: str, seed: int, options: Any) -> Iterator[Problem]:
    """Problems without end; the arguments are known to be good."""
    kind, part = TASKS[task], PART.get(split)
    rng = random.Random(f"{task}/{split}/{seed}")
    for number in count(1):
        # The length is drawn before the part is asked for, so that it stays uniform.
        n_steps = rng.choice(LENGTHS[split])
        while True:  # ends: whatever the options, every part has problems of one step
            made = kind.operations(rng, n_steps, split == "larger", options)
            if part in (None, part_of(made)):
                break
        question, wording = kind.question(rng, made, split == "templates", options)
        steps = kind.steps(made)
        yield Problem(
            id=f"{task}-{split}-{seed}-{number:05d}",
            question=question,
            steps=steps,
            answer=STEP.fullmatch(steps[-1])[2],
            task=task,
            split=split,
            made_from={**made, **wording},
        )


def stream(
    task: str, split: str = "train", seed: int = 0, **options: Any
) -> Iterator[Problem]:
    """Problems without end, for training; `problems` gives the first of them.

    Args:
        task, split, seed, options: as in `problems`.

    Raises:
        ValueError: at once, for what is unknown or out of range.
    """
    for what, value, known in (("task", task, TASKS), ("split", split, LENGTHS)):
        if value not in known:
            raise ValueError(f"no {what} {value!r}: there are {', '.join(known)}.")
    known = TASKS[task].Options
    if unknown := set(options) - set(known.__dataclass_fields__):
        raise ValueError(
            f"{task} problems have no option {', '.join(map(repr, sorted(unknown)))}: "
            f"there are {', '.join(known.__dataclass_fields__)}."
        )
    return _draw(task, split, seed, known(**options))


def problems(
    task: str, split: str, n: int, seed: int = 0, **options: Any
) -> list[Problem]:
    """The first `n` generated problems of a split.

    Args:
        task: "clock" (`lrkit.data.clock`) or "words" (`lrkit.data.word_problems`).
        split: "train", "validation" or "test", each of 1 to 5 steps, as many of one
            length as of another, no operations in two of them. Away from train:
            "longer" (6 to 8 steps), "templates" (test's operations in sentences that no
            other split uses), "larger" (numbers larger than train's, its sentences).
        n: how many; more of them begin with the same.
        seed: another seed, other problems. The operations of a split stay its own.
        **options: fields of the task's `Options`.

    Returns:
        Problems; a short question can be among them twice, there are only so many.

    Raises:
        ValueError: for what is unknown or out of range.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n}.")
    return list(islice(stream(task, split, seed, **options), n))
