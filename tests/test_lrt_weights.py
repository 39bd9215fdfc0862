"""Weights beside the base: they alone get gradient, and files keep them bit for bit."""

import pytest
import torch
from lrt_models import PROBLEMS, T, batch, gpt2, some_rows, wrapped

from lrkit.latent.adapted import load_adapted, save_adapted
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import collate
from lrkit.latent.lrt import LrtModel, SoftPromptModel
from lrkit.latent.lrt_methods import trainable
from lrkit.latent.slots import SLOT
from lrkit.models import load_model, load_tokenizer


@pytest.mark.parametrize("kind", [LrtModel, SoftPromptModel])
def test_gradient_reaches_all_that_is_beside_the_base_and_nothing_of_it(kind):
    model = wrapped(kind=kind).train()
    model(**batch(model, some_rows((5, 5)))).loss.backward()
    for name, weight in model.named_parameters():
        beside = name.startswith(("network.", "prompt"))
        assert weight.requires_grad == beside, name
        assert (weight.grad is not None and weight.grad.abs().sum() > 0) == beside, name


def test_the_frozen_base_has_no_dropout_in_training_either():
    torch.manual_seed(0)
    model = LrtModel.wrap(gpt2(dropout=0.5), n_latents=T).train()
    x = batch(model, some_rows((5, 5)))
    assert torch.equal(model(**x).logits, model(**x).logits)
    assert model.training and model.network.training and not model.base.training


@torch.no_grad()
@pytest.mark.parametrize("kind", [LrtModel, SoftPromptModel])
def test_saved_and_loaded_it_says_the_same_bit_for_bit_and_is_frozen(kind, tmp_path):
    model = wrapped("gpt2", kind=kind)
    x = batch(model, some_rows((5, 5)))
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**x).logits, model(**x).logits)
    assert trainable(again) == trainable(model)
    assert not any(w.requires_grad for w in again.base.parameters())


@torch.no_grad()
def test_what_is_beside_the_base_can_be_saved_without_it(tiny_llama, tmp_path):
    torch.manual_seed(0)
    model = LrtModel.wrap(load_model(tiny_llama), n_latents=3).eval()
    rows = ChainRows.of(model, load_tokenizer(tiny_llama))
    x = collate([rows.latent(PROBLEMS[0], 3)], model.id_of(SLOT))
    save_adapted(model, tmp_path, tiny_llama)
    again = load_adapted(LrtModel, tmp_path).eval()
    assert torch.equal(again(**x).logits, model(**x).logits)
    saved = sum(f.stat().st_size for f in tmp_path.rglob("*.safetensors"))
    assert saved < 4.2 * (trainable(model) + model.rows.weight.numel()) + 10_000
