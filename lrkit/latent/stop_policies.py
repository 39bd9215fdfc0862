"""Policies: who says when a thought ends. The stop head, or one of its controls.

A policy is asked at `<bot>` and behind every latent, for the rows that still think. The
controls know nothing of the states: they give every row the same number of latents, or
one drawn from a distribution such as that of the head's own lengths. A head that is
worth its weights answers more questions than they do with as many latents.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from lrkit.latent.adaptive import CONTINUE, STOP


class StopPolicy(Protocol):
    """Whatever ends thoughts."""

    def __call__(
        self, step: int, logits: torch.Tensor, begun: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Which rows stop, [rows] of bool.

        Args:
            step: latents so far, the same number in all rows that still think.
            logits: [rows, 2], of the stop head.
            begun: token ids of each row up to `<bot>`.
        """


def greedy(
    step: int, logits: torch.Tensor, begun: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The likelier decision of the head; at even odds it goes on."""
    return logits[:, STOP] > logits[:, CONTINUE]


@dataclass(frozen=True)
class Sampled:
    """Decisions drawn from the head, by torch's own random numbers.

    Attributes:
        temperature: that its logits are divided by.

    Raises:
        ValueError: for a temperature of 0 or less.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(
                f"a temperature must be above 0, not {self.temperature}: for the "
                "likelier decision take `greedy`."
            )

    def __call__(
        self, step: int, logits: torch.Tensor, begun: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """[rows] of bool."""
        shares = (logits / self.temperature).softmax(-1)
        return torch.bernoulli(shares[:, STOP]).bool()


@dataclass(frozen=True)
class PlannedLengths:
    """The control: a number of latents drawn for each row, whatever it asks.

    It depends on the row's ids and the random seed alone, so that a row has the same
    one in every batch.

    Attributes:
        shares: number of latents -> its share of rows, in any unit.
        seed: random seed; another one, other lengths.

    Raises:
        ValueError: for no lengths, or ones or shares below 0.
    """

    shares: Mapping[int, float]
    seed: int = 0

    def __post_init__(self) -> None:
        good = all(n >= 0 and share >= 0 for n, share in self.shares.items())
        if not good or not sum(self.shares.values()) > 0:
            raise ValueError(
                f"lengths and their shares must be 0 or more, one share above 0: got "
                f"{dict(self.shares)}."
            )

    @classmethod
    def fixed(cls, n: int) -> PlannedLengths:
        """The same number in every row."""
        return cls({n: 1.0})

    @classmethod
    def at_mean(cls, mean: float, seed: int = 0) -> PlannedLengths:
        """The number that comes next to a mean: of its two neighbours by chance."""
        return cls({int(mean): 1 - mean % 1, int(mean) + 1: mean % 1}, seed)

    @classmethod
    def like(cls, lengths: Sequence[int], seed: int = 0) -> PlannedLengths:
        """Distributed as these: the head's lengths, dealt out at random."""
        return cls(Counter(lengths), seed)

    def length(self, begun: Sequence[int]) -> int:
        """Latents of a row that begins with these ids."""
        rng = random.Random(f"{self.seed} {list(begun)}")
        return rng.choices(list(self.shares), list(self.shares.values()))[0]

    def __call__(
        self, step: int, logits: torch.Tensor, begun: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """[rows] of bool."""
        stops = [step >= self.length(row) for row in begun]
        return torch.tensor(stops, device=logits.device)
