"""The strict loader: tensors of a file into the weights of a model, every one counted.

Nothing is guessed and nothing is dropped in silence. A tensor that no rule of the key
map knows, a row of a table that goes nowhere, a shape that does not fit, a copy that is
no copy and a weight of ours that stays as it was are errors, all of them found before
the first weight is written. (`load_state_dict(strict=False)`, which the references use,
hides each of these.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from lrkit.latent.released.key_map import KeyMap, Part, Rule

SHOWN = 8  # problems that an error names


@dataclass
class LoadReport:
    """What was done with a file, in numbers.

    Attributes:
        source: of the key map.
        tensors: in the file.
        used: of them those that were written.
        twins: copies of those.
        left: by reason, tensors that are left over.
        left_rows: by reason, rows that are left over of tensors that were used.
        weights: of our model; one tied to another counts.
        filled: of them those that are wholly from the file.
        fresh: by reason, weights that are not, or not wholly.
        values: numbers that were written.
        adapter: tensors of an adapter that PEFT's own loader read.
    """

    source: str
    tensors: int = 0
    used: int = 0
    twins: int = 0
    left: Counter[str] = field(default_factory=Counter)
    left_rows: Counter[str] = field(default_factory=Counter)
    weights: int = 0
    filled: int = 0
    fresh: Counter[str] = field(default_factory=Counter)
    values: int = 0
    adapter: int = 0

    def __str__(self) -> str:
        def told(counts: Counter[str], what: str) -> str:
            return "".join(f"\n  {n} {what}: {why}" for why, n in counts.items())

        return (
            f"key map of {self.source}\n"
            f"file: {self.tensors} tensors, {self.used} used, {self.twins} tied "
            f"copies, {sum(self.left.values())} left over"
            f"{told(self.left, 'left over')}{told(self.left_rows, 'rows left over')}\n"
            f"model: {self.weights} weights, {self.filled} filled, "
            f"{sum(self.fresh.values())} fresh ({self.values:,} numbers written)"
            f"{told(self.fresh, 'fresh')}"
            + (f"\nadapter: {self.adapter} tensors, read by PEFT" * (self.adapter > 0))
        )


Copy = tuple[torch.Tensor, torch.Tensor]  # (rows of ours, rows of theirs)


class _Plan:
    """Everything that is to be copied and everything that is wrong."""

    def __init__(self, model: nn.Module, keys: KeyMap):
        self.ours = model.state_dict()
        self.keys = keys
        self.report = LoadReport(keys.source, weights=len(self.ours))
        self.copies: list[Copy] = []
        self.wrong: list[str] = []
        # Weights that are tied share their memory, and so what is known of their rows.
        self.done: dict[int, torch.Tensor] = {
            weight.data_ptr(): torch.zeros(weight.shape[:1] or 1, dtype=torch.bool)
            for weight in self.ours.values()
        }

    def without_twins(
        self, tensors: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The tensors without the copies of tied ones."""
        kept = dict(tensors)
        for name, copy in self.keys.twins:
            if copy not in kept:
                continue
            twin = kept.pop(copy)
            if name not in kept:
                kept[name] = twin
            elif torch.equal(kept[name], twin):
                self.report.twins += 1
            else:
                self.wrong.append(f"{copy} should be a copy of {name} and is not")
        return kept

    def place(self, name: str, tensor: torch.Tensor) -> None:
        """Note where a tensor goes."""
        for pattern, why in self.keys.left:
            if re.fullmatch(pattern, name):
                self.report.left[why] += 1
                return
        for rule in self.keys.rules:
            if found := re.fullmatch(rule.pattern, name):
                self.report.used += 1
                self._parts(name, tensor, rule, found)
                return
        self.wrong.append(f"{name} {list(tensor.shape)} is not known to the map")

    def _parts(
        self, name: str, tensor: torch.Tensor, rule: Rule, found: re.Match
    ) -> None:
        taken = torch.zeros(tensor.shape[:1] or 1, dtype=torch.long)
        for part in rule.parts:
            first, end = part.rows or (0, len(taken))
            if not 0 <= first <= end <= len(taken):
                self.wrong.append(
                    f"{name} {list(tensor.shape)} has no rows {first} to {end}"
                )
                return
            taken[first:end] += 1
            if not part.to:
                self.report.left_rows[part.why] += end - first
                continue
            rows = tensor if part.rows is None else tensor[first:end]
            self._write(name, found.expand(part.to), rows, part)
        if (taken != 1).any():
            n = int((taken != 1).sum())
            self.wrong.append(
                f"{name} {list(tensor.shape)}: the map takes {n} of its rows never or "
                "more than once"
            )

    def _write(self, name: str, to: str, rows: torch.Tensor, part: Part) -> None:
        if to not in self.ours:
            self.wrong.append(f"{name} belongs to {to}, which the model does not have")
            return
        whole = self.ours[to]
        end = part.at + (len(rows) if rows.ndim else 1)
        ours = whole if part.rows is None else whole[part.at : end]
        if ours.shape != rows.shape:
            self.wrong.append(
                f"{name} is {list(rows.shape)}, and its place in {to} "
                f"{list(ours.shape)}"
            )
            return
        done = self.done[whole.data_ptr()][part.at : end]
        if done.any():
            self.wrong.append(f"{name} would write a second time into {to}")
        done[:] = True
        self.copies.append((ours, rows))

    def check_filled(self) -> None:
        """Find weights of ours that nothing fills."""
        for name, weight in self.ours.items():
            done = self.done[weight.data_ptr()]
            if done.all():
                self.report.filled += 1
                continue
            reasons = [w for p, w in self.keys.fresh if re.fullmatch(p, name)]
            if reasons:
                self.report.fresh[reasons[0]] += 1
            else:
                n = int((~done).sum())
                self.wrong.append(
                    f"nothing in the file fills {n} rows of {name} {list(weight.shape)}"
                )


@torch.no_grad()
def load_mapped(
    model: nn.Module, tensors: Mapping[str, torch.Tensor], keys: KeyMap
) -> LoadReport:
    """Write a checkpoint into a model by a key map; all of it or nothing.

    Args:
        model: of the right sizes; its weights are replaced, in its own dtype and on its
            own device.
        tensors: of the file, by their names.
        keys: where they go.

    Raises:
        ValueError: for whatever does not fit, all of it counted and the first named.
    """
    plan = _Plan(model, keys)
    plan.report.tensors = len(tensors)
    for name, tensor in plan.without_twins(tensors).items():
        plan.place(name, tensor)
    plan.check_filled()
    if plan.wrong:
        more = len(plan.wrong) - SHOWN
        raise ValueError(
            f"the file does not fit the key map of {keys.source}: "
            + "; ".join(plan.wrong[:SHOWN])
            + (f"; and {more} more." if more > 0 else ".")
        )
    for ours, theirs in plan.copies:
        ours.copy_(theirs)
        plan.report.values += theirs.numel()
    return plan.report
