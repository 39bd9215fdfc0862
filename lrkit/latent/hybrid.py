"""Two ways to think with one set of weights: fast through latents, or in words.

Latent Reasoning Tuning leaves the base as it is, so that the module beside it can be
used or not, question by question. The paper lets the caller choose; a router is not
described there. The one here is ours: the model answers through latents first, and
where it gives its own answer less than a threshold, thinks in words and answers again.
Both attempts are paid for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch

from lrkit.latent.layout import SlotRow
from lrkit.latent.prefilled import PrefilledSolver
from lrkit.latent.solvers import SlotSolver, Solution

MODES = ("latent", "explicit", "router")
COUNTED = ("text_tokens", "latent_steps", "passes", "positions", "flops", "seconds")


@dataclass(frozen=True)
class SureSolution(Solution):
    """A solution and how sure the model is of it.

    Attributes:
        confidence: probability of the tokens that were written, the end token among
            them, one after another: from 0 to 1.
    """

    confidence: float


@dataclass(frozen=True)
class SureSolver(SlotSolver):
    """A solver whose solutions say how sure the model is of them; decodes greedily.

    Attributes:
        seen: confidences of the batch that is being decoded.
    """

    seen: list[float] = field(default_factory=list, repr=False, compare=False)

    def decode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """As ever; the confidences of the batch are left in `seen`."""
        out = self.generate(
            inputs, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
        new = out.sequences[:, inputs["input_ids"].shape[1] :]
        scores = torch.stack(out.logits, 1).float().log_softmax(-1)
        chosen = scores.gather(2, new[..., None])[..., 0]
        ended = (new == self.rows.tokenizer.eos_token_id).cumsum(1)
        after = torch.nn.functional.pad(ended, (1, 0))[:, :-1] > 0
        found = chosen.masked_fill(after, 0.0).sum(1).exp()
        self.seen[:] = found.tolist()
        return out.sequences

    def solve_batch(self, asked: list[SlotRow]) -> Iterator[SureSolution]:
        """Solutions of one batch, with their confidences."""
        solutions = list(super().solve_batch(asked))
        for one, confidence in zip(solutions, self.seen, strict=True):
            yield SureSolution(**vars(one), confidence=confidence)


@dataclass(frozen=True)
class HybridSolver:
    """Latents or words, with the same weights.

    Attributes:
        fast: answers through latents.
        slow: writes its chain; its model is that of `fast`.
        mode: one of `MODES`.
        threshold: of the router: from this confidence on the fast answer stands.

    Raises:
        ValueError: for another mode, or solvers of two models.
    """

    fast: SureSolver
    slow: SlotSolver
    mode: str = "router"
    threshold: float = 0.9

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            known = ", ".join(MODES)
            raise ValueError(f"there is no mode {self.mode!r}: choose one of {known}.")
        if self.fast.model is not self.slow.model:
            raise ValueError("a hybrid has one set of weights: both solvers' model.")

    @classmethod
    def of(
        cls, solver: SlotSolver, max_chain: int = 96, begun: str = "", **options
    ) -> Self:
        """From a solver with latents over a base that was not changed.

        Args:
            solver: such as that of `lrkit.latent.lrt_methods.lrt`.
            max_chain: longest chain with its answer, in tokens.
            begun: first words of every chain, see `lrkit.latent.prefilled`.
            options: attributes of the hybrid.
        """
        own = {f.name: getattr(solver, f.name) for f in fields(SlotSolver)}
        words = {"n_latents": None, "writes_chain": True, "max_new_tokens": max_chain}
        slow = SlotSolver(**own | words)
        if begun:
            slow = PrefilledSolver(**own | words, begun=begun)
        return cls(SureSolver(**own), slow, **options)

    def solve(self, questions: Sequence[str]) -> list[Solution]:
        """A solution for each question; its costs are those of all attempts."""
        if self.mode == "latent":
            return self.fast.solve(questions)
        if self.mode == "explicit":
            return self.slow.solve(questions)
        found: list[Solution] = list(self.fast.solve(questions))
        unsure = [i for i, s in enumerate(found) if s.confidence < self.threshold]
        again = self.slow.solve([questions[i] for i in unsure])
        for i, slow in zip(unsure, again, strict=True):
            paid = {c: getattr(found[i], c) + getattr(slow, c) for c in COUNTED}
            found[i] = replace(slow, **paid)
        return found
