"""Tiny models of Latent-SFT that its test files share."""

import torch
from latent_models import problem, tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel

from lrkit.latent.latent_sft import LatentSFTModel
from lrkit.latent.latent_sft_rows import ThoughtCollator, ThoughtRows
from lrkit.latent.latent_sft_solver import think
from lrkit.latent.latent_sft_student import LatentSFTStudent
from lrkit.latent.layout import SlotRow, collate

# Chains of unlike lengths, and none.
PROBLEMS = [problem(3), problem(1), problem(0, answer="1"), problem(5, answer="-12")]


def tiny_gpt2(vocab, seed=0):
    """A random GPT-2: learned positions, and a tied output layer."""
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab, n_embd=32, n_layer=2, n_head=4, n_positions=256,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


BASES = {"llama": tiny_llama, "gpt2": tiny_gpt2}


def larger(model, factor=8):
    """The same model with larger weights: what it says hangs on all that it reads."""
    weights = {id(w): w for w in model.parameters() if w.ndim == 2}
    for weight in weights.values():
        weight.data *= factor
    return model


def stage_one(family, tokenizer, piece=2, context=256, **config):
    """(encoder and decoder, rows) in evaluation mode, of unlike random weights."""
    rows = ThoughtRows.of(tokenizer, piece, context)
    encoder, decoder = (larger(BASES[family](len(tokenizer)), 4) for _ in range(2))
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight += 0.02 * torch.randn_like(weight)
    model = LatentSFTModel.wrap(encoder, decoder, end=rows.end, **config)
    return model.eval(), rows


def batch_of(model, rows, problems, pad=0):
    return ThoughtCollator(model.latent_id, pad)([rows.row(p) for p in problems])


QUESTIONS = [problem(1 + k % 7).question + f" Say it {k}." * (k % 3) for k in range(16)]


def begin(model, rows, questions=QUESTIONS):
    """Inputs of thoughts about questions."""
    made = [SlotRow(rows.asked(q).before) for q in questions]
    inputs = collate(made, model.id_of("<slot>"), rows.rows.tokenizer.pad_token_id)
    return {k: inputs[k] for k in ("input_ids", "attention_mask")}


def undecided(family, tokenizer, rows, n_max):
    """A student whose output layer is such that some thoughts about `QUESTIONS` end at
    once, others late or never."""
    torch.manual_seed(0)
    base = larger(BASES[family](len(tokenizer)), 8)
    model = LatentSFTStudent.wrap(base, end=rows.end).eval()
    head = base.get_output_embeddings()
    for seed in range(300):
        torch.manual_seed(seed)
        with torch.no_grad():
            row = torch.randn_like(head.weight[rows.end])
            usual = head.weight.norm(dim=1).median()
            head.weight[rows.end] = 2.2 * usual * row / row.norm()
        thoughts = think(model, **begin(model, rows), end=rows.end, n_max=n_max)
        lengths = set(thoughts.n_latents)
        if {0, n_max} <= lengths and len(lengths) >= 4:
            return model
    raise AssertionError("no output layer ends thoughts now so, now so")
