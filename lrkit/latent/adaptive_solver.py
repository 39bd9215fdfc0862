"""Thinking for as long as it takes: rows stop one by one and leave the batch.

At `<bot>` and behind every latent a policy says which rows stop. These leave: the next
latent is computed for the others alone, so that a batch costs what its rows need and
not its longest row times their number. When the last one has stopped, all answers are
decoded at once by the library's `generate`, with masked columns behind the shorter
thoughts.

A row's decisions, latents and answer are those that it has alone, and those that
`AdaptiveModel.forward` computes for a row with as many slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from lrkit.kv_cache import RowsCache
from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.passes import Passes
from lrkit.latent.stop_policies import StopPolicy, greedy
from lrkit.latent.thinking import ThinkingSolver, Thoughts


@dataclass(frozen=True)
class DecidedThoughts(Thoughts):
    """Thoughts, and what the head said of when they should end.

    Attributes:
        logits: [batch, longest thought + 1, 2], at each decision; 0 behind a row's end.
    """

    logits: torch.Tensor


@torch.no_grad()
def think(
    model: AdaptiveModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    policy: StopPolicy,
    n_max: int,
    n_min: int = 0,
) -> DecidedThoughts:
    """Let each row think until it is stopped.

    A change of what is written (`SlotModel.writing`) is given the rows that still
    think, and no others.

    Args:
        model: in evaluation mode.
        input_ids: [batch, columns], padded on the left; `<bot>` stands last.
        attention_mask: the same.
        policy: is asked from `n_min` latents on.
        n_max: latents at which a thought ends in any case.
        n_min: latents before which none does.

    Raises:
        ValueError: for limits in the wrong order, or a base with a sliding window.
    """
    if not 0 <= n_min <= n_max:
        raise ValueError(
            f"latents go from n_min to n_max, not from {n_min} to {n_max}."
        )
    begun = [
        ids[real].tolist()
        for ids, real in zip(input_ids, attention_mask.bool(), strict=True)
    ]
    rows = torch.arange(len(input_ids), device=input_ids.device)  # that still think
    begin, mask = DynamicCache(config=model.base.config), attention_mask
    state = pass_over(model, model.embed(input_ids), mask, begin)
    cache = RowsCache(begin, n_max)
    n_latents = torch.zeros_like(rows)
    said = []
    for step in range(n_max + 1):
        logits = model.stop_logits(state)
        said.append(logits.new_zeros(len(input_ids), 2).index_copy(0, rows, logits))
        stops = torch.full_like(rows, step == n_max, dtype=torch.bool)
        if n_min <= step < n_max:
            stops = policy(step, logits, [begun[i] for i in rows.tolist()])
        n_latents[rows[stops]] = step
        if stops.all():
            break
        if stops.any():
            go_on = (~stops).nonzero()[:, 0]
            rows, mask, state = rows[go_on], mask[go_on], state[go_on]
            cache.only(rows)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        state = pass_over(model, model.latent(state, step), mask, cache)
    thought = torch.arange(step, device=rows.device) < n_latents[:, None]
    return DecidedThoughts(
        cache.whole(),
        torch.cat([attention_mask, thought.to(attention_mask)], 1),
        n_latents.tolist(),
        torch.stack(said, 1),
    )


def pass_over(
    model: AdaptiveModel, vectors: torch.Tensor, mask: torch.Tensor, cache: DynamicCache
) -> torch.Tensor:
    """[batch, width]: the last state over further columns, which grow the cache.

    Args:
        model: its base is run.
        vectors: [batch, columns, width], what stands in them.
        mask: [batch, cached + columns].
        cache: of the columns before.
    """
    n = vectors.shape[1]
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -n:]
    cached = mask.shape[1] - n
    run = Passes(model.base, mask, positions, cache, False, n, cached)
    return run.forward(vectors)[:, -1]


@dataclass(frozen=True)
class AdaptiveSolver(ThinkingSolver):
    """An `AdaptiveModel` that stops by itself, or as a control says, and answers
    greedily.

    Attributes:
        model: trained.
        rows: how its rows are made.
        n_max: latents at which a thought ends in any case.
        n_min: latents before which none does.
        policy: who says when it ends.
        writes_chain: the model writes the cue itself, as it does after reinforcement
            learning; else the cue is given.
        batch_size: questions per batch.
        max_new_tokens: longest answer.
    """

    model: AdaptiveModel
    rows: ChainRows
    n_max: int
    n_min: int = 0
    policy: StopPolicy = greedy
    writes_chain: bool = False
    batch_size: int = 128
    max_new_tokens: int = 96

    def __post_init__(self) -> None:
        if not 0 <= self.n_min <= self.n_max:
            raise ValueError(
                f"latents go from n_min to n_max, not from {self.n_min} to "
                f"{self.n_max}."
            )

    def asked(self, question: str) -> SlotRow:
        """The question with room for the longest thought and, unless the model writes
        it, the cue."""
        return self.rows.asked(question, self.n_max, cue=not self.writes_chain)

    def thoughts(self, asked: Sequence[SlotRow]) -> DecidedThoughts:
        """What the model thinks about some questions."""
        begun = self.batch_of([SlotRow(row.before) for row in asked])
        return think(
            self.model.eval(), **begun, policy=self.policy, n_max=self.n_max,
            n_min=self.n_min,
        )  # fmt: skip
