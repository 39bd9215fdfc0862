"""Tiny models of Latent Reasoning Tuning, and rows, that its test files share."""

import torch
from latent_models import problem
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.lrt import LrtModel
from lrkit.latent.reasoning_network import small_body
from lrkit.latent.slots import SLOT

VOCAB, WIDTH, T = 60, 32, 5
PROBLEMS = [problem(k, question=f"Question {k}, what is it?" + " Well?" * k)
            for k in (1, 2, 3, 4)]  # fmt: skip
QUESTIONS = [p.question for p in PROBLEMS]


def llama(vocab=VOCAB):
    """With grouped-query attention."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab, hidden_size=WIDTH, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            max_position_embeddings=256,
        )
    )  # fmt: skip


def gpt2(vocab=VOCAB, dropout=0.0):
    """With learned positions and a tied output layer."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=256,
            resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


BASES = {"llama": llama, "gpt2": gpt2}
BODIES = {
    "llama": lambda: small_body(24, 2, 4),
    "gpt2": lambda: GPT2Config(
        vocab_size=1, n_embd=24, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0,
        embd_pdrop=0, attn_pdrop=0,
    ),
}  # fmt: skip


def loud(model, times=8):
    """Weights so large that every mistake shows."""
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data *= times
    return model


def wrapped(base="llama", body="llama", kind=LrtModel, **config):
    torch.manual_seed(0)
    if kind is LrtModel:
        config["body"] = BODIES[body]()
    model = kind.wrap(loud(BASES[base]()), n_latents=T, **config)
    if kind is LrtModel:
        loud(model.network.body, 6)
    return model.eval()


def some_rows(n_slots=(5, 5, 3, 0)):
    torch.manual_seed(1)
    rows = []
    for k, n in enumerate(n_slots):
        before = torch.randint(1, VOCAB, (3 + 2 * k,)).tolist()
        rest = torch.randint(1, VOCAB, (2 + k % 3,)).tolist()
        rows.append(SlotRow(before, n, rest, supervised=len(rest) - 1))
    return rows


def batch(model, rows):
    return collate(rows, model.id_of(SLOT))
