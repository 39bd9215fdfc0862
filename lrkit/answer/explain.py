"""The reason, written after the answer was read: by request, for single conversations.

It explains what the model would say, not how it decided: the answer is read before a
word of the reason exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lrkit.answer.label_ids import LabelIds, label_probabilities
from lrkit.answer.prompts import encode_inner

if TYPE_CHECKING:
    from lrkit.answer.classifier import OneTokenClassifier


@torch.inference_mode()
def explain(
    classifier: OneTokenClassifier,
    message: str,
    label: str | None = None,
    max_new_tokens: int = 80,
) -> dict[str, Any]:
    """The answer, and the reason that the model writes after it (greedy).

    The prompt is computed once; its cache is what the reason continues from.

    Args:
        classifier: a fitted one.
        message: one conversation.
        label: the answer to give reasons for; None: the predicted one.
        max_new_tokens: longest reason.

    Returns:
        `label`, `confidence` (the probability of this label), `label_mass`,
        `reason` (text after the label).

    Raises:
        ValueError: for a label that is none of `classes_`.
    """
    names = classifier.classes_.tolist()
    if label is not None and label not in names:
        raise ValueError(f"no label {label!r}: choose one of {', '.join(names)}.")
    model, tokenizer = classifier.model_, classifier.tokenizer_
    (prompt,) = classifier.prompts([message])
    ids = torch.tensor([prompt], device=model.device)
    out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    if isinstance(classifier.label_ids_, LabelIds):
        log_mass = classifier.label_ids_.log_mass(out.logits[:, -1].cpu())
    else:
        log_mass = classifier.label_ids_.score(classifier.engine_, [prompt])
    proba, mass = label_probabilities(log_mass)
    chosen = proba[0].argmax() if label is None else names.index(label)
    answer_ids = encode_inner(tokenizer, names[chosen])
    started = torch.tensor([prompt + answer_ids], device=model.device)
    written = model.generate(
        input_ids=started,
        attention_mask=torch.ones_like(started),
        past_key_values=out.past_key_values,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    new = written[0, started.shape[1] :]
    text = tokenizer.decode(new, skip_special_tokens=True)
    return {
        "label": names[chosen],
        "confidence": float(proba[0, chosen]),
        "label_mass": float(mass[0]),
        "reason": text.removeprefix(",").strip(),
    }
