"""Training rows with slots in `transformers.Trainer`; a curriculum is a list of runs.

Logging, schedules, checkpoints and resuming are the library's. Here: rows made as they
are needed, always the same for the same seed and place, and the arguments that matter.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME

from lrkit.checkpoints import last_checkpoint
from lrkit.data.problems import Question
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.slots import SLOT, SlotModel
from lrkit.models import fast_bf16

MakeRow = Callable[[Question, random.Random], Any]


class Rows(torch.utils.data.Dataset):
    """Rows of problems, in the order of training.

    Args:
        problems: read in turn, again from the beginning when they end.
        make: problem and source of randomness to a row.
        n: number of rows.
        seed: random seed; a row depends on it and on its place alone.
    """

    def __init__(self, problems: Sequence[Question], make: MakeRow, n: int, seed: int):
        if not problems:
            raise ValueError("there are no problems to train on.")
        self.problems, self.make, self.n, self.seed = problems, make, n, seed

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        rng = random.Random(f"{self.seed} {i}")
        return self.make(self.problems[i % len(self.problems)], rng)


@dataclass(frozen=True)
class RowCollator:
    """Batches of `SlotRow`."""

    slot_id: int
    pad_id: int = 0

    @classmethod
    def of(cls, model: SlotModel, pad_id: int = 0) -> Self:
        """For a model."""
        return cls(model.id_of(SLOT), pad_id)

    def __call__(self, rows: Sequence[SlotRow]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask`, `labels`."""
        return collate(rows, self.slot_id, self.pad_id)


@dataclass(frozen=True)
class RunSettings:
    """One training run.

    Attributes:
        steps: optimizer steps.
        batch_size: rows per forward pass.
        accumulation: forward passes per optimizer step.
        learning_rate: peak.
        scheduler: of the rate after its warm-up.
        warmup: steps until the peak.
        weight_decay: AdamW's.
        clip: largest norm of the gradient.
        save_steps: steps between checkpoints; 0: none.
        log_steps: steps between two losses of the log.
        cpu_bf16: bf16 autocast also on CPUs that are fast at it. It pays for long rows
            in one pass; between the small passes that fill slots the casts cost more
            than they save.
    """

    steps: int
    batch_size: int = 64
    accumulation: int = 1
    learning_rate: float = 1e-3
    scheduler: str = "cosine"
    warmup: int = 20
    weight_decay: float = 0.01
    clip: float = 1.0
    save_steps: int = 200
    log_steps: int = 10
    cpu_bf16: bool = False


def trainer_for(
    model: PreTrainedModel,
    problems: Sequence[Question],
    make: MakeRow,
    collator: Callable,
    settings: RunSettings,
    folder: str | Path,
    seed: int = 0,
    callbacks: Sequence[TrainerCallback] = (),
) -> Trainer:
    """A trainer over rows of problems; every knob that matters is set explicitly.

    Args:
        model: what is trained, all parameters that require gradient.
        problems: training problems.
        make: problem and source of randomness to a row.
        collator: rows to a batch.
        settings: of the run.
        folder: for checkpoints.
        seed: random seed of order and dropout.
        callbacks: further ones.
    """
    set_seed(seed)
    n = settings.steps * settings.batch_size * settings.accumulation
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.accumulation,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=settings.scheduler,
            warmup_steps=settings.warmup,
            weight_decay=settings.weight_decay,
            adam_beta2=0.98,
            max_grad_norm=settings.clip,
            bf16=fast_bf16() and (settings.cpu_bf16 or torch.cuda.is_available()),
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,  # it would empty the cache between passes
            logging_steps=settings.log_steps,
            logging_nan_inf_filter=False,
            save_strategy="steps" if settings.save_steps else "no",
            save_steps=settings.save_steps or 500,
            save_total_limit=2,
            remove_unused_columns=False,
            report_to=[],
            disable_tqdm=True,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            seed=seed,
            data_seed=seed,
        ),
        train_dataset=Rows(problems, make, n, seed),
        data_collator=collator,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def run(trainer: Trainer) -> list[dict]:
    """Train, from the last checkpoint where there is one; the trainer's log.

    A run whose last checkpoint is that of its last step is only loaded: Trainer would
    take one step more.
    """
    checkpoint = last_checkpoint(Path(trainer.args.output_dir))
    if checkpoint is not None:
        state = TrainerState.load_from_json(Path(checkpoint) / TRAINER_STATE_NAME)
        if state.global_step >= trainer.args.max_steps:
            trainer._load_from_checkpoint(checkpoint)
            return state.log_history
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer.state.log_history
