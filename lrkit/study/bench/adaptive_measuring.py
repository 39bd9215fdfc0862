"""What does it cost that rows of a batch stop thinking one by one?

Three ways through the same thoughts, taking turns:

* `OURS`: `lrkit.latent.adaptive_solver.think`, with all its deciding and its rows that
  leave;
* `NEEDED`: nothing but the passes that the rows need, each over the rows that still
  think, with caches that were cut to size before the clock ran;
* `LONGEST`: no row leaves, and all of them think for as long as the longest one.

The first should take little more than the second. It can be much faster than the third
and no faster than the spread of the lengths allows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.adaptive_solver import pass_over, think
from lrkit.latent.slot_config import BOT
from lrkit.latent.stop_policies import PlannedLengths
from lrkit.study.bench.measuring import spread
from lrkit.study.bench.ways import now

OURS, NEEDED, LONGEST = "lrkit", "needed", "to the longest"
WANTED = 1.25  # at most so many times what is needed


class Listed:
    """A policy of given lengths, in the order in which rows first appear."""

    def __init__(self, lengths: Sequence[int]):
        self.lengths = lengths
        self.place: dict[tuple[int, ...], int] = {}

    def __call__(self, step, logits, begun) -> torch.Tensor:
        """Which rows stop, [rows] of bool."""
        for row in begun:
            self.place.setdefault(tuple(row), len(self.place))
        found = [step >= self.lengths[self.place[tuple(row)]] for row in begun]
        return torch.tensor(found, device=logits.device)


def questions(
    model: AdaptiveModel, n_rows: int, n_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), each [rows, tokens + 1]: drawn ids and `<bot>`, without padding."""
    draw = random.Random(0)
    rows = [
        [*draw.choices(range(model.first_special), k=n_tokens), model.id_of(BOT)]
        for _ in range(n_rows)
    ]
    ids = torch.tensor(rows, device=model.device)
    return ids, torch.ones_like(ids)


@torch.inference_mode()
def needed_seconds(
    model: AdaptiveModel, ids: torch.Tensor, mask: torch.Tensor, lengths: Sequence[int]
) -> float:
    """Seconds of the passes alone; what is done between them is not counted."""
    lengths = torch.tensor(lengths, device=ids.device)
    cache = DynamicCache(config=model.base.config)
    start = now(model.device)
    state = pass_over(model, model.embed(ids), mask, cache)
    seconds = now(model.device) - start
    for step in range(int(lengths.max())):
        still = (lengths > step).nonzero()[:, 0]
        if len(still) < len(lengths):
            cache.batch_select_indices(still)
            lengths, mask, state = lengths[still], mask[still], state[still]
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        start = now(model.device)
        state = pass_over(model, model.latent(state, step), mask, cache)
        seconds += now(model.device) - start
    return seconds


@torch.inference_mode()
def measure_thinking(
    model: AdaptiveModel, lengths: Sequence[int], n_tokens: int = 64, repeats: int = 5
) -> dict[str, Any]:
    """Times of the three ways through thoughts of these lengths.

    Args:
        model: in evaluation mode.
        lengths: of each row's thought.
        n_tokens: of each question.
        repeats: of all ways.

    Returns:
        `rows`, `lengths`, `row_steps` (latents that were computed) and `needed` (the
        sum of the lengths), `to_the_longest` (latents if no row left); `seconds` of
        each way; over the repeats `over_needed`, our own way's time over that of
        `NEEDED`, and `faster`, the time of `LONGEST` over our own; and the same ratios
        of the fastest repeats, `of_least`, which a busy machine has slowed least.
    """
    longest = max(lengths)
    ids, mask = questions(model, len(lengths), n_tokens)
    computed = []
    hook = model.map.register_forward_hook(lambda *call: computed.append(len(call[2])))
    think(model, ids, mask, Listed(lengths), longest)  # the first call prepares
    hook.remove()
    seconds: dict[str, list[float]] = {OURS: [], NEEDED: [], LONGEST: []}
    for _ in range(repeats):
        for way, policy in (
            (OURS, Listed(lengths)),
            (LONGEST, PlannedLengths.fixed(longest)),
        ):
            start = now(model.device)
            think(model, ids, mask, policy, longest)
            seconds[way].append(round(now(model.device) - start, 6))
        seconds[NEEDED].append(round(needed_seconds(model, ids, mask, lengths), 6))
    ratio = [a / b for a, b in zip(seconds[OURS], seconds[NEEDED], strict=True)]
    faster = [a / b for a, b in zip(seconds[LONGEST], seconds[OURS], strict=True)]
    return {
        "rows": len(lengths),
        "lengths": list(lengths),
        "row_steps": sum(computed),
        "needed": sum(lengths),
        "to_the_longest": longest * len(lengths),
        "seconds": seconds,
        "over_needed": spread(ratio),
        "faster": spread(faster),
        "of_least": {
            "over_needed": min(seconds[OURS]) / min(seconds[NEEDED]),
            "faster": min(seconds[LONGEST]) / min(seconds[OURS]),
        },
        "wanted": WANTED,
        "met": spread(ratio)["median"] <= WANTED,
    }
