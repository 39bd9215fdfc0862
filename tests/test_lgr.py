"""Laws of the thinker: what it reads, what its two losses are, what they reach."""

import pytest
import torch
from latent_models import tiny_llama
from lgr_models import PROBLEMS, QUESTIONS, WIDE, K, thinker
from peft import LoraConfig, get_peft_model

from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.lgr import ThinkerConfig, ThinkerModel, weights_of
from lrkit.latent.lgr_rows import ThinkerCollator, ThinkerRows
from lrkit.latent.slots import SLOT

BASES = ("gpt2", "llama")


def batch_of(model, rows, problems=PROBLEMS):
    return ThinkerCollator.of(model)([rows.both(p) for p in problems])


@pytest.mark.parametrize("family", BASES)
@pytest.mark.parametrize("seen", [False, True])
@torch.no_grad()
def test_both_losses_by_hand(chatml, family, seen):
    """The two formulae, without slots, cache or padding."""
    model, rows = thinker(chatml, family, recon_sees_question=seen)
    p = PROBLEMS[1]
    row = rows.task(p)
    vectors = model.embed(torch.tensor([[*row.before, *row.rest]]))
    out = model.base(inputs_embeds=vectors, output_hidden_states=True)
    states, n = out.hidden_states[-1], len(row.before)
    guidance = states[:, n - K : n]
    answer = rows.answer(p.answer).ids
    logp = out.logits.log_softmax(-1)[0]
    task = -sum(
        logp[n + i, token] for i, token in enumerate(answer)
    )  # <eot> stands at n and predicts the first of them
    chain = rows.steps(p.steps)
    before = [*(rows.question(p.question) if seen else []), rows.bot]
    first = model.embed(torch.tensor([before]))
    rest = model.embed(torch.tensor([[rows.recon, *chain]]))
    logits = model.base(inputs_embeds=torch.cat([first, guidance, rest], 1)).logits
    logp, at = logits.log_softmax(-1)[0], len(before) + K
    recon = -sum(logp[at + i, token] for i, token in enumerate(chain))
    found = model(**batch_of(model, rows, [p]))
    assert torch.allclose(found.guidance, guidance, atol=1e-4)
    assert torch.allclose(found.task_loss, task / len(answer), rtol=1e-4)
    assert torch.allclose(found.recon_loss, recon / len(chain), rtol=1e-4)
    assert torch.allclose(found.loss, found.task_loss + found.recon_loss)


@pytest.mark.parametrize("family", BASES)
@torch.no_grad()
def test_guidance_and_losses_do_not_depend_on_the_batch(chatml, family):
    model, rows = thinker(chatml, family, recon_sees_question=True)
    together = model(**batch_of(model, rows))
    n_answer = n_chain = task = recon = 0
    for i, p in enumerate(PROBLEMS):
        one = model(**batch_of(model, rows, [p]))
        assert torch.allclose(together.guidance[i], one.guidance[0], atol=1e-4)
        answer, chain = len(rows.answer(p.answer).ids), len(rows.steps(p.steps))
        n_answer, n_chain = n_answer + answer, n_chain + chain
        task += answer * one.task_loss
        recon += chain * one.recon_loss if chain else 0
    assert torch.allclose(together.task_loss, task / n_answer, rtol=1e-3)
    assert torch.allclose(together.recon_loss, recon / n_chain, rtol=1e-3)


@torch.no_grad()
def test_guidance_is_that_of_the_question_alone(chatml):
    """Neither the answer nor the chain is anywhere before the thoughts."""
    model, rows = thinker(chatml)
    with_answer = model(**batch_of(model, rows)).guidance
    asked = collate([rows.thinking(q) for q in QUESTIONS], model.id_of(SLOT))
    alone = model.guide(asked["input_ids"], asked["attention_mask"])
    assert torch.allclose(with_answer, alone, atol=1e-4)
    assert alone.shape == (len(QUESTIONS), K, WIDE)


def test_thoughts_have_rows_of_their_own_that_are_trained(chatml):
    model, rows = thinker(chatml)
    assert len(set(model.thoughts)) == K and min(model.thoughts) >= len(chatml)
    model(**batch_of(model, rows)).loss.backward()
    grads = model.rows.weight.grad.abs().sum(1)
    used = [*rows.thoughts, rows.bot, rows.eot, rows.recon]
    assert (grads[[t - model.first_special for t in used]] > 0).all()
    unused = [rows.pause, model.id_of(SLOT)]
    assert (grads[[t - model.first_special for t in unused]] == 0).all()


