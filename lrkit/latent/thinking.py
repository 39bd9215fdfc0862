"""Solvers that first think, each row for as long as it takes, and then answer at once.

What a thought is made of and who ends it is the business of those who inherit.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from lrkit.latent.layout import SlotRow
from lrkit.latent.solvers import BatchSolver, Solution


@dataclass(frozen=True)
class Thoughts:
    """What a batch of rows has thought.

    Attributes:
        cache: of all rows, [batch, beginning + longest thought].
        mask: the same, 1 where a row has a token or a latent.
        n_latents: of each row.
    """

    cache: DynamicCache
    mask: torch.Tensor
    n_latents: list[int]

    def then(self, rest: Sequence[int]) -> dict[str, object]:
        """Inputs of `generate`: all rows go on with the same token ids."""
        ids = torch.tensor([list(rest)], device=self.mask.device)
        ids = ids.expand(len(self.mask), -1)
        return {
            "input_ids": ids,
            "attention_mask": torch.cat([self.mask, torch.ones_like(ids)], 1),
            "past_key_values": self.cache,
        }


class ThinkingSolver(BatchSolver):
    """A solver whose rows think by themselves and are answered together."""

    @abstractmethod
    def thoughts(self, asked: Sequence[SlotRow]) -> Thoughts:
        """What the model thinks about some questions, without gradients."""

    @torch.inference_mode()
    def solve_batch(self, asked: list[SlotRow]) -> Iterator[Solution]:
        """Solutions of one batch, in its order."""
        began = time.perf_counter()
        thoughts = self.thoughts(asked)
        rest = asked[0].rest
        new = self.decode(thoughts.then(rest))[:, len(rest) :].tolist()
        seconds = (time.perf_counter() - began) / len(asked)
        for row, n, ids in zip(asked, thoughts.n_latents, new, strict=True):
            yield self.solution(
                ids,
                latent_steps=n,
                passes=1 + n + 1,  # the beginning, the latents, what follows them
                positions=len(row.before) + n + len(rest),
                seconds=seconds,
            )
