"""Chains, and tiny readers of them, that test files of damaged chains share."""

import pytest
import torch
from latent_models import lively, problem
from transformers import GPT2Config, GPT2LMHeadModel

from lrkit.study.redundancy.measuring import Damage, WrittenChain, damaged_ids
from lrkit.study.redundancy.reading import Reader
from lrkit.study.redundancy.splitting import terse

PROBLEMS = [problem(k, question=f"Question {k}, what is it?") for k in (1, 2, 3, 4)]
CHAINS = [WrittenChain(p.id, p.question, " ".join(p.steps) + "\n", p.answer)
          for p in PROBLEMS]  # fmt: skip


def random_gpt2(vocab):
    """With learned positions: a prompt that is read at others shows."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=256,
            initializer_range=0.3, bos_token_id=None,
        )
    )  # fmt: skip


@pytest.fixture(name="reader", params=["llama", "gpt2"])
def reader_fixture(request, chatml):
    model = random_gpt2(len(chatml)) if request.param == "gpt2" else lively(chatml).base
    return Reader.of_model(model.eval(), chatml, max_answer=4, max_chain=12)


def ids_of(reader, chain, kind, p=0.0, seed=0, other=None):
    damage = Damage(kind, p, seed)
    return damaged_ids(reader.template.encode, terse, chain, damage, other)
