"""Rows with slots, and batches of them: the one place where columns are laid out.

A row is a beginning, a number of slots and a rest. In a batch the beginnings are padded
on the left and the rests on the right, so that slots share columns and a position can
be counted from the mask; where a row has fewer slots than another its last ones are
masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

IGNORED = -100


@dataclass(frozen=True)
class SlotRow:
    """One row.

    Attributes:
        before: token ids up to the first slot; at least one where there are slots.
        n_slots: number of slots, 0 or more.
        rest: token ids after the last slot.
        supervised: how many of the last ids of `rest` carry loss.
    """

    before: Sequence[int]
    n_slots: int = 0
    rest: Sequence[int] = ()
    supervised: int = 0

    def __post_init__(self) -> None:
        if self.n_slots < 0:
            raise ValueError(f"a row cannot have {self.n_slots} slots: 0 or more.")
        if not 0 <= self.supervised <= len(self.rest):
            raise ValueError(
                f"{self.supervised} tokens cannot carry loss in a rest of "
                f"{len(self.rest)}."
            )
        if not self.before:
            raise ValueError("a row must begin with at least one token.")

    def __len__(self) -> int:
        return len(self.before) + self.n_slots + len(self.rest)


def collate(
    rows: Sequence[SlotRow], slot_id: int, pad_id: int = 0
) -> dict[str, torch.Tensor]:
    """A batch: `input_ids`, `attention_mask` and `labels`, each [batch, columns].

    Args:
        rows: at least one.
        slot_id: placeholder id of a slot.
        pad_id: id for padding; masked, its value does not matter.
    """
    before = max(len(row.before) for row in rows)
    slots = max(row.n_slots for row in rows)
    width = before + slots + max(len(row.rest) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        start, end = before - len(row.before), before + slots + len(row.rest)
        ids[i, start:before] = torch.tensor(list(row.before))
        ids[i, before : before + row.n_slots] = slot_id
        ids[i, before + slots : end] = torch.tensor(list(row.rest), dtype=torch.long)
        mask[i, start : before + row.n_slots] = 1
        mask[i, before + slots : end] = 1
        loss_from = end - row.supervised
        labels[i, loss_from:end] = ids[i, loss_from:end]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
