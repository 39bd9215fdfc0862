"""Does a thought of adaptive length matter by what it holds, or by its length alone?

The controls of `lrkit.study.adaptive_arms` change how long a thought is. Here every
question keeps the number of latents that the stop head gave it, and other latents stand
in their places: thought as always, then replaced all at once, as in
`lrkit.study.thought_controls`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.latent_sft_solver import WrittenThoughts, given_thoughts
from lrkit.latent.layout import SlotRow
from lrkit.study.thought_controls import ThoughtChange, zeroed


@dataclass(frozen=True)
class ChangedAdaptiveSolver(AdaptiveSolver):
    """An adaptive solver whose latents are replaced before they are read; what a
    solution is said to cost is the cost of the thought that was replaced.

    Attributes:
        change: takes the thoughts of a batch, [latents, width] each.
    """

    change: ThoughtChange = zeroed

    @classmethod
    def of(cls, solver: AdaptiveSolver, change: ThoughtChange) -> ChangedAdaptiveSolver:
        """The same solver with other latents."""
        own = {f.name: getattr(solver, f.name) for f in fields(AdaptiveSolver)}
        return cls(**own, change=change)

    def own_latents(self, asked: Sequence[SlotRow]) -> list[torch.Tensor]:
        """What each question thinks by itself, [its latents, width]."""
        lengths = super().thoughts(asked).n_latents
        rows = [SlotRow(r.before, n) for r, n in zip(asked, lengths, strict=True)]
        latents = self.model(**self.batch_of(rows), logits_to_keep=1).latents
        if latents is None:  # no question thinks at all
            width = self.model.get_input_embeddings().embedding_dim
            latents = self.model.rows.weight.new_zeros(len(asked), 0, width)
        return [part[:n] for part, n in zip(latents, lengths, strict=True)]

    @torch.inference_mode()
    def thoughts(self, asked: Sequence[SlotRow]) -> WrittenThoughts:
        """The other thoughts, of the lengths of the own ones."""
        latents = self.change(self.own_latents(asked))
        begun = self.batch_of([SlotRow(row.before) for row in asked])
        return given_thoughts(self.model, **begun, latents=latents)
