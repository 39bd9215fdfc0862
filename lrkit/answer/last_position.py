"""Logits and hidden states at the last position of many prompts, the plain way.

Padding, masks and positions are all there is to it; the notebooks read this one. The
classifier scores through `lrkit.answer.engine`, which also shares the prompts' common
beginning; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from lrkit.answer.engine import batches_by_length, left_pad


@torch.inference_mode()
def last_position(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    pad_id: int,
    batch_tokens: int = 4096,
    hidden_layer: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits, and on request a hidden state, at each prompt's last position.

    Args:
        model: any causal LM of transformers, also a `PeftModel`.
        prompts: token ids per row, of any lengths.
        pad_id: id for padding; masked, its value does not matter.
        batch_tokens: padded tokens per forward pass; bounds the memory.
        hidden_layer: index into `hidden_states`, e.g. -1 for the last layer.

    Returns:
        `(logits, hidden)`: [rows, vocabulary] and [rows, width] or None, float32 on
        the CPU, in the order of `prompts`.
    """
    model.eval()
    logits: list[torch.Tensor] = [torch.empty(0)] * len(prompts)
    hidden: list[torch.Tensor] = [torch.empty(0)] * len(prompts)
    for batch in batches_by_length(prompts, batch_tokens):
        out = model(
            **left_pad([prompts[i] for i in batch], pad_id, model.device),
            use_cache=False,
            logits_to_keep=1,
            output_hidden_states=hidden_layer is not None,
        )
        for row, i in enumerate(batch):
            logits[i] = out.logits[row, -1].float().cpu()
            if hidden_layer is not None:
                hidden[i] = out.hidden_states[hidden_layer][row, -1].float().cpu()
    stacked = torch.stack(logits) if logits else torch.empty(0, 0)
    return stacked, torch.stack(hidden) if hidden_layer is not None else None
