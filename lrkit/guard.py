"""A guard over a `transformers.Trainer`: what diverges is restored and goes on slower.

It looks at loss and gradient norm of every step, and at a metric every so often. At
NaN, a spike or a collapse the run is taken up again from the last good checkpoint
(weights, optimizer, schedule, random numbers, place in the data) at a lower rate.

It knows nothing of what is trained. It does not see a loss that rises so slowly that
its median follows, nor a spike shorter than `spike_steps` at the very end. PaLM
(section 5.1) went back and left out batches; lowering the rate, and calling a
checkpoint good only by what came after it, are ours.
"""

from __future__ import annotations

import gc
import json
import math
import os
import random
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from lrkit.checkpoints import last_checkpoint
from lrkit.divergence import GuardSettings, Memory

RECORD = "guard.json"  # the restorations, beside the checkpoints: outlives going back
MEMORY = "lrkit.guard"  # in each checkpoint's trainer state: goes back with the weights


class Diverged(RuntimeError):
    """The run diverged more often than it may be restored.

    Attributes:
        step: of the last divergence.
    """

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


class _Unstable(Exception):
    """Carries step and reason out of the training."""


class _Finished(Exception):
    """The checkpoint is that of the last step; Trainer would take one more."""


def guarded_train(
    make_trainer: Callable[[], Trainer],
    settings: GuardSettings,
    metric: Callable[[PreTrainedModel], float] | None = None,
) -> Trainer:
    """Train to the end, restoring what diverges; a killed run goes on where it was.

    Checkpoints are the trainer's own, in its `output_dir`, and one more of step 0; what
    is older than the newest good one is deleted. A restoration deletes what is newer,
    is a warning, and a row of the log: `restoration` (its number), `reason`,
    `diverged_at`, `restored_to`, `old_rate` and `new_rate` (peaks of the schedule).

    After a kill the weights are those of an uninterrupted run (CPU: bit by bit), the
    logged losses too if saves fall on logged steps: Trainer forgets what is in between.

    Args:
        make_trainer: builds model and trainer, always alike; called once more for each
            restoration, when the last trainer has been let go.
        settings: when to restore, how often, at which rate.
        metric: of the model in evaluation mode, without gradient; higher is better. It
            may draw random numbers: the training does not notice.

    Returns:
        The trainer that reached the end.

    Raises:
        Diverged: it diverged again after `max_restores` restorations.
        ValueError: an argument of the trainer hides or undoes what the guard does.
    """
    while True:
        trainer, row = make_trainer(), None
        _refuse(trainer.args)
        folder = Path(trainer.args.output_dir)
        rows = _settled(folder)
        guard = _Guard(trainer, settings, metric, rows)
        try:
            with (  # at every step; the trainer's log comes only every few
                _tapped(trainer, "training_step", guard.losses),
                _tapped(trainer.accelerator, "clip_grad_norm_", guard.norms),
            ):
                trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        except _Finished:
            trainer.is_in_train = False
        except _Unstable as found:
            row = guard.restoration(*found.args)
        if row is None:
            trainer.remove_callback(guard)
            return trainer
        if len(rows) >= settings.max_restores:
            raise Diverged(_story(rows, row, folder), row["diverged_at"])
        _write(folder, [*rows, row], restoring=True)  # a kill cannot undo it from here
        warnings.warn(f"{_sentence(row)}.", stacklevel=2)
        del trainer, guard
        gc.collect()  # a trainer is full of cycles, and a GPU holds one model, not two


def _refuse(args: TrainingArguments) -> None:
    """Raise for arguments that blind the guard or let it restore something else."""
    reasons = {
        "logging_nan_inf_filter": "the log would hide each NaN: set it to False",
        "save_only_model": "the optimizer could not be restored: set it to False",
        "ignore_data_skip": "the data would begin anew: set it to False",
        "load_best_model_at_end": "the guard may delete that one: set it to False",
        "save_total_limit": "the good one might go: leave it out, the guard deletes",
    }
    for name, why in reasons.items():
        if value := getattr(args, name):
            raise ValueError(f"{name} is {value} in a guarded run, but {why}.")
    if args.save_strategy == "no":
        raise ValueError(
            "save_strategy is 'no': set 'steps', the guard goes back there."
        )
    if args.world_size > 1:
        raise ValueError("The guard sees one process's losses: train in one process.")


