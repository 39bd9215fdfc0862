"""Tiny models with slots, and problems, that several test files share."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lrkit.data.problems import Problem
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.slots import SlotModel


def problem(n_steps=3, answer=None, question=None):
    """A problem of additions: 1 + 1 + 1 ..."""
    steps = tuple(f"<<{k}+1={k + 1}>>" for k in range(1, n_steps + 1))
    return Problem(
        id=f"p{n_steps}",
        question=question
        or "Start with 1 and add 1 " + f"{n_steps} times. What is it?",
        steps=steps,
        answer=str(n_steps + 1) if answer is None else answer,
        task="clock",
        split="train",
        made_from={"start": 1, "operations": [["+", 1]] * n_steps},
    )


def tiny_llama(vocab, width=32, layers=2):
    """A random Llama with grouped-query attention."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab, hidden_size=width, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            max_position_embeddings=256,
        )
    )  # fmt: skip


def rows_for(model, tokenizer, context=256):
    return ChainRows.of(model, tokenizer, context)


def lively(tokenizer):
    """A model with slots whose weights are large: its answers hang on what it reads."""
    model = SlotModel.wrap(tiny_llama(len(tokenizer)), map={"kind": "mlp"}).eval()
    for weight in model.base.parameters():
        if weight.ndim == 2:
            weight.data *= 8
    return model
