"""Train answer-then-reason: QLoRA on (prompt, "yes, because ...") pairs.

The trainer is TRL's, the adapter PEFT's, the 4-bit layers bitsandbytes'. This file
hands over token ids that `lrkit.answer.arms` chose and `lrkit.answer.prompts` made
safe, and leaves a folder from which the classifier can be loaded again.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from transformers import PrinterCallback, Trainer, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from lrkit.answer.arms import ARMS, Arm, build_examples, to_dataset
from lrkit.answer.label_ids import LabelIds
from lrkit.answer.prompts import QUESTION, PromptBuilder
from lrkit.answer.run_folder import (
    CARD,
    RUN,
    check_folder,
    run_identity,
    write_card,
    write_json,
)
from lrkit.checkpoints import last_checkpoint
from lrkit.data.conversations import check_rows
from lrkit.models import device, fast_bf16, load_model, load_tokenizer
from lrkit.profiles import AnswerSettings


def answer_weighted_loss(
    logits: torch.Tensor, labels: torch.Tensor, answer_weight: float
) -> torch.Tensor:
    """Cross-entropy in which the first supervised token has a fixed share.

    Args:
        logits: [batch, length, vocabulary].
        labels: [batch, length], -100 where nothing is supervised.
        answer_weight: share w of the answer token; the other completion tokens share
            1 - w. The plain mean gives the answer 1 / (number of tokens).

    Returns:
        Mean over rows of w * CE(answer) + (1 - w) * mean CE(rest).
    """
    logits, labels = logits[:, :-1].float(), labels[:, 1:]
    ce = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=-100, reduction="none"
    )
    supervised = labels != -100
    first = supervised & (supervised.cumsum(1) == 1)
    rest = supervised & ~first
    answer = (ce * first).sum(1)
    others = (ce * rest).sum(1) / rest.sum(1).clamp(min=1)
    return (answer_weight * answer + (1 - answer_weight) * others).mean()


class AnswerTrainer(SFTTrainer):
    """TRL's trainer for an adapter that includes `lm_head`, as the source's does.

    TRL (1.16) computes its loss from `lm_head.weight` directly, which would leave an
    adapter on the head untrained, and therefore refuses one. Here the loss comes from
    the model's own logits, adapter included, so its check is kept from seeing the head
    while the trainer is built. With `answer_weight` the answer token gets a fixed share
    of the loss; without, it is the plain mean over supervised tokens.

    TRL also rounds the adapter of a 4-bit base to bfloat16, in which most steps of size
    5e-5 are lost; here it stays in float32, as in the source.
    """

    def __init__(self, model: PeftModel, answer_weight: float | None = None, **kwargs):
        model.get_output_embeddings = lambda: None
        try:
            super().__init__(model=model, **kwargs)
        finally:
            del model.get_output_embeddings
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        self.answer_weight = answer_weight

    def compute_loss(
        self, model, inputs, return_outputs=False, num_items_in_batch=None
    ):
        """Cross-entropy of the completion, from logits of the whole adapted model."""
        labels = inputs["labels"]
        # The head, a quarter of a small model's work, is applied where completions are:
        # from the column that predicts the first of them.
        start = max(int((labels != -100).int().argmax(1).min()) - 1, 0)
        labels = labels[:, start:]
        kept = {"logits_to_keep": labels.shape[1], "use_cache": False}
        if self.answer_weight is None:
            kept["labels"] = labels
            return Trainer.compute_loss(
                self, model, inputs | kept, return_outputs, num_items_in_batch
            )
        outputs = model(**{k: v for k, v in inputs.items() if k != "labels"}, **kept)
        loss = answer_weighted_loss(outputs.logits, labels, self.answer_weight)
        if num_items_in_batch is not None:  # the trainer adds up micro-batches
            loss = loss / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss


def lora_config(settings: AnswerSettings) -> LoraConfig:
    """The adapter of the settings; the source's: r 32, alpha 64, all linear layers."""
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets),
        bias="none",
        task_type="CAUSAL_LM",
    )


def adapted_model(settings: AnswerSettings) -> PeftModel:
    """The base, in 4 bits if the settings say so, with a fresh adapter."""
    model = load_model(settings.base, settings.load_in_4bit)
    if settings.load_in_4bit:
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )
    return get_peft_model(model, lora_config(settings))


