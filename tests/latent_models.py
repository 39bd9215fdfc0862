"""Tiny models with slots, and problems, that several test files share."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lrkit.data.problems import Problem
from lrkit.latent.adaptive import CONTINUE, STOP, AdaptiveModel
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow, collate
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


def tiny_gpt2(vocab, width=32, layers=2):
    """A random GPT-2: learned positions, and a tied output layer."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab, n_embd=width, n_layer=layers, n_head=4, n_positions=256,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


BASES = {"llama": tiny_llama, "gpt2": tiny_gpt2}


def rows_for(model, tokenizer, context=256):
    return ChainRows.of(model, tokenizer, context)


def lively(tokenizer):
    """A model with slots whose weights are large: its answers hang on what it reads."""
    model = SlotModel.wrap(tiny_llama(len(tokenizer)), map={"kind": "mlp"}).eval()
    for weight in model.base.parameters():
        if weight.ndim == 2:
            weight.data *= 8
    return model


def undecided(base, **config):
    """An adaptive model with large weights, whose head decides now so, now so."""
    torch.manual_seed(0)
    for weight in base.parameters():
        if weight.ndim == 2:
            weight.data *= 8
    model = AdaptiveModel.wrap(base, **{"gamma": 2.0, **config}).eval()
    torch.manual_seed(3)
    model.stop_head.weight.data.normal_()
    return model


@torch.no_grad()
def balanced(model, rows, questions, n=4, odds=-0.7):
    """Scale the head of an adaptive model, so that drawn thoughts are of many lengths.

    Its log-odds of stopping get this mean and a spread of 1 over questions and latents.
    """
    made = [SlotRow(rows.asked(q, 0).before, n) for q in questions]
    out = model(**collate(made, model.id_of("<slot>")) | {"labels": None})
    states = torch.cat([out.read, out.after[:, None]], 1)
    weight, bias = model.stop_head.weight, model.stop_head.bias
    margin = states @ (weight[STOP] - weight[CONTINUE])
    weight /= margin.std()
    bias.copy_(torch.zeros(2))
    bias[STOP] = odds - margin.mean() / margin.std()
    return model
