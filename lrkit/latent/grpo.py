"""GRPO on problems in TRL's `GRPOTrainer`: samples, their rewards, one update each.

Sampling, advantages, loss, logging and checkpoints are the library's. Two things of
TRL 1.16 are set right here. It tokenizes prompts its own way (special tokens added, and
recognised in the text): here they are the ids of `ChainRows.question`. And it scores
left-padded rows without position ids, so that a model with learned positions is updated
at others than it sampled at: here they are counted from the mask.

What is rewarded is the business of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from lrkit.data.problems import Problem
from lrkit.latent.chain_rows import ChainRows, TooLong
from lrkit.latent.training import run


@dataclass(frozen=True)
class GRPOSettings:
    """One run. There is no KL term: for its reference TRL would load the model once
    more, by its name, and not as it was passed.

    Attributes:
        steps: optimizer steps, each on samples of its own.
        questions: of one step.
        group_size: samples of a question.
        learning_rate: constant.
        temperature: of sampling, and of the log-probabilities in the update.
        max_completion: longest sample in tokens, end token included.
        clip: largest norm of the gradient.
        save_steps: steps between checkpoints; 0: none.

    Raises:
        ValueError: for groups of fewer than 2.
    """

    steps: int
    questions: int = 16
    group_size: int = 8
    learning_rate: float = 1e-4
    temperature: float = 1.0
    max_completion: int = 64
    clip: float = 1.0
    save_steps: int = 50

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ValueError(
                f"a group of {self.group_size} cannot be compared: 2 samples or more."
            )


class ChainTrainer(GRPOTrainer):
    """`GRPOTrainer` over questions as `ChainRows` encodes them."""

    rows: ChainRows

    @classmethod
    def prompt(cls, model: PreTrainedModel, rows: ChainRows, text: str) -> list[int]:
        """What a sample begins with: the question."""
        return rows.question(text)

    def _tokenize_prompts(self, prompts: list[str]):
        model = self.accelerator.unwrap_model(self.model)
        return [self.prompt(model, self.rows, text) for text in prompts], None, {}


def grpo_trainer(
    model: PreTrainedModel,
    rows: ChainRows,
    problems: Sequence[Problem],
    reward: Callable[..., list[float]],
    settings: GRPOSettings,
    folder: str | Path,
    seed: int = 0,
    kind: type[ChainTrainer] = ChainTrainer,
    callbacks: Sequence[TrainerCallback] = (),
) -> ChainTrainer:
    """A trainer; every knob that matters is set. For other arguments see `grpo`.

    Args:
        kind: of trainer: what a prompt is, and how it is sampled from and scored.
        callbacks: further ones.
    """
    if not problems:
        raise ValueError("there are no problems to train on.")
    for problem in problems:
        prompt = kind.prompt(model, rows, problem.question)
        n = len(prompt) + settings.max_completion
        if n > rows.context:
            raise TooLong(
                f"problem {problem.id!r} with {settings.max_completion} tokens behind "
                f"it has {n}, more than {rows.context}: lower max_completion."
            )
    read = list(islice(cycle(problems), settings.steps * settings.questions))
    columns = {"prompt": [p.question for p in read], "answer": [p.answer for p in read]}
    trainer = kind(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(folder),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.questions * settings.group_size,
            gradient_accumulation_steps=1,
            steps_per_generation=1,
            num_iterations=1,
            num_generations=settings.group_size,
            max_completion_length=settings.max_completion,
            temperature=settings.temperature,
            top_p=1.0,
            top_k=0,
            beta=0.0,
            scale_rewards="group",
            # A mean over the tokens of the batch: one over those of each sample would
            # itself favour short samples that are right, and long ones that are wrong.
            loss_type="dapo",
            mask_truncated_completions=False,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=settings.clip,
            bf16=False,  # samples are drawn without autocast
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            disable_dropout=True,
            shuffle_dataset=False,  # in a second epoch a resumed run would shuffle anew
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="steps" if settings.save_steps else "no",
            save_steps=settings.save_steps or 500,
            save_total_limit=2,
            report_to=[],
            disable_tqdm=True,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            seed=seed,
            data_seed=seed,
        ),
        train_dataset=Dataset.from_dict(columns),
        processing_class=rows.tokenizer,
        callbacks=list(callbacks),
    )
    trainer.rows = rows
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextmanager
def counted_positions(model: PreTrainedModel) -> Iterator[None]:
    """Position ids counted over real columns, where neither they nor a cache come."""

    def count(module, args, kwargs):
        mask = kwargs.get("attention_mask")
        known = kwargs.get("position_ids") is not None
        cached = kwargs.get("past_key_values") is not None
        if mask is not None and not known and not cached:
            kwargs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        return args, kwargs

    hook = model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def grpo(
    model: PreTrainedModel,
    rows: ChainRows,
    problems: Sequence[Problem],
    reward: Callable[..., list[float]],
    settings: GRPOSettings,
    folder: str | Path,
    seed: int = 0,
    kind: type[ChainTrainer] = ChainTrainer,
) -> list[dict]:
    """Train a causal LM on samples of its own; the trainer's log, a row for each step.

    Args:
        model: trained in place, all parameters that require gradient, in float32.
        rows: how its questions are encoded.
        problems: read in turn, again from the beginning when they end.
        reward: as TRL calls it; the samples of a question follow one another.
        settings: of the run.
        folder: for checkpoints; a run that was killed goes on from the last one.
        seed: random seed of sampling.
        kind: what a sample begins with, and how its tokens are scored.

    Raises:
        ValueError: for no problems.
        lrkit.latent.chain_rows.TooLong: where a question leaves too little context.
    """
    try:
        trainer = grpo_trainer(
            model, rows, problems, reward, settings, folder, seed, kind
        )
        with counted_positions(model):
            return run(trainer)
    finally:
        # TRL puts a forward of its own on the model; a copy of it would compute with
        # the weights of the original.
        vars(model).pop("forward", None)