def common_arguments(settings: AnswerSettings, out: Path, seed: int) -> dict[str, Any]:
    """Schedule, batches, optimizer and precision, for any trainer of transformers.

    Every knob that matters is set explicitly: defaults move.
    """
    on_gpu = device().type == "cuda"
    bf16 = fast_bf16()
    few = 0 < settings.max_steps < 50  # no time for a warm-up
    optimizer = settings.optimizer
    if optimizer.startswith("paged") and not on_gpu:
        optimizer = "adamw_torch"  # paged optimizers page GPU memory only
    return {
        "output_dir": str(out),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": 0 if settings.scheduler == "constant" or few else 10,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": optimizer,
        "bf16": bf16,
        "fp16": on_gpu and not bf16,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "train_sampling_strategy": "group_by_length",  # a third less padding
        "logging_steps": 1 if few else 5,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": on_gpu,
        "seed": seed,
        "data_seed": seed,
    }


def training_arguments(settings: AnswerSettings, out: Path, seed: int) -> SFTConfig:
    """`common_arguments`, and what only TRL's trainer or a resumable run knows."""
    return SFTConfig(
        **common_arguments(settings, out, seed),
        neftune_noise_alpha=settings.neftune_alpha,
        packing=False,
        max_length=None,  # lengths were checked; nothing may be cut
        save_strategy="steps",
        save_steps=50,
        save_total_limit=1,
    )


def train(
    rows: pd.DataFrame,
    settings: AnswerSettings,
    out: str | Path,
    arm: Arm = ARMS["label + reason"],
    labels: Sequence[str] = ("yes", "no"),
    question: str = QUESTION,
    seed: int = 0,
    callbacks: Sequence[TrainerCallback] = (),
    whole_labels: bool = False,
) -> list[dict[str, Any]]:
    """Train an adapter into folder `out` and return the trainer's log.

    A run that was killed goes on from its last checkpoint when called again with the
    same arguments; a finished one is not repeated. Other arguments need another folder.

    Args:
        rows: `id`, `running_message`, `label`[, `reason`], see `check_rows`.
        settings: sizes and hyper-parameters, see `lrkit.profiles`.
        out: the adapter, its tokenizer and `answer.json` are written here.
        arm: what the completion holds.
        labels: label words; checked against the tokenizer before anything is trained.
        question: what the prompt asks.
        seed: random seed of initialisation, order and noise.
        callbacks: further callbacks of the trainer, e.g. a progress bar.
        whole_labels: accept labels that begin with the same token.

    Raises:
        ValueError: when `out` holds a run with other arguments.
        BadRows, PromptTooLong, LabelCollision: see `check_rows`, `prompts` and
            `label_ids`; all before a model is loaded.
    """
    out = Path(out)
    check_rows(rows, labels, need_reason=arm.order != "label")
    identity = run_identity(rows, settings, arm, labels, question, seed)
    check_folder(out, identity)
    if (out / CARD).is_file():
        return json.loads((out / "log.json").read_text())
    tokenizer = load_tokenizer(settings.base)
    if not whole_labels:
        LabelIds(tokenizer, labels)  # raises when first tokens collide
    builder = PromptBuilder(
        tokenizer, question, settings.prompt, settings.max_tokens, labels
    )
    examples = build_examples(builder, rows, arm, seed)
    write_json(out / RUN, identity)
    settings = arm.applied_to(settings)
    set_seed(seed)
    trainer = AnswerTrainer(
        model=adapted_model(settings),
        answer_weight=settings.answer_weight,
        args=training_arguments(settings, out / "checkpoints", seed),
        train_dataset=to_dataset(examples),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)  # the caller's callbacks say what is shown
    trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    # The base is named as the user named it, not by where it lay on this machine.
    trainer.model.peft_config["default"].base_model_name_or_path = settings.base
    # PEFT would add the base's own embedding and head, because the head is a target.
    trainer.model.save_pretrained(str(out), save_embedding_layers=False)
    tokenizer.save_pretrained(out)
    log = trainer.state.log_history
    write_json(out / "log.json", log)
    write_card(out, settings, arm, labels, question, seed, len(rows), whole_labels)
    del trainer
    gc.collect()  # it refers to itself and would hold its model beside the next one
    return log
