"""Budget forcing: an explicit chain is closed when its tokens are used up (s1).

Methods that think for a fixed number of latents are compared with chains of a bounded
length (arXiv 2501.19393). Up to the budget the model writes as it likes; then the cue
is written for it, and it answers. It cannot end without an answer, either: the end
token comes after the cue alone. Of s1's two directions this is the one that shortens;
"Wait", which lengthens, means nothing to a model that was not trained with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor

from lrkit.latent.solvers import SlotSolver


class ClosedInTime(LogitsProcessor):
    """Forces the cue, token by token, from the budget's end on.

    One object serves one call of `generate`, without beams. A cue that the model has
    begun itself when the budget ends is not begun again.

    Args:
        cue: its token ids.
        budget: tokens of the chain.
        begin: columns before what is written.
        end: id of the end token.

    Raises:
        ValueError: for a negative budget.
    """

    def __init__(self, cue: Sequence[int], budget: int, begin: int, end: int):
        if budget < 0:
            raise ValueError(f"a budget of {budget} tokens cannot be: 0 or more.")
        self.cue, self.budget, self.begin, self.end = list(cue), budget, begin, end
        self.closed: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """[batch, vocabulary] scores; of a row whose cue is due, one is left."""
        written = input_ids[:, self.begin :]
        if self.closed is None:
            self.closed = torch.zeros_like(input_ids[:, 0], dtype=torch.bool)
        self.closed |= self._ends_in(written, len(self.cue))
        scores = scores.clone()
        scores[~self.closed, self.end] = -torch.inf
        if written.shape[1] >= self.budget:
            due = torch.tensor(self.cue, device=scores.device)[self._begun(written)]
            forced = torch.full_like(scores, -torch.inf).scatter(1, due[:, None], 0.0)
            scores = torch.where(self.closed[:, None], scores, forced)
        return scores

    def _ends_in(self, written: torch.Tensor, k: int) -> torch.Tensor:
        """[batch]: whether the last tokens are the first k of the cue."""
        if written.shape[1] < k:
            return torch.zeros_like(written[:, :1], dtype=torch.bool).sum(1) > 0
        first = torch.tensor(self.cue[:k], device=written.device)
        return (written[:, written.shape[1] - k :] == first).all(1)

    def _begun(self, written: torch.Tensor) -> torch.Tensor:
        """[batch]: how many tokens of the cue stand at the end, fewer than all."""
        begun = torch.zeros(len(written), dtype=torch.long, device=written.device)
        for k in range(1, len(self.cue)):
            begun[self._ends_in(written, k)] = k
        return begun


@dataclass(frozen=True)
class BudgetSolver(SlotSolver):
    """A solver that writes chains of a bounded length.

    Attributes:
        budget: longest chain, in tokens; 0: the model does not think at all.

    Raises:
        ValueError: for a solver that does not write its chain, or whose
            `max_new_tokens` leave no room behind budget and cue.
    """

    budget: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.writes_chain:
            raise ValueError("a budget is one of chains: set writes_chain.")
        taken = self.budget + len(self.rows.cue())
        if self.max_new_tokens <= taken:
            raise ValueError(
                f"budget and cue take {taken} tokens and max_new_tokens is "
                f"{self.max_new_tokens}: raise it, for the answer."
            )

    def decode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Greedily, within the budget."""
        rows = self.rows
        forcing = ClosedInTime(
            rows.cue(), self.budget, inputs["input_ids"].shape[1],
            rows.tokenizer.eos_token_id,
        )  # fmt: skip
        return self.generate(inputs, do_sample=False, logits_processor=[forcing])
