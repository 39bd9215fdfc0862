"""The text of a chain of steps: terse, or verbose with a share of it redundant.

A terse chain is the equations and nothing else, as in GSM8K-Aug. A verbose one writes a
sentence around each equation and adds sentences that carry nothing: they say again what
is known, check it, or hesitate. Every sentence knows which it is, so that what is worth
keeping can be told from what is not.

Equations are read here, too; they are made where the problems are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lrkit.data.graphs import EDGE
from lrkit.data.problems import STEP, Problem

# {left} and {value} are the two sides of the equation, {step} the whole of it.
NECESSARY = (
    "We get {left} = {step}{value}.",
    "This gives {left} = {step}{value}.",
    "So {left} = {step}{value}.",
    "Next, {left} comes to {step}{value}.",
    "Here {left} makes {step}{value}.",
)
# What may follow the sentence of a step; none of it is news.
REDUNDANT = {
    "restates": (
        "That is, we now have {value}.",
        "In other words, the result here is {value}.",
        "So after this step there is {value}.",
        "To say it again, {left} makes {value}.",
        "The number to keep in mind is {value}.",
        "At this point we are at {value}.",
        "As was just found, it is {value}.",
        "Once more: {value}.",
    ),
    "checks": (
        "Let me check that: {left} is {value}, yes.",
        "Checking again, {value} is right.",
        "Is {left} really {value}? It is.",
        "I go over {left} a second time and find {value} again.",
        "Nothing is wrong with {value} here.",
        "To be sure, I look at {left} again; {value} stands.",
        "Working {left} out anew does not change {value}.",
        "The question was read correctly, and {value} fits it.",
    ),
    "hedges": (
        "Hmm, let me think about this for a moment.",
        "Wait, is that the right way to go about it? I believe so.",
        "This may look odd, but let us see where it leads.",
        "I want to be careful here.",
        "Maybe there is another way, but this one will do.",
        "Well, that seems plausible enough.",
        "Let me not rush this.",
        "It is easy to slip at such a point, so slowly now.",
    ),
}


@dataclass(frozen=True)
class Sentence:
    """A sentence of a verbose chain.

    Attributes:
        text: as it stands in the chain.
        step: index into the problem's steps, of the one it carries or comes after.
        kind: "step" if it carries it, else "restates", "checks" or "hedges".
    """

    text: str
    step: int
    kind: str

    @property
    def redundant(self) -> bool:
        """Whether the chain would say the same without this sentence."""
        return self.kind != "step"


def parse_steps(text: str) -> list[str]:
    """Every equation in a text, such as "<<12+5=17>>", as written and in its order."""
    return [found[0] for found in STEP.finditer(text)]


def step_value(step: str) -> str:
    """What a step comes to, as written: "17" for "<<12+5=17>>", "dolpus" for the edge
    of a graph "Every banpus is a dolpus.".

    Raises:
        ValueError: for a text that is neither one equation nor one edge.
    """
    if edge := EDGE.fullmatch(step):
        return edge[2]
    return _sides(step)[1]


def _sides(step: str) -> tuple[str, str]:
    """What is computed, and the result."""
    found = STEP.fullmatch(step)
    if not found:
        raise ValueError(f"{step!r} is no equation; one like '<<12+5=17>>' is needed.")
    return found[1], found[2]


def terse(problem: Problem) -> str:
    """The equations joined by blanks, "" where there are none."""
    return " ".join(problem.steps)


def n_redundant(n_steps: int, redundancy: float, rng: random.Random) -> int:
    """How many redundant sentences make up this share of a chain.

    Where that is no whole number it is one of its two neighbours, by chance, so that
    many chains together have the share: rounding would leave every chain of one step
    without any at 0.2.

    Raises:
        ValueError: for a share below 0 or above 0.95 (19 redundant ones a step).
    """
    if not 0 <= redundancy <= 0.95:
        raise ValueError(f"redundancy is a share from 0 to 0.95, got {redundancy}.")
    exact = n_steps * redundancy / (1 - redundancy)
    return int(exact) + (rng.random() < exact % 1)


def _forms(rng: random.Random) -> Iterator[tuple[str, str]]:
    """(kind, form) without end; none comes again before all others have come."""
    every = [(kind, form) for kind, forms in REDUNDANT.items() for form in forms]
    while True:
        yield from rng.sample(every, len(every))


def verbose(problem: Problem, redundancy: float, seed: int = 0) -> list[Sentence]:
    """A sentence for every step, and redundant ones in between.

    Args:
        problem: of any task.
        redundancy: share of redundant sentences among all, from 0 to 0.95; kept to the
            sentence next to it, above or below.
        seed: another seed, another wording; two problems are worded apart anyway.

    Returns:
        Sentences in the order of the chain; [] where the problem has no steps. Only the
        necessary ones hold equations, so `parse_steps` of the joined text gives the
        problem's steps; a redundant one names no number but those of its step.

    Raises:
        ValueError: for a share out of range.
    """
    rng = random.Random(f"{problem.id}/{seed}")
    n_more = n_redundant(problem.n_steps, redundancy, rng)
    after = rng.choices(range(problem.n_steps), k=n_more) if n_more else []
    forms = _forms(rng)
    chain = []
    for n, step in enumerate(problem.steps):
        left, value = _sides(step)
        said = [("step", rng.choice(NECESSARY))]
        said += [next(forms) for _ in range(after.count(n))]
        chain += [
            Sentence(form.format(left=left, value=value, step=step), n, kind)
            for kind, form in said
        ]
    return chain


def joined(chain: Sequence[Sentence]) -> str:
    """The text of a chain; keep some of the sentences only, and it is theirs."""
    return " ".join(sentence.text for sentence in chain)


def in_brackets(steps: Sequence[str]) -> str:
    """What each step comes to, and no more: "( 2 6 )"; "" for no steps.

    Raises:
        ValueError: for a step that is neither an equation nor an edge.
    """
    return " ".join(["(", *map(step_value, steps), ")"]) if steps else ""