@pytest.mark.parametrize("losses", [("task",), ("recon",), ("task", "recon")])
def test_each_loss_can_be_switched_off_and_reaches_the_thoughts(chatml, losses):
    model, rows = thinker(chatml, **weights_of(losses))
    out = model(**batch_of(model, rows))
    assert (out.task_loss is not None) == ("task" in losses)
    assert (out.recon_loss is not None) == ("recon" in losses)
    wanted = sum(
        p for p in (out.task_loss, out.recon_loss) if p is not None
    )  # each of weight 1
    assert torch.allclose(out.loss, wanted)
    out.loss.backward()
    thoughts = [t - model.first_special for t in rows.thoughts]
    assert (model.rows.weight.grad[thoughts].abs().sum(1) > 0).all()
    recon = model.rows.weight.grad[rows.recon - model.first_special].abs().sum()
    assert (recon > 0) == ("recon" in losses)


def test_the_reconstruction_reaches_the_thoughts_through_the_guidance_alone(chatml):
    """H is not detached; cut there, the first pass would learn nothing from it."""
    model, rows = thinker(chatml, **weights_of(["recon"]))
    reconstruct = model.reconstruct
    model.reconstruct = lambda guidance, *a: reconstruct(guidance.detach(), *a)
    model(**batch_of(model, rows)).loss.backward()
    thoughts = [t - model.first_special for t in rows.thoughts]
    assert (model.rows.weight.grad[thoughts] == 0).all()


def test_rows_of_both_passes(chatml):
    _, rows = thinker(chatml)
    p = PROBLEMS[0]
    row = rows.reconstruction(p)
    chain = rows.steps(p.steps)
    assert list(row.before) == [rows.bot] and row.n_slots == K
    assert list(row.rest) == [rows.recon, *chain] and row.supervised == len(chain)
    seen = ThinkerRows.of(thinker(chatml, recon_sees_question=True)[0], chatml)
    question = rows.question(p.question)
    assert list(seen.reconstruction(p).before) == [*question, rows.bot]
    assert rows.reconstruction(PROBLEMS[3]).supervised == 0, "there is no chain"
    task = rows.task(p)
    assert list(task.before) == [*question, rows.bot, *rows.thoughts]
    assert task.n_slots == 0 and task.supervised == len(task.rest) - 1
    assert rows.asked(p.question, K) == SlotRow(task.before, 0, [rows.eot, *rows.cue()])
    with pytest.raises(ValueError, match="has 3 thoughts, not 4"):
        rows.asked(p.question, 4)


@torch.no_grad()
def test_saved_and_loaded_it_thinks_the_same(chatml, tmp_path):
    model, rows = thinker(chatml, recon=0.5, recon_sees_question=True)
    model.save_pretrained(tmp_path)
    again = ThinkerModel.from_pretrained(tmp_path).eval()
    x = batch_of(model, rows)
    assert torch.equal(again(**x).loss, model(**x).loss)
    assert torch.equal(again(**x).guidance, model(**x).guidance)
    assert again.config.recon_sees_question and again.config.recon == 0.5


def test_a_base_under_lora_is_adapted_and_nothing_else_of_it(chatml):
    base = tiny_llama(len(chatml), WIDE).requires_grad_(False)
    base = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear"))
    torch.manual_seed(0)
    model = ThinkerModel.wrap(base, n_thoughts=K)
    rows = ThinkerRows.of(model, chatml)
    model(**batch_of(model, rows)).loss.backward()
    for name, weight in model.named_parameters():
        trained = "lora_" in name or not name.startswith("base.")
        assert weight.requires_grad == trained, name
    assert model.rows.weight.grad.abs().sum() > 0
    assert any(
        w.grad is not None and w.grad.abs().sum() > 0
        for n, w in model.named_parameters()
        if "lora_B" in n
    )


def test_what_cannot_be_is_refused(chatml):
    for options, said in (
        ({"n_thoughts": 0}, "0 thoughts cannot be"),
        ({"task": 0, "recon": 0}, "one of them above 0"),
        ({"task": -1}, "0 or more"),
    ):
        with pytest.raises(ValueError, match=said):
            ThinkerConfig(**options)
    with pytest.raises(ValueError, match=r"no losses \['reconstruction'\]"):
        weights_of(["reconstruction"])
    model, rows = thinker(chatml)
    row = rows.thinking(QUESTIONS[0])
    for wrong in ([*row.before[:-1]], [*row.before[:-2], *row.before[:-3:-1]]):
        with pytest.raises(ValueError, match="must have the 3 thought tokens"):
            model.guide(torch.tensor([wrong]))
