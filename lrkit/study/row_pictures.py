"""Rows as boxes, for `lrkit.plots_latent.token_rows`: what a method reads, writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow

Box = tuple[str, str]


def boxes(rows: ChainRows, row: SlotRow) -> list[Box]:
    """(text, kind) of a row: the question as one box, a box for each special, latent,
    step and, at the end, for cue and answer.

    Args:
        rows: what made the row.
        row: of a problem, with its answer.

    Raises:
        ValueError: for a row without the cue.
    """
    specials = {rows.bot: "<bot>", rows.eot: "<eot>", rows.pause: "<pause>"}
    asked = [i for i in row.before if i not in specials]
    found = [(f"question: {len(asked)} tokens", "question")]
    found += [(specials[i], "special") for i in row.before if i in specials]
    found += [(f"z{k + 1}", "latent") for k in range(row.n_slots)]
    rest, cue = list(row.rest), rows.cue()
    starts = [
        k for k in range(len(rest) - len(cue) + 1) if rest[k : k + len(cue)] == cue
    ]
    if not starts:
        raise ValueError("the row has no cue, and so no answer to show.")
    begin = starts[-1]
    found += [(specials[i], "special") for i in rest[:begin] if i in specials]
    written = [i for i in rest[:begin] if i not in specials]
    steps = rows.tokenizer.decode(written).split()
    found += [(step, "chain") for step in steps]
    answer = rows.tokenizer.decode(rest[begin + len(cue) :], skip_special_tokens=True)
    return [*found, (rows.tokenizer.decode(cue), "cue"), (answer.strip(), "answer")]


def place_of(shown: list[Box], kind: str) -> int:
    """Index of the first box of a kind."""
    return [k for _, k in shown].index(kind)


def mask_boxes(
    ids: Sequence[int],
    latent: int,
    make: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[np.ndarray, list[str]]:
    """A mask of Latent-SFT for `lrkit.plots_superposition.mask_picture`: who may read
    whom [columns, columns], and what stands at each column.

    Args:
        ids: of a row, see `lrkit.latent.latent_sft_rows`.
        latent: id of a latent.
        make: one of the masks of `lrkit.latent.latent_masks`.
        tokenizer: of the text.
    """
    row = torch.tensor(list(ids))
    allowed = make(row == latent, torch.ones(len(row))).numpy()
    return allowed, [
        "LATENT" if i == latent else repr(tokenizer.decode([i])) for i in ids
    ]
