"""Answers that are drawn, not the likeliest ones: for accuracy over samples and pass@k.

Latents are a function of the question and are never drawn here; tokens are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lrkit.latent.solvers import SlotSolver, Solution


@dataclass(frozen=True)
class SamplingSolver(SlotSolver):
    """A solver that draws its tokens.

    Attributes:
        temperature: of the draw; as the next one, that of the LRT paper.
        top_p: the likeliest tokens that together have this probability.
        seed: random seed; the same draws the same. Nobody else's draws are touched.

    Raises:
        ValueError: for a temperature that is not above 0, or a share that is none.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                "the temperature must be above 0 and top_p between 0 and 1, got "
                f"{self.temperature} and {self.top_p}."
            )

    def solve(self, questions: Sequence[str]) -> list[Solution]:
        """A drawn solution for each question, in their order."""
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.seed)
            return super().solve(questions)

    def decode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[batch, columns + written] token ids of one batch."""
        return self.generate(
            inputs, do_sample=True, temperature=self.temperature, top_p=self.top_p,
            top_k=0,
        )  # fmt: skip
