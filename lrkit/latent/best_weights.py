"""The best weights of a guarded run, kept beside its checkpoints.

A checkpoint is there to go on from, and the guard deletes it when it is old; these are
there to be used. They are those of all parameters that are trained, and of no others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel, TrainerCallback

from lrkit.guard import undisturbed

WEIGHTS, ROWS = "best.safetensors", "validation.json"
Row = dict[str, float]


class BestWeights(TrainerCallback):
    """Measures now and then, and keeps the weights of the best time.

    `look` is the metric of `lrkit.guard.guarded_train`; as a callback this is told
    which step it is, and looks before the first one, too. After a kill or a restoration
    the rows of steps that are taken again are forgotten; weights that were better than
    all since are not.

    Args:
        measure: numbers by name, "accuracy" among them, of the model as it is now.
        better: whether a row is better than the one that is kept, given all rows
            before it.
        folder: of the run.

    Attributes:
        rows: what was measured, with "step".
    """

    def __init__(
        self,
        measure: Callable[[], Row],
        better: Callable[[Row, Row, list[Row]], bool],
        folder: str | Path,
    ):
        self.measure, self.better, self.folder = measure, better, Path(folder)
        self.rows: list[Row] = []
        self.step = 0

    def on_train_begin(self, args, state, control, model, **_):
        """Recall what was measured up to here; where that is nothing, measure."""
        self.step = state.global_step
        file = self.folder / ROWS
        known = json.loads(file.read_text()) if file.is_file() else []
        self.rows = [row for row in known if row["step"] <= self.step]
        if not self.rows:
            with undisturbed(model):
                self.look(model)

    def on_step_end(self, args, state, control, **_):
        """Know the step; the guard, which is told after this, may ask for a look."""
        self.step = state.global_step

    def look(self, model: PreTrainedModel) -> float:
        """Measure, keep the weights if they are the best so far; the accuracy."""
        row = {"step": self.step} | self.measure()
        best = self.best()
        if best is None or self.better(row, best, self.rows):
            trained = {
                name: weight.detach().cpu().contiguous()
                for name, weight in model.named_parameters()
                if weight.requires_grad
            }
            half = self.folder / f"{WEIGHTS}.part"
            save_file(trained, half, {"row": json.dumps(row)})
            os.replace(half, self.folder / WEIGHTS)  # whole, or as it was
        self.rows.append(row)
        half = self.folder / f"{ROWS}.part"
        half.write_text(json.dumps(self.rows, indent=1) + "\n")
        os.replace(half, self.folder / ROWS)
        return row["accuracy"]

    def best(self) -> Row | None:
        """The row of the weights that are kept; None before the first look."""
        if not (self.folder / WEIGHTS).is_file():
            return None
        with safe_open(self.folder / WEIGHTS, "pt") as file:
            return json.loads(file.metadata()["row"])

    def restore(self, model: PreTrainedModel) -> Row:
        """Give a model the weights that are kept; their row.

        Raises:
            ValueError: when other parameters are trained than those that were kept.
        """
        trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
        with safe_open(self.folder / WEIGHTS, "pt") as file:
            if set(file.keys()) != set(trained):
                differ = sorted(set(file.keys()) ^ set(trained))
                raise ValueError(
                    f"{self.folder / WEIGHTS} holds other weights than those that are "
                    f"trained: {len(differ)} differ ({differ[0]}, ...). Freeze the "
                    "same ones as in that run."
                )
            for name, weight in trained.items():
                weight.data.copy_(file.get_tensor(name))
            return json.loads(file.metadata()["row"])