class _Guard(TrainerCallback):
    """Watches one attempt, and leaves it by an exception: a trainer that is asked to
    stop first saves and reports what has just gone wrong."""

    def __init__(self, trainer, settings, metric, rows: list[dict]):
        self.trainer, self.settings = trainer, settings
        self.metric, self.rows = metric, rows
        self.losses, self.norms = [], []  # of the step under way
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, optimizer, lr_scheduler, **_):
        """Recall what was known, and lower the rate if it was restored."""
        if not isinstance(lr_scheduler, LambdaLR):
            raise ValueError(
                f"The guard cannot lower the rate of a {type(lr_scheduler).__name__}:"
                " choose an lr_scheduler_type that multiplies a peak rate."
            )
        known = state.stateful_callbacks.get(MEMORY)
        # Without memory it is a checkpoint of an unguarded run, and taken on trust.
        self.memory = Memory(**known) if known else Memory(good=state.global_step)
        # Not a copy: what is known when the state is saved is saved with it. Trainer's
        # `ExportableState` fails on checkpoints of runs that did not have it.
        state.stateful_callbacks[MEMORY] = vars(self.memory)
        if self.rows:
            self.memory.good = max(self.memory.good, self.rows[-1]["restored_to"])
            scale = self.rows[-1]["scale"]
            scale_rates(optimizer, lr_scheduler, scale / self.memory.scale)
            self.memory.scale = scale
        self.memory.saved(state.global_step)
        self.peak = max(lr_scheduler.base_lrs)
        reported = {row.get("restoration") for row in state.log_history}
        for row in self.rows:
            if row["restoration"] not in reported:
                self.trainer.log(dict(row))
        if last_checkpoint(Path(args.output_dir)) is None:
            self.trainer._save_checkpoint(self.trainer.model, trial=None)

    def on_step_begin(self, args, state, control, **_):
        """Forget the last step's losses."""
        if state.global_step >= state.max_steps:
            raise _Finished
        self.losses.clear()
        self.norms.clear()

    def on_pre_optimizer_step(self, args, state, control, **_):
        """Judge a step before it changes the weights."""
        step, loss = state.global_step + 1, float(sum(self.losses))
        fault = self.memory.loss_fault(step, loss, self.settings)
        # In float16 infinite gradients are usual: the scaler leaves out such a step.
        norm = 0.0 if args.fp16 or not self.norms else float(self.norms[-1])
        if fault is None and not math.isfinite(norm):
            fault = f"gradient norm is {norm}"
        if fault is not None:
            raise _Unstable(step, fault)

    def on_step_end(self, args, state, control, model, **_):
        """Look at the metric if it is due; what was fine proves earlier checkpoints."""
        step = state.global_step
        if self.metric is not None:
            if step % self.settings.metric_every and step < state.max_steps:
                return
            with undisturbed(model):
                value = float(self.metric(model))
            state.log_history.append({"guard_metric": value, "step": step})
            fault = self.memory.metric_fault(value, self.settings)
            if fault is not None:
                raise _Unstable(step, fault)
        self.memory.fine_until(step, self.settings)

    def on_save(self, args, state, control, **_):
        """Delete what is older than the good one. Not before: only now is it on disk
        which one that is, so that a run killed here will not ask for another."""
        _delete(Path(args.output_dir), range(self.memory.good))
        self.memory.saved(state.global_step)

    def restoration(self, step: int, reason: str) -> dict:
        """The row of the restoration that is due."""
        factor = self.settings.factor
        return {
            "restoration": len(self.rows) + 1,
            "reason": reason,
            "diverged_at": step,
            "restored_to": self.memory.good,
            "old_rate": self.peak,
            "new_rate": self.peak * factor,
            "scale": self.memory.scale * factor,
        }


def scale_rates(
    optimizer: torch.optim.Optimizer, schedule: LambdaLR, ratio: float
) -> None:
    """Multiply the rates of a schedule that is under way, from the next step on.

    The next step's rate is in the optimizer's groups, those after it are made from the
    schedule's `base_lrs`; a checkpoint has brought both back.
    """
    for group in optimizer.param_groups:
        group["lr"] *= ratio
        group["initial_lr"] *= ratio
    schedule.base_lrs = [rate * ratio for rate in schedule.base_lrs]
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradient; afterwards mode and random numbers are back."""
    training, python, of_numpy = (
        model.training,
        random.getstate(),
        np.random.get_state(),
    )
    try:
        with torch.random.fork_rng(), torch.no_grad():
            model.eval()
            yield
    finally:
        model.train(training)
        random.setstate(python)
        np.random.set_state(of_numpy)


@contextmanager
def _tapped(owner, name: str, seen: list) -> Iterator[None]:
    """Within, a method of this one object also appends what it returns to `seen`."""
    method = getattr(owner, name)

    def tapped(*args, **kwargs):
        seen.append(method(*args, **kwargs))
        return seen[-1]

    setattr(owner, name, tapped)
    try:
        yield
    finally:
        setattr(owner, name, method)


def _settled(folder: Path) -> list[dict]:
    """The restorations so far; the last one is carried out if a kill prevented it."""
    path = folder / RECORD
    record = json.loads(path.read_text()) if path.is_file() else {"rows": []}
    rows = record["rows"]
    if record.get("restoring"):
        _delete(folder, range(rows[-1]["restored_to"] + 1, sys.maxsize))
        _write(folder, rows, restoring=False)
    return rows


def _write(folder: Path, rows: list[dict], restoring: bool) -> None:
    """Replace the record as a whole: a kill leaves the old one or the new one."""
    new = folder / f"{RECORD}.new"
    new.write_text(json.dumps({"restoring": restoring, "rows": rows}, indent=1) + "\n")
    os.replace(new, folder / RECORD)


def _delete(folder: Path, steps: range) -> None:
    """Remove the checkpoints of these steps."""
    for path in folder.glob("checkpoint-*"):
        step = path.name.removeprefix("checkpoint-")
        if step.isdigit() and int(step) in steps:
            shutil.rmtree(path)


def _sentence(row: dict) -> str:
    """What was done about a divergence."""
    return (
        f"Step {row['diverged_at']}: {row['reason']}. Gone back to step"
        f" {row['restored_to']}, peak learning rate {row['old_rate']:.4g} ->"
        f" {row['new_rate']:.4g}"
    )


def _story(rows: list[dict], last: dict, folder: Path) -> str:
    """What was tried, and what may help."""
    return (
        f"Training diverged at step {last['diverged_at']}: {last['reason']}. Tried so"
        f" far: {'; '.join(map(_sentence, rows)) or 'nothing'}. The checkpoint of step"
        f" {last['restored_to']} in {folder} is good. If it is always the same step,"
        " look at its data. If not, begin in a new folder (this one keeps its lowered"
        " rate and its count) with a lower learning_rate, a longer warm-up, a smaller"
        " max_grad_norm or more patience."
    )
