"""Clock arithmetic: a digit, then plus, minus or times a digit, modulo n, in words.

"A clock of 10 hours shows 7, forward 5, times 3, which hour is it?" has the steps
<<7+5=2>> <<2*3=6>>. Hours count from 0. As plus and times do not commute, the
order of the sentences matters. The numbers are small, so that a small model can learn
each step by heart, and what is left to learn is to take them one after another. The
sentences are short, so that the time of a training goes into that.

Here is how one problem is made and told; `lrkit.data.problems` deals them to splits.
All numbers are digits, never words. Every word of the held-out sentences occurs in the
others, so that what they test is the wording and not words that were never trained.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OPERATIONS = ("+", "-", "*")
SENTENCES: dict[str, tuple[str, ...]] = {
    "start": (
        "A clock of {n} hours shows {k},",
        "A clock of {n} hours says {k},",
    ),
    "+": ("forward {k},", "ahead {k},", "plus {k},"),
    "-": ("back {k},", "backward {k},", "minus {k},"),
    "*": ("times {k},", "multiplied {k},"),
    "question": (
        "which hour is it?",
        "what hour is it?",
    ),
}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "start": ("A clock says {k} of {n} hours,",),
    "+": ("it is ahead {k},", "is plus {k},"),
    "-": ("it is backward {k},", "is minus {k},"),
    "*": ("it is multiplied {k},", "is times {k},"),
    "question": ("is it which hour?",),
}


@dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
        n_hours: the modulus n, from 5 (with fewer, some split would have no problem of
            one step) to 24.

    Raises:
        ValueError: for another number of hours.
    """

    n_hours: int = 10

    def __post_init__(self) -> None:
        if self.n_hours not in range(5, 25):
            raise ValueError(f"n_hours must be from 5 to 24, got {self.n_hours}.")


def operands(op: str, n_hours: int, larger: bool) -> list[int]:
    """The numbers that an operation may have: 1 to n - 1, larger ones n to 2n - 1.

    Those that leave every hour as it is or make every hour the same are left out: +0,
    -0, *1, *0, and what equals them modulo n.
    """
    numbers = range(n_hours, 2 * n_hours) if larger else range(1, n_hours)
    trivial = (0, 1) if op == "*" else (0,)
    return [k for k in numbers if k % n_hours not in trivial]


def operations(
    rng: random.Random, n_steps: int, larger: bool, options: Options
) -> dict[str, Any]:
    """What happens to the clock: "n_hours", "start" (0 to n - 1), "operations"."""
    n = options.n_hours
    ops = [rng.choice(OPERATIONS) for _ in range(n_steps)]
    return {
        "n_hours": n,
        "start": rng.randrange(n),
        "operations": [[op, rng.choice(operands(op, n, larger))] for op in ops],
    }


def steps(made: Mapping[str, Any]) -> tuple[str, ...]:
    """The equations of what `operations` made; results are modulo n."""
    hour, equations = made["start"], []
    for op, k in made["operations"]:
        result = {"+": hour + k, "-": hour - k, "*": hour * k}[op] % made["n_hours"]
        equations.append(f"<<{hour}{op}{k}={result}>>")
        hour = result
    return tuple(equations)


def question(
    rng: random.Random, made: Mapping[str, Any], held_out: bool, options: Options
) -> tuple[str, dict[str, Any]]:
    """What `operations` made, told in sentences drawn one by one.

    Returns:
        The text, and {"templates": the sentences before the numbers were filled in}.
    """
    bank = HELD_OUT if held_out else SENTENCES
    told = [("start", made["start"]), *made["operations"], ("question", None)]
    templates = [rng.choice(bank[slot]) for slot, _ in told]
    sentences = [
        template.format(n=made["n_hours"], k=k)
        for template, (_, k) in zip(templates, told, strict=True)
    ]
    return " ".join(sentences), {"templates": templates}
