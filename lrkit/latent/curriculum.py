"""COCONUT's curriculum and its controls (arXiv 2412.06769): steps become latents.

At stage s the first s steps of the chain are gone and s * c latents stand in their
place; after the last stage all steps are gone. The same schedule drives the controls:

* `latent`: COCONUT, the slots hold hidden states;
* `pause`: a learned constant in their place (pause as thought);
* `nothing`: steps are dropped and nothing is put there (stepwise internalisation).

The number of latents depends on the stage and never on the row: at test time nobody
says how many steps a question needs.

`TokenDropping` takes a chain away in smaller bites, as stepwise internalisation does
(ICoT-SI, arXiv 2405.14838).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow

FILLERS = ("latent", "pause", "nothing")


class Schedule(Protocol):
    """What a method by stages needs to know."""

    @property
    def stages(self) -> range:
        """All stages, 0 (the whole chain) first."""

    def row(
        self, rows: ChainRows, problem: Question, stage: int, rng: random.Random
    ) -> SlotRow:
        """A problem as it is read at a stage."""


@dataclass(frozen=True)
class Curriculum:
    """The schedule of COCONUT and of its controls: whole steps.

    Attributes:
        per_step: c, latents for each step that is gone.
        last: the last stage that keeps steps; one more drops them all.
        mixing: share of rows whose stage is drawn uniformly from 0 to the present one,
            which keeps earlier stages from being forgotten.
        filler: one of `FILLERS`.
    """

    per_step: int = 1
    last: int = 5
    mixing: float = 0.0
    filler: str = "latent"

    def __post_init__(self) -> None:
        if self.filler not in FILLERS:
            known = ", ".join(FILLERS)
            raise ValueError(f"no filler {self.filler!r}: choose one of {known}.")
        if self.per_step < 0 or self.last < 0:
            raise ValueError(
                f"latents per step and stages must be 0 or more, not {self.per_step} "
                f"and {self.last}."
            )
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing must lie between 0 and 1, not {self.mixing}.")

    @property
    def stages(self) -> range:
        """All stages, 0 (the whole chain) first."""
        return range(self.last + 2)

    def n_latents(self, stage: int) -> int:
        """Latents of every row at a stage."""
        return min(stage, self.last) * self.per_step

    def steps_left(self, problem: Question, stage: int) -> Sequence[str]:
        """The steps that are still written at a stage."""
        return problem.steps[stage:] if stage <= self.last else ()

    def row(
        self, rows: ChainRows, problem: Question, stage: int, rng: random.Random
    ) -> SlotRow:
        """A row of a stage, or by the share `mixing` of an earlier one."""
        if self.mixing and rng.random() < self.mixing:
            stage = rng.randint(0, stage)
        n = self.n_latents(stage) if self.filler != "nothing" else 0
        row = rows.latent(problem, n, self.steps_left(problem, stage))
        return paused(row, rows.pause) if self.filler == "pause" else row


def paused(row: SlotRow, pause: int) -> SlotRow:
    """The same row with a learned constant in every slot: an id that is looked up."""
    return replace(row, before=[*row.before, *[pause] * row.n_slots], n_slots=0)


@dataclass(frozen=True)
class TokenDropping:
    """The schedule of stepwise internalisation: tokens of the chain, from its left.

    Attributes:
        per_stage: tokens that go with each stage.
        last: the last stage that keeps what is left; one more drops all.
        smoothing: lambda of the removal smoothing: o further tokens go with a
            probability in proportion to exp(-lambda * o), so that the step from one
            stage to the next is no cliff. `math.inf`: none.
    """

    per_stage: int = 4
    last: int = 9
    smoothing: float = 4.0

    def __post_init__(self) -> None:
        if self.per_stage < 1 or self.last < 0:
            raise ValueError(
                "a stage takes 1 token or more and stages are 0 or more, not "
                f"{self.per_stage} and {self.last}."
            )
        if not self.smoothing > 0:
            raise ValueError(f"smoothing must be above 0, not {self.smoothing}.")

    @property
    def stages(self) -> range:
        """All stages, 0 (the whole chain) first."""
        return range(self.last + 2)

    def row(
        self, rows: ChainRows, problem: Question, stage: int, rng: random.Random
    ) -> SlotRow:
        """Question, what is left of the chain, answer."""
        if stage > self.last:
            return rows.chain(problem, ())
        # 1 - u is never 0; the floor of an exponential is geometric.
        further = int(-math.log(1 - rng.random()) / self.smoothing)
        return rows.chain(problem, dropped=stage * self.per_stage + further)
