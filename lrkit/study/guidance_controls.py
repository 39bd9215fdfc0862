"""Does the executor use its guidance? The vectors are replaced, and answers counted.

As in `lrkit.study.latent_controls`, for two models: here the guidance of all questions
is changed at once, before the projector, so that no question depends on its batch. A
zero vector is projected to a constant; "slots zeroed" leaves nothing in the slots.

An executor may be better than a plain one because of its slots, whatever they hold.
What the guidance tells is the difference to the vectors of another question, and to an
executor that was trained blind (`lrkit.latent.lgr_methods.executor`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import pandas as pd
import torch

from lrkit.data.problems import Question
from lrkit.latent.lgr_solver import Change, LgrSolver, with_guidance
from lrkit.study.latent_controls import averaged, of_another, reversed_order, zeroed
from lrkit.study.scoreboard import evaluate


def shuffled(guidance: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A question's own vectors in another order, drawn for each question; not their
    own one, where there are two or more.

    Args:
        guidance: [questions, K, width].
        seed: random seed.
    """
    n, k = guidance.shape[:2]
    if k < 2:
        return guidance.clone()
    draw = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(k, generator=draw) for _ in range(n)])
    same = (order == torch.arange(k)).all(1)
    order[same] = order[same].roll(1, 1)
    return torch.take_along_dim(guidance, order[..., None].to(guidance.device), 1)


def random_of_the_same_norm(guidance: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Random directions, each as long as the vector in its place.

    Args:
        guidance: [questions, K, width].
        seed: random seed.
    """
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(guidance.shape, generator=draw).to(guidance)
    length = guidance.norm(dim=-1, keepdim=True)
    return noise * length / noise.norm(dim=-1, keepdim=True)


GUIDANCE_CHANGES: dict[str, Change] = {
    "zeroed": zeroed,
    "shuffled": shuffled,
    "reversed": reversed_order,
    "of another question": of_another,
    "random, same norm": random_of_the_same_norm,
    "mean of all questions": averaged,
}
SLOTS_ZEROED = "slots zeroed"


@dataclass(frozen=True)
class NoSlotsSolver(LgrSolver):
    """A solver whose slots hold zeros: not even the projector's constant."""

    def decode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """As ever, with nothing in the slots."""
        with self.model.writing(lambda vectors, _: torch.zeros_like(vectors)):
            return super().decode(inputs)


def slots_zeroed(solver: LgrSolver) -> NoSlotsSolver:
    """The same solver with zeros in its slots."""
    return NoSlotsSolver(**{f.name: getattr(solver, f.name) for f in fields(LgrSolver)})


def changed_guidance(
    solver: LgrSolver, questions: Sequence[str], change: Change
) -> LgrSolver:
    """The same solver with other guidance for some questions, and for no others.

    Args:
        solver: trained.
        questions: texts; "another question" is the one before in this list.
        change: takes [questions, K, d_T] to the same shape.
    """
    different = list(dict.fromkeys(questions))
    return with_guidance(solver, different, change(solver.guidance(different)))


def guidance_answers(solver: LgrSolver, problems: Sequence[Question]) -> pd.DataFrame:
    """Rows of `evaluate` as the solver is, and under every control: column `control`,
    "own" for its own guidance."""
    questions = [p.question for p in problems]
    solvers = {"own": solver, SLOTS_ZEROED: slots_zeroed(solver)} | {
        name: changed_guidance(solver, questions, change)
        for name, change in GUIDANCE_CHANGES.items()
    }
    return pd.concat(
        [evaluate(one, problems).assign(control=name) for name, one in solvers.items()],
        ignore_index=True,
    )
