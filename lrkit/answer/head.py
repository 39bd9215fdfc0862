"""A classification head on the same base: what most people would train instead.

The same prompt, base, 4-bit weights and LoRA as answer-then-reason, but a new linear
layer over the labels reads the last position, and reasons are never seen. It exists to
be compared with; it is not saved.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from lrkit.answer.engine import batches_by_length, left_pad
from lrkit.answer.prompts import QUESTION, PromptBuilder
from lrkit.answer.sft import common_arguments
from lrkit.models import (
    compute_dtype,
    device,
    load_tokenizer,
    model_path,
    quantization,
)
from lrkit.profiles import AnswerSettings, load_profile


def base_with_head(
    settings: AnswerSettings, n_labels: int, pad_id: int
) -> PreTrainedModel:
    """The base under a new head and a fresh adapter; the head is trained in full."""
    config = quantization(settings.load_in_4bit)
    if config is not None:
        config.llm_int8_skip_modules = ["score", "classifier"]  # the head's two names
    model = AutoModelForSequenceClassification.from_pretrained(
        model_path(settings.base),
        num_labels=n_labels,
        quantization_config=config,
        dtype=compute_dtype(),
        device_map={"": device()},
        use_safetensors=True,
    )
    model.config.pad_token_id = pad_id  # the head reads the last token that is no pad
    if settings.load_in_4bit:
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )
    lora = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=[t for t in settings.lora_targets if t != "lm_head"],
        bias="none",
        task_type="SEQ_CLS",
    )
    return get_peft_model(model, lora)


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """The base with a classification head, trained on labels alone.

    Args:
        settings: sizes and hyper-parameters; None: those of the `cpu` profile.
        labels: label words.
        question: what the prompt asks.
        seed: random seed of the training.
        batch_tokens: padded tokens per forward pass when scoring.

    After `fit`: `classes_`, `model_`, `tokenizer_`, `log_` (the trainer's).
    """

    def __init__(
        self,
        settings: AnswerSettings | None = None,
        labels: Sequence[str] = ("yes", "no"),
        question: str = QUESTION,
        seed: int = 0,
        batch_tokens: int = 4096,
    ):
        self.settings = settings
        self.labels = labels
        self.question = question
        self.seed = seed
        self.batch_tokens = batch_tokens

    def fit(self, messages: Sequence[str], y: Sequence[str]) -> HeadClassifier:
        """Train on conversations and labels.

        Raises:
            ValueError: for a label that is none of `labels`.
        """
        settings = self.settings or load_profile("cpu").answer
        self.classes_ = np.array(sorted(self.labels))
        number = {label: k for k, label in enumerate(self.classes_)}
        if unknown := set(y) - set(number):
            known = ", ".join(self.classes_)
            raise ValueError(f"labels {sorted(unknown)} are none of {known}.")
        set_seed(self.seed)
        self.tokenizer_ = load_tokenizer(settings.base)
        self.builder_ = PromptBuilder(
            self.tokenizer_, self.question, settings.prompt, settings.max_tokens,
            tuple(self.labels),
        )  # fmt: skip
        pad_id = self.tokenizer_.pad_token_id
        self.model_ = base_with_head(settings, len(number), pad_id)
        rows = [
            {"input_ids": self.builder_.prompt(m), "labels": number[label]}
            for m, label in zip(messages, y, strict=True)
        ]
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=self.model_,
                args=TrainingArguments(
                    **common_arguments(settings, Path(folder), self.seed),
                    save_strategy="no",
                ),
                train_dataset=rows,
                data_collator=lambda batch: _collated(batch, pad_id),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        self.log_ = trainer.state.log_history
        self.model_.eval()
        return self

    @torch.inference_mode()
    def predict_proba(self, messages: Sequence[str]) -> np.ndarray:
        """[rows, classes]: probabilities in the order of `classes_`."""
        check_is_fitted(self, "model_")
        prompts = [self.builder_.prompt(m) for m in messages]
        proba = np.empty((len(prompts), len(self.classes_)))
        pad_id = self.tokenizer_.pad_token_id
        for batch in batches_by_length(prompts, self.batch_tokens):
            inputs = left_pad([prompts[i] for i in batch], pad_id, self.model_.device)
            proba[batch] = self.model_(**inputs).logits.float().softmax(-1).cpu()
        return proba

    def predict(self, messages: Sequence[str]) -> np.ndarray:
        """The more probable label of each conversation."""
        return self.classes_[self.predict_proba(messages).argmax(1)]


def _collated(batch: list[dict], pad_id: int) -> dict[str, torch.Tensor]:
    rows = [row["input_ids"] for row in batch]
    labels = torch.tensor([row["labels"] for row in batch])
    return left_pad(rows, pad_id, torch.device("cpu")) | {"labels": labels}
