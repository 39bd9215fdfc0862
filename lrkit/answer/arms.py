"""What an arm of the experiment writes after the prompt, and what is supervised."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from datasets import Dataset

from lrkit.answer.prompts import Example, PromptBuilder
from lrkit.profiles import AnswerSettings


@dataclass(frozen=True)
class Arm:
    """What is written after the prompt, and which rows are used.

    Attributes:
        name: how the arm is called in tables.
        order: "label" (no reason), "label_reason" (the method) or "reason_label".
        shuffled: reasons come from other rows of about the same length.
        extra: use the 10,000 label-only rows instead of the gold standard.
        neftune_alpha: NEFTune noise; None: the settings'.
        plain_mean: loss as a plain mean over completion tokens, whatever share of it
            the settings give to the answer.
        epochs: passes over the rows; None: the settings'.
    """

    name: str
    order: str = "label_reason"
    shuffled: bool = False
    extra: bool = False
    neftune_alpha: float | None = None
    plain_mean: bool = False
    epochs: float | None = None

    def applied_to(self, settings: AnswerSettings) -> AnswerSettings:
        """The settings as this arm changes them."""
        changes: dict[str, Any] = {}
        if self.epochs is not None:
            changes["epochs"] = self.epochs
        if self.neftune_alpha is not None:
            changes["neftune_alpha"] = self.neftune_alpha
        if self.plain_mean or self.order == "reason_label":
            changes["answer_weight"] = None  # its first token may be no answer
        return replace(settings, **changes)


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("label only", order="label"),
        Arm("label + reason"),
        Arm("label + shuffled reason", shuffled=True),
        Arm("reason + label", order="reason_label"),
        Arm("10,000 labels", order="label", extra=True, epochs=1),
        Arm("label + reason, NEFTune", neftune_alpha=5.0),
        Arm("label + reason, plain mean", plain_mean=True),
    )
}


def shuffled_reasons(
    reasons: Sequence[str], lengths: Sequence[int], seed: int, block: int = 16
) -> list[str]:
    """Every row gets the reason of another row of about the same length.

    Rows are ordered by length and rotated within blocks, so that the lengths, and with
    them the number of supervised tokens, hardly change while no row keeps its own.

    Raises:
        ValueError: for fewer than two reasons.
    """
    if len(reasons) < 2:
        raise ValueError("shuffling needs at least two reasons.")
    rng = random.Random(seed)
    order = sorted(range(len(reasons)), key=lambda i: (lengths[i], rng.random()))
    cuts = list(range(0, len(order), block))
    if len(cuts) > 1 and len(order) - cuts[-1] < 2:
        cuts.pop()  # a lone last row would keep its own reason
    out: list[str] = [""] * len(reasons)
    for a, b in zip(cuts, [*cuts[1:], len(order)], strict=True):
        members = order[a:b]
        shift = rng.randrange(1, len(members))
        for k, i in enumerate(members):
            out[i] = reasons[members[(k + shift) % len(members)]]
    return out


def build_examples(
    builder: PromptBuilder, rows: pd.DataFrame, arm: Arm, seed: int = 0
) -> list[Example]:
    """Prompt and completion ids of every row under an arm.

    Raises:
        lrkit.answer.prompts.PromptTooLong: when a row does not fit the context.
    """
    messages, labels = rows["running_message"].tolist(), rows["label"].tolist()
    prompts = [builder.prompt(m) for m in messages]
    if arm.order == "label":
        completions = [builder.completion(label) for label in labels]
    else:
        reasons = rows["reason"].tolist()
        if arm.shuffled:
            lengths = [len(builder.completion("", r)) for r in reasons]
            reasons = shuffled_reasons(reasons, lengths, seed)
        write = (
            builder.completion if arm.order == "label_reason" else builder.reason_first
        )
        completions = [write(*lr) for lr in zip(labels, reasons, strict=True)]
    examples = [Example(*pc) for pc in zip(prompts, completions, strict=True)]
    builder.check_lengths(rows["id"].tolist(), examples)
    return examples


def to_dataset(examples: Sequence[Example]) -> Dataset:
    """Pre-tokenised rows for `SFTTrainer`: `labels` are -100 over the prompt."""
    return Dataset.from_list(
        [
            {
                "input_ids": e.prompt + e.completion,
                "labels": [-100] * len(e.prompt) + e.completion,
            }
            for e in examples
        ]
    )
