"""How many latents a row is trained with when it depends on its steps.

Equation of section 3.2 of "Learning When to Stop" (arXiv 2511.21581):

    n = min(n_max, max(n_min, c * k + b))

k is the number of a problem's steps before the last one is taken from the teacher.
With a constant n the stop head learns to count and needs to read nothing; with a slope
it has to see how much there is to do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from lrkit.data.problems import Question
from lrkit.latent.adaptive import AdaptiveConfig, AdaptiveModel
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.codi import CodiCollator, CodiRow, codi_row
from lrkit.latent.sim_cot_rows import SimCotCollator, sim_cot_row


@dataclass(frozen=True)
class StopSchedule:
    """One schedule; the named ones are its class methods.

    Attributes:
        c: latents for each step.
        b: latents beside those.
        n_min: fewest.
        n_max: most; where a thought is ended in any case.
        drawn: the number is drawn for each row, all alike from that of the equation to
            `n_max` (ours): reinforcement learning can choose a shorter thought
            only where a shorter one is sometimes right.

    Raises:
        ValueError: for limits below 0 or in the wrong order.
    """

    c: int
    b: int
    n_min: int
    n_max: int
    drawn: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.n_min <= self.n_max:
            raise ValueError(
                f"latents go from n_min to n_max, both 0 or more, not from "
                f"{self.n_min} to {self.n_max}."
            )

    @classmethod
    def latent_6(cls) -> StopSchedule:
        """Latent-6: six latents, whatever the problem."""
        return cls(c=0, b=6, n_min=6, n_max=6)

    @classmethod
    def latent_6_by_1(cls, b: int = 5) -> StopSchedule:
        """Latent-6-by-1: one more for each step, from six on, at most ten.

        Args:
            b: the paper prints 6; its table counts 6 latents at the least, which
                fits 5 and problems of one step, and so do the authors' commands.
        """
        return cls(c=1, b=b, n_min=0, n_max=10)

    @classmethod
    def by_step(cls, per_step: int = 1, n_max: int = 10) -> StopSchedule:
        """As many latents for each step, and no others (ours)."""
        return cls(c=per_step, b=0, n_min=0, n_max=n_max)

    @classmethod
    def to_spare(cls, n_max: int = 6) -> StopSchedule:
        """A latent for each step, and any number of further ones up to `n_max` (ours):
        the head cannot know when to stop, and a shorter thought is as good."""
        return cls(c=1, b=0, n_min=0, n_max=n_max, drawn=True)

    def n_latents(self, n_steps: int, rng: random.Random | None = None) -> int:
        """Latents of a problem of so many steps.

        Args:
            n_steps: k.
            rng: source of randomness, for a schedule that draws.
        """
        least = min(self.n_max, max(self.n_min, self.c * n_steps + self.b))
        return rng.randint(least, self.n_max) if self.drawn else least


def adaptive_row(
    rows: ChainRows,
    problem: Question,
    schedule: StopSchedule,
    config: AdaptiveConfig,
    rng: random.Random | None = None,
    **teacher,
) -> CodiRow:
    """A problem with as many latents as the schedule says.

    Args:
        rows: makes them.
        problem: with steps.
        schedule: says how many latents.
        config: of the model; with a step decoder the row is one of SIM-CoT.
        rng: source of randomness, for a schedule that draws.
        teacher: what it reads, see `lrkit.latent.codi.codi_row`.
    """
    n = schedule.n_latents(problem.n_steps, rng)
    if config.has_decoder:
        return sim_cot_row(rows, problem, n, config, **teacher)
    return codi_row(rows, problem, n, **teacher)


def adaptive_collator(model: AdaptiveModel, pad_id: int = 0) -> CodiCollator:
    """Batches of what `adaptive_row` makes for this model."""
    kind = SimCotCollator if model.config.has_decoder else CodiCollator
    return kind.of(model, pad_id)
