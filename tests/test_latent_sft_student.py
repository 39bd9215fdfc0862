"""Laws of the student: one pass is what a row alone is, and what each loss is of."""

import pytest
import torch
from latent_models import problem
from latent_sft_models import BASES, PROBLEMS, larger, stage_one

from lrkit.latent.codi import distillation_loss
from lrkit.latent.latent_sft import written
from lrkit.latent.latent_sft_student import (
    LatentSFTStudent,
    LatentSFTStudentConfig,
    StudentCollator,
    StudentRow,
    divergence,
    previous_columns,
)
from lrkit.latent.slots import SlotModel
from lrkit.latent.soft_labels import encode_problems
from lrkit.latent.superposition import Mixture, one_hot


@pytest.fixture(scope="module", params=BASES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def encoded(family, chatml):
    """(rows, soft labels of either kind)."""
    model, rows = stage_one(family, chatml)
    labels = {"mixture": encode_problems(model, rows, PROBLEMS)}
    model.config.kind = "state"
    labels["state"] = encode_problems(model, rows, PROBLEMS)
    return rows, labels


def student(family, tokenizer, rows, **config):
    torch.manual_seed(3)
    base = larger(BASES[family](len(tokenizer)), 4)
    return LatentSFTStudent.wrap(base, end=rows.end, **config).eval()


@pytest.fixture(scope="module", params=["mixture", "state"])
def made(request, family, chatml, encoded):
    """(model, rows, soft labels) of one kind."""
    rows, labels = encoded
    kind = request.param
    model = student(family, chatml, rows, kind=kind, scale=0.1, weight=0.7)
    return model, rows, labels[kind]


def batch_of(made, problems, pad=0):
    model, rows, labels = made
    return StudentCollator.of(model, pad)(
        [StudentRow(rows.student(p), labels.of(p)) for p in problems]
    )


def by_hand(made, problem):
    """(cross-entropies of end and answer, divergence or (states, labels) of latents) of
    one problem: token by token in the order of the row, without padding."""
    model, rows, labels = made
    row, own = rows.student(problem), labels.of(problem)
    table = model.get_input_embeddings()
    vectors = torch.cat(
        [
            table(torch.tensor([list(row.before)])),
            written(own, table, 0.1)[None],
            table(torch.tensor([list(row.rest)])),
        ],
        1,
    )
    out = model.base(inputs_embeds=vectors, output_hidden_states=True)
    logprobs = out.logits[0].log_softmax(-1)
    n, slots = len(row.before), row.n_slots
    said = logprobs[n + slots - 1 : -1]
    ce = -said[range(len(row.rest)), list(row.rest)]
    before = slice(n - 1, n + slots - 1)
    if "states" in own:
        return ce, (out.hidden_states[-1][0, before], own["states"])
    kl = [
        sum(w * (w.log() - p[v]) for w, v in zip(weights, ids, strict=True))
        for weights, ids, p in zip(
            own["weights"], own["ids"], logprobs[before], strict=True
        )
    ]
    return ce, kl


# --- the loss -------------------------------------------------------------------------
@torch.no_grad()
def test_the_parts_of_the_loss_are_those_of_rows_one_by_one(made):
    out = made[0](**batch_of(made, PROBLEMS))
    parts = [by_hand(made, p) for p in PROBLEMS]
    assert torch.allclose(out.ce, torch.cat([ce for ce, _ in parts]).mean(), rtol=1e-4)
    if made[0].config.kind == "state":
        ours, theirs = zip(*(pair for _, pair in parts), strict=True)
        wanted = distillation_loss([torch.cat(ours)], [torch.cat(theirs)])
    else:
        wanted = torch.stack([kl for _, part in parts for kl in part]).mean()
    assert torch.allclose(out.kl, wanted, rtol=1e-3)
    assert torch.allclose(out.loss, out.ce + 0.7 * out.kl)


@torch.no_grad()
def test_one_pass_is_what_passes_over_a_cache_are(made):
    """Against the core's own order "given", of one length at a time: there the column
    before the end of thinking is the one before it in the batch."""
    model = made[0]
    for p in PROBLEMS:
        batch = batch_of(made, [p])
        soft = batch.pop("soft_labels")
        vectors = written(soft, model.get_input_embeddings(), 0.1)
        given = SlotModel.wrap(model.base, order="given").eval()
        ids = batch["input_ids"]
        slot = ids == model.id_of("<slot>")
        batch["input_ids"] = ids.where(~slot, given.id_of("<slot>"))
        there = given(**batch, latents=vectors if slot.any() else None)
        here = model(**batch | {"input_ids": ids}, soft_labels=soft)
        assert torch.allclose(here.ce, there.loss, rtol=1e-4)


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch_nor_on_the_padding(made, chatml):
    n_supervised = [len(made[1].student(p).rest) for p in PROBLEMS]
    n_slots = [made[1].student(p).n_slots for p in PROBLEMS]
    alone = [made[0](**batch_of(made, [p])) for p in PROBLEMS]
    ce = sum(o.ce * n for o, n in zip(alone, n_supervised, strict=True))
    for pad in (0, chatml.eos_token_id, made[1].end):
        out = made[0](**batch_of(made, PROBLEMS, pad))
        assert torch.allclose(out.ce, ce / sum(n_supervised), rtol=1e-4)
        if made[0].config.kind == "mixture":  # the distance has the spread of all rows
            kl = sum(o.kl * n for o, n in zip(alone, n_slots, strict=True))
            assert torch.allclose(out.kl, kl / sum(n_slots), rtol=1e-4)
        for i, n in enumerate(n_slots):
            assert not out.latents[i, n:].any()


@torch.no_grad()
def test_without_any_latent_the_end_comes_at_once(made):
    out = made[0](**batch_of(made, [problem(0, answer="1")]))
    assert out.kl == 0 and torch.isfinite(out.loss)
    ce, _ = by_hand(made, problem(0, answer="1"))
    assert torch.allclose(out.ce, ce.mean(), rtol=1e-4)


def test_the_divergence_is_nothing_for_equals_and_never_below():
    torch.manual_seed(0)
    logits = 3 * torch.randn(6, 40)
    whole = Mixture(logits.softmax(-1), torch.arange(40).expand(6, -1))
    assert divergence(whole, logits).abs() < 1e-6
    assert torch.allclose(
        divergence(whole, 0 * logits),
        torch.nn.functional.kl_div(
            torch.full((6, 40), 1 / 40).log(), whole.weights, reduction="batchmean"
        ),
        atol=1e-5,
    )
    for seed in range(20):
        torch.manual_seed(seed)
        top, ids = torch.randn(6, 40).topk(5)
        q = Mixture((3 * top).softmax(-1), ids)
        assert divergence(q, logits) >= 0, "also of a few tokens against all"
    token = torch.tensor([3, 0, 39, 7, 7, 1])
    wanted = torch.nn.functional.cross_entropy(logits, token)
    assert torch.allclose(divergence(one_hot(token), logits), wanted)


def test_what_comes_after_a_gap_is_predicted_in_front_of_it():
    mask = torch.tensor([[0, 1, 1, 1, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1]])
    found = previous_columns(mask)
    assert found[0].tolist() == [0, 0, 1, 2, 3, 3, 3, 6, 7]
    assert found[1].tolist() == [0, *range(8)]


# --- what is trained ------------------------------------------------------------------
def test_the_whole_base_is_trained_and_the_mixed_table_as_a_table_alone(
    family, chatml, encoded
):
    rows, labels = encoded
    model = student(family, chatml, rows).train()
    made = model, rows, labels["mixture"]
    batch = batch_of(made, PROBLEMS[:1])
    model(**batch).loss.backward()
    for name, weight in model.base.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    if family == "llama":  # tied, the output layer moves every row
        seen = set(batch["input_ids"].flatten().tolist())
        grad = model.get_input_embeddings().weight.grad.abs().sum(1)
        mixed = set(batch["soft_labels"]["ids"].flatten().tolist()) - seen
        assert mixed and all(grad[i] == 0 for i in mixed)


def test_learning_a_row_lowers_both_parts(family, chatml, encoded):
    rows, labels = encoded
    model = student(family, chatml, rows).train()
    batch = batch_of((model, rows, labels["mixture"]), PROBLEMS[:2])
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    seen = []
    for _ in range(40):
        out = model(**batch)
        seen.append((out.ce.item(), out.kl.item()))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    assert all(
        last < 0.5 * first for first, last in zip(seen[0], seen[-1], strict=True)
    )


# --- noise ----------------------------------------------------------------------------
@torch.no_grad()
def test_noise_changes_labels_and_inputs_in_training_alone(family, chatml, encoded):
    rows, labels = encoded
    plain, noisy = (student(family, chatml, rows, noise=n) for n in (0.0, 1.0))
    batch = batch_of((plain, rows, labels["mixture"]), PROBLEMS)
    for model in (plain, noisy):
        torch.manual_seed(0)
        evaluated, again = model(**batch), model(**batch)
        assert torch.equal(evaluated.loss, again.loss)
        model.train()
        torch.manual_seed(0)
        first, second = model(**batch), model(**batch)
        assert torch.isfinite(first.loss)
        same = torch.equal(first.latents, second.latents)
        assert same == (model is plain)
        assert same == torch.equal(first.latents, evaluated.latents)
        assert (first.kl == evaluated.kl) == same
    n = [rows.student(p).n_slots for p in PROBLEMS]
    assert all(not first.latents[i, k:].any() for i, k in enumerate(n))


def test_noise_on_hidden_states_is_refused():
    with pytest.raises(ValueError, match="noise is for mixtures"):
        LatentSFTStudentConfig(kind="state", noise=1.0)
    with pytest.raises(ValueError, match="no kind 'ghost': choose one of mixture"):
        LatentSFTStudentConfig(kind="ghost")


# --- kept, refused --------------------------------------------------------------------
@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(made, tmp_path):
    model = made[0]
    model.save_pretrained(tmp_path)
    again = LatentSFTStudent.from_pretrained(tmp_path).eval()
    batch = batch_of(made, PROBLEMS)
    assert torch.equal(again(**batch).loss, model(**batch).loss)
    asked = {k: batch[k][:1] for k in ("input_ids", "attention_mask")}
    found, wanted = again(**asked).latents, model(**asked).latents
    assert torch.allclose(found, wanted, atol=1e-4)


@torch.no_grad()
def test_a_latent_of_its_own_is_its_mixture_without_the_end(family, chatml, encoded):
    rows, labels = encoded
    model = student(family, chatml, rows, k=4, mixture_temperature=0.5)
    batch = batch_of((model, rows, labels["mixture"]), PROBLEMS[:1])
    out = model(batch["input_ids"], batch["attention_mask"])
    head, table = model.base.get_output_embeddings(), model.get_input_embeddings()
    for read, latent in zip(out.read[0], out.latents[0], strict=True):
        logits = head(read)
        logits[rows.end] = -torch.inf
        top, ids = logits.topk(4)
        wanted = (top / 0.5).softmax(-1) @ table(ids)
        assert torch.allclose(latent, wanted, atol=1e-4)


def test_labels_of_another_size_of_piece_are_refused(made):
    _, rows, labels = made
    own = labels.of(PROBLEMS[0])
    with pytest.raises(ValueError, match="with pieces of the same size"):
        StudentRow(rows.student(problem(1)), own)
