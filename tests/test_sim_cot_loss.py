"""Laws of SIM-CoT: the loss of the steps, and where its gradient goes."""

import dataclasses

import pytest
import torch
from sim_cot_models import (  # noqa: F401 (fixtures)
    PROBLEMS,
    base_fixture,
    batch,
    latents_for,
    model_fixture,
    rows_fixture,
    steps_of,
)

from lrkit.latent.codi import CodiModel
from lrkit.latent.layout import IGNORED
from lrkit.latent.slots import SlotModel


# --- the loss -------------------------------------------------------------------------
@torch.no_grad()
@pytest.mark.parametrize("c", [1, 2])
def test_the_loss_of_the_steps_is_what_one_step_after_another_gives(model, rows, c):
    model.config.per_step = c
    latents = latents_for(PROBLEMS, 3 * c)
    decoder, end = model.step_decoder, rows.tokenizer.eos_token_id
    table, mark = decoder.get_input_embeddings(), rows.encode("\n")
    nats = []
    for i, p in enumerate(PROBLEMS):
        for k, step in enumerate(p.steps):
            target = [*rows.encode(step), end]
            read = table(torch.tensor([*mark, *target[:-1]]))
            vectors = torch.cat([latents[i, k * c : k * c + c], read])
            logprobs = decoder(inputs_embeds=vectors[None]).logits[0].log_softmax(-1)
            begin = c + len(mark) - 1
            nats += [-logprobs[begin + j, token] for j, token in enumerate(target)]
    found = model.step_loss(latents, *steps_of(batch(model, rows, PROBLEMS, 3 * c)))
    assert torch.allclose(found, torch.stack(nats).mean(), rtol=1e-5)


@torch.no_grad()
def test_the_loss_is_codis_and_that_of_the_latents_that_were_written(model, rows):
    model.config.delta = 0.5
    inputs = batch(model, rows, PROBLEMS)
    out = model(**inputs)
    ids, labels = inputs.pop("step_ids"), inputs.pop("step_labels")
    codi = CodiModel.forward(model, **inputs)
    assert torch.equal(out.ce_steps, model.step_loss(codi.latents, ids, labels))
    assert torch.allclose(out.loss, codi.loss + 0.5 * out.ce_steps)
    assert out.ce_steps > 0
    for name in ("logits", "latents", "ce_student", "ce_teacher", "kd"):
        assert torch.equal(out[name], codi[name]), name


@torch.no_grad()
def test_without_weight_or_without_steps_it_is_codi_to_the_bit(model, rows, base):
    torch.manual_seed(0)
    codi = CodiModel.wrap(base, gamma=2.0).eval()
    inputs = batch(model, rows, PROBLEMS)
    model.config.delta = 0.0
    plain = {k: v for k, v in inputs.items() if not k.startswith("step_")}
    assert torch.equal(model(**inputs).loss, codi(**plain).loss)
    model.config.delta = 1.0
    assert torch.equal(model(**plain).loss, codi(**plain).loss)


@torch.no_grad()
def test_without_a_teacher_the_loss_is_that_of_coconut_with_steps(model, rows):
    inputs = batch(model, rows, PROBLEMS)
    inputs = {k: v for k, v in inputs.items() if "teacher" not in k and k != "cue"}
    out = model(**inputs)
    ids, labels = inputs.pop("step_ids"), inputs.pop("step_labels")
    plain = SlotModel.forward(model, **inputs)
    expected = plain.loss + model.step_loss(plain.latents, ids, labels)
    assert torch.allclose(out.loss, expected)


@torch.no_grad()
def test_the_loss_of_a_row_does_not_depend_on_its_batch(model, rows):
    together = model(**batch(model, rows, PROBLEMS)).ce_steps
    alone = [batch(model, rows, [p]) for p in PROBLEMS]
    tokens = [int((inputs["step_labels"] != IGNORED).sum()) for inputs in alone]
    weighted = sum(
        model(**inputs).ce_steps * n for inputs, n in zip(alone, tokens, strict=True)
    )
    assert torch.allclose(together, weighted / sum(tokens), rtol=1e-4)


@torch.no_grad()
def test_what_stands_in_padding_does_not_matter(model, rows):
    ids, labels = steps_of(batch(model, rows, PROBLEMS))
    begin = len(rows.encode("\n"))
    noisy = torch.where(labels == IGNORED, torch.full_like(ids, 7), ids)
    noisy[..., :begin] = ids[..., :begin]
    latents = latents_for(PROBLEMS)
    assert not torch.equal(noisy, ids)
    expected = model.step_loss(latents, ids, labels)
    assert torch.allclose(model.step_loss(latents, noisy, labels), expected)


def test_no_step_at_all_is_a_loss_of_nothing(model, rows):
    no_steps = [dataclasses.replace(p, steps=()) for p in PROBLEMS]
    for problems, n in ((no_steps, 4), (PROBLEMS, 0)):
        out = model(**batch(model, rows, problems, n))
        assert out.ce_steps == 0 and torch.isfinite(out.loss)
        out.loss.backward()
    one = batch(model, rows, [no_steps[0], PROBLEMS[0]])
    assert torch.isfinite(model(**one).loss)


# --- gradient -------------------------------------------------------------------------
def test_the_decoder_draws_at_the_latents_of_steps_and_at_no_others(model, rows):
    model.config.per_step = 2
    latents = latents_for(PROBLEMS, 8).requires_grad_()
    inputs = batch(model, rows, PROBLEMS, 8)
    model.step_loss(latents, *steps_of(inputs)).backward()
    drawn = latents.grad.abs().sum(-1) > 0
    expected = [[k < 2 * p.n_steps for k in range(8)] for p in PROBLEMS]
    assert drawn.tolist() == expected


def gradients(model, inputs, delta, supervise=True):
    model.config.delta, model.config.supervise = delta, supervise
    model.zero_grad()
    model(**inputs).loss.backward()
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in model.named_parameters()
    }


def test_the_gradient_of_the_steps_reaches_all_that_writes_latents(model, rows):
    inputs = batch(model, rows, PROBLEMS)
    codi, both, probe = (
        gradients(model, inputs, *how) for how in ((0.0,), (1.0,), (1.0, False))
    )
    for name in codi:
        of_decoder = name.startswith("step_decoder.")
        assert bool(codi[name].any()) != of_decoder, name
        if of_decoder:
            assert both[name].any() and torch.allclose(both[name], probe[name]), name
        else:
            assert torch.allclose(probe[name], codi[name]), name
            writes = "lm_head" not in name
            assert torch.allclose(both[name], codi[name]) != writes, name
