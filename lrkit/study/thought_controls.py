"""Does an answer use its thought? Controls for thoughts of unlike lengths.

As in `lrkit.study.latent_controls`: a thought is thought as always, then its latents
are replaced by as many others and the question is read again with these. Here a change
takes the thoughts of a batch, [latents, width] each, of any lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch

from lrkit.latent.latent_sft_solver import (
    SuperpositionSolver,
    WrittenThoughts,
    given_thoughts,
)
from lrkit.latent.layout import SlotRow

ThoughtChange = Callable[[list[torch.Tensor]], list[torch.Tensor]]


def zeroed(thoughts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Nothing: zeros."""
    return [torch.zeros_like(own) for own in thoughts]


def reversed_order(thoughts: list[torch.Tensor]) -> list[torch.Tensor]:
    """The row's own latents in reverse order."""
    return [own.flip(0) for own in thoughts]


def of_another(thoughts: list[torch.Tensor]) -> list[torch.Tensor]:
    """As many latents of the next question that has any; begun again where that one
    thought less.

    Raises:
        ValueError: where fewer than two questions have latents.
    """
    having = [i for i, own in enumerate(thoughts) if len(own)]
    if len(having) < 2:
        raise ValueError(
            "another question's latents are needed: give two questions or more that "
            "are thought about, in one batch."
        )
    following = dict(zip(having, [*having[1:], having[0]], strict=True))
    found = list(thoughts)
    for i, j in following.items():
        other = thoughts[j]
        found[i] = other[torch.arange(len(thoughts[i])) % len(other)]
    return found


def averaged(thoughts: list[torch.Tensor]) -> list[torch.Tensor]:
    """For each slot the mean over the questions of the batch that have it: of the right
    size, knowing nothing."""
    longest = max(map(len, thoughts))
    means = [
        torch.stack([own[k] for own in thoughts if len(own) > k]).mean(0)
        for k in range(longest)
    ]
    return [torch.stack([*means[: len(own)]]) if len(own) else own for own in thoughts]


THOUGHT_CHANGES: dict[str, ThoughtChange] = {
    "zeroed": zeroed,
    "reversed": reversed_order,
    "of another question": of_another,
    "mean of all questions": averaged,
}


@dataclass(frozen=True)
class ChangedThoughtSolver(SuperpositionSolver):
    """A solver whose thoughts are replaced before they are read; what a solution is
    said to cost is the cost of the thought that was replaced.

    Attributes:
        change: see `ThoughtChange`.
    """

    change: ThoughtChange = zeroed

    def thoughts(self, asked: Sequence[SlotRow]) -> WrittenThoughts:
        """The other thoughts, of the lengths of the own ones."""
        own = super().thoughts(asked)
        latents = self.change(
            [part[:n] for part, n in zip(own.written, own.n_latents, strict=True)]
        )
        begun = self.batch_of([SlotRow(row.before) for row in asked])
        return replace(
            given_thoughts(self.model, **begun, latents=latents), read=own.read
        )


def changed(solver: SuperpositionSolver, change: ThoughtChange) -> ChangedThoughtSolver:
    """The same solver with other thoughts."""
    own = {f.name: getattr(solver, f.name) for f in fields(SuperpositionSolver)}
    return ChangedThoughtSolver(**own, change=change)
