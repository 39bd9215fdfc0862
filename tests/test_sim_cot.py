"""Laws of SIM-CoT: the loss of the steps, where its gradient goes, and the reader."""

import dataclasses

import pytest
import torch
from latent_models import BASES, problem, rows_for, tiny_llama

from lrkit.data.problems import Problem
from lrkit.latent.codi import CodiCollator, CodiModel, codi_row
from lrkit.latent.layout import IGNORED
from lrkit.latent.methods import MethodSettings, Training, sim_cot
from lrkit.latent.sim_cot import STEP_TEXTS, SimCotConfig, SimCotModel, read_steps
from lrkit.latent.sim_cot_rows import SimCotCollator, sim_cot_row
from lrkit.latent.slots import SlotModel
from lrkit.latent.training import RunSettings, run, trainer_for

WIDTH = 32
PROBLEMS = [problem(3), problem(1), problem(2, answer="-12")]


@pytest.fixture(params=BASES)
def base(request, chatml):
    return BASES[request.param](len(chatml))


def wrapped(base, **config):
    torch.manual_seed(0)
    return SimCotModel.wrap(base, gamma=2.0, **config).eval()


@pytest.fixture
def model(base):
    """The decoder is moved away from the base: which of the two is used shows."""
    model = wrapped(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.step_decoder.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


@pytest.fixture
def rows(model, chatml):
    return rows_for(model, chatml)


def batch(model, rows, problems, n=4):
    made = [sim_cot_row(rows, p, n, model.config) for p in problems]
    return SimCotCollator.of(model, rows.tokenizer.pad_token_id)(made)


def steps_of(inputs):
    return inputs["step_ids"], inputs["step_labels"]


def latents_for(problems, n=4):
    torch.manual_seed(2)
    return torch.randn(len(problems), n, WIDTH)


# --- rows -----------------------------------------------------------------------------
@pytest.mark.parametrize("text", STEP_TEXTS)
def test_text_and_end_of_a_step_are_supervised_and_its_mark_is_not(base, chatml, text):
    model = wrapped(base, step_text=text)
    inputs = batch(model, rows_for(model, chatml), PROBLEMS)
    ids, labels = steps_of(inputs)
    assert ids.shape == labels.shape and ids.shape[:2] == (3, 3)
    mark, expected = {
        "equation": ("\n", lambda k: f"<<{k}+1={k + 1}>>"),
        "result": ("(", lambda k: f" {k + 1}"),
    }[text]
    for i, p in enumerate(PROBLEMS):
        for k in range(3):
            kept = labels[i, k] != IGNORED
            if k >= p.n_steps:
                assert not kept.any()
                continue
            target = ids[i, k][kept].tolist()
            assert torch.equal(labels[i, k][kept], ids[i, k][kept])
            assert target.pop() == chatml.eos_token_id
            assert chatml.decode(target) == expected(k + 1)
            begin = int(kept.nonzero()[0])
            assert chatml.decode(ids[i, k, :begin]) == mark


def test_the_rest_of_a_row_is_that_of_codi(model, rows):
    collator, theirs = SimCotCollator.of(model), CodiCollator.of(model)
    teacher = {"keep_last_step": True, "chain": "results"}
    inputs = collator(
        [sim_cot_row(rows, p, 4, model.config, **teacher) for p in PROBLEMS]
    )
    codi = theirs([codi_row(rows, p, 4, **teacher) for p in PROBLEMS])
    assert set(inputs) - set(codi) == {"step_ids", "step_labels"}
    assert all(torch.equal(inputs[name], codi[name]) for name in codi)


def test_steps_beyond_the_latents_are_left_out(base, chatml):
    rows = rows_for(model := wrapped(base), chatml)
    first, all_steps = (sim_cot_row(rows, problem(5), n, model.config) for n in (2, 6))
    assert first.steps == all_steps.steps[:2] and len(all_steps.steps) == 5
    pairs = sim_cot_row(rows, problem(5), 6, SimCotConfig(per_step=2))
    assert pairs.steps == all_steps.steps[:3]


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


# --- the decoder ----------------------------------------------------------------------
def test_the_decoder_begins_as_the_base_with_weights_of_its_own(base):
    model = wrapped(base)
    ours, theirs = model.step_decoder.state_dict(), base.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    taken = {weight.data_ptr() for weight in base.parameters()}
    assert not taken & {w.data_ptr() for w in model.step_decoder.parameters()}
    drawn = SimCotModel(SimCotConfig(base.config))
    ours, theirs = drawn.step_decoder.state_dict(), drawn.base.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_saved_and_loaded_it_is_the_same_with_its_decoder_and_without(
    model, rows, tmp_path
):
    inputs, latents = batch(model, rows, PROBLEMS), latents_for(PROBLEMS)
    model.config.step_text = "result"
    model.save_pretrained(tmp_path / "whole")
    again = SimCotModel.from_pretrained(tmp_path / "whole").eval()
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    with torch.no_grad():
        expected, found = model(**inputs), again(**inputs)
    assert torch.equal(found.loss, expected.loss)
    assert torch.equal(found.logits, expected.logits)
    assert again.config.step_text == "result"
    texts = read_steps(model, latents, rows)
    assert read_steps(again, latents, rows) == texts

    again.drop_decoder()
    again.save_pretrained(tmp_path / "dropped")
    small = SimCotModel.from_pretrained(tmp_path / "dropped").eval()
    assert not any("step_decoder" in name for name in small.state_dict())
    size = {f: (tmp_path / f / "model.safetensors").stat().st_size
            for f in ("whole", "dropped")}  # fmt: skip
    assert size["dropped"] < 0.6 * size["whole"]
    plain = {k: v for k, v in inputs.items() if not k.startswith("step_")}
    with torch.no_grad():
        assert torch.equal(small(**plain).logits, expected.logits)
    with pytest.raises(ValueError, match="step decoder of this model was dropped"):
        small(**inputs)
    with pytest.raises(ValueError, match="nothing can read its latents"):
        read_steps(small, latents, rows)


def test_answering_does_not_run_the_decoder(model, rows, monkeypatch):
    asked = batch(model, rows, PROBLEMS)
    ids, mask = asked["input_ids"], asked["attention_mask"]
    expected = model(input_ids=ids, attention_mask=mask).logits
    monkeypatch.setattr(model, "step_decoder", None)
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected)


# --- training and reading -------------------------------------------------------------
def sums(start, *added):
    """A problem whose steps no other one has."""
    steps, now = [], start
    for k in added:
        steps.append(f"<<{now}+{k}={now + k}>>")
        now += k
    question = f"Begin at {start}, add {' and '.join(map(str, added))}. What is it?"
    return Problem(
        f"s{start}", question, tuple(steps), str(now), "clock", "train", {}
    )  # fmt: skip


HANDFUL = [sums(1, 5, 3), sums(2, 7), sums(4, 6, 8, 5), sums(3, 2, 4)]
OVERFIT = RunSettings(140, 8, warmup=5, save_steps=0, learning_rate=1.2e-2)


@pytest.mark.slow
def test_a_handful_of_problems_is_learned_and_read_off_the_latents(
    base, chatml, tmp_path
):
    model = wrapped(base)
    rows = rows_for(model, chatml)
    inputs = batch(model, rows, HANDFUL, 3)
    with torch.no_grad():
        before = model(**inputs).ce_steps
    trainer = trainer_for(
        model, HANDFUL, lambda p, _: sim_cot_row(rows, p, 3, model.config),
        SimCotCollator.of(model, chatml.pad_token_id), OVERFIT, tmp_path,
    )  # fmt: skip
    log = run(trainer)
    assert log[0]["loss"] > 2 * [row for row in log if "loss" in row][-1]["loss"]
    with torch.no_grad():
        out = model.eval()(**inputs)
    assert out.ce_steps < 0.02 * before
    texts = read_steps(model, out.latents, rows)
    assert [len(row) for row in texts] == [3] * 4
    for row, p in zip(texts, HANDFUL, strict=True):
        assert tuple(row[: p.n_steps]) == p.steps
    alone = [read_steps(model, out.latents[i : i + 1], rows)[0] for i in range(4)]
    assert alone == texts
    swapped = read_steps(model, out.latents[[1, 0, 3, 2]], rows)
    assert swapped == [texts[i] for i in (1, 0, 3, 2)]


@torch.no_grad()
def test_reading_is_taking_the_likeliest_token_again_and_again(model, rows):
    model.config.per_step = 2
    latents = 5 * latents_for(PROBLEMS, 4)
    decoder, tokenizer = model.step_decoder, rows.tokenizer
    texts = read_steps(model, latents, rows, max_new_tokens=6)
    for i, k in ((0, 0), (1, 1), (2, 0)):
        ids = rows.encode("\n")
        for _ in range(6):
            read = decoder.get_input_embeddings()(torch.tensor(ids))
            vectors = torch.cat([latents[i, 2 * k : 2 * k + 2], read])
            ids.append(int(decoder(inputs_embeds=vectors[None]).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        written = ids[len(rows.encode("\n")) :]
        assert texts[i][k] == tokenizer.decode(
            written, skip_special_tokens=True
        ).strip()  # fmt: skip


def test_no_latents_are_no_texts(model, rows):
    assert read_steps(model, torch.zeros(2, 0, WIDTH), rows) == [[], []]
    assert read_steps(model, torch.zeros(0, 3, WIDTH), rows) == []


@pytest.mark.parametrize("text", STEP_TEXTS)
def test_the_method_trains_base_and_decoder_and_answers(chatml, tmp_path, text):
    settings = MethodSettings(
        RunSettings(6, batch_size=2, warmup=0, save_steps=3),
        n_latents=2, gamma=3.0, codi_map="identity", codi_targets=("thought",),
        codi_blocks=(1, 1), codi_rounds=1, codi_chain=f"{text}s", scale=0.5,
    )  # fmt: skip
    before = tiny_llama(len(chatml)).state_dict()
    training = Training(
        lambda: tiny_llama(len(chatml)), chatml, PROBLEMS, settings, tmp_path
    )
    solver = sim_cot(training, step_text=text, delta=0.5)
    model = solver.model
    found = model.config
    assert (found.step_text, found.delta, found.gamma) == (text, 0.5, 3.0)
    assert (found.targets, found.blocks) == (["thought"], [1, 1])
    assert (found.order, found.rounds) == ("rounds", 1)
    assert found.map == {"kind": "identity", "scale": 0.5}
    for part in (model.base, model.step_decoder):
        same = [n for n, w in part.state_dict().items() if torch.equal(w, before[n])]
        assert not same
    (solution,) = solver.solve([PROBLEMS[0].question])
    assert solution.latent_steps == 2
    assert training.logs()["sim-cot"][-1]["train_loss"] > 0


# --- what cannot be -------------------------------------------------------------------
def test_what_cannot_be_is_refused(model, rows):
    with pytest.raises(ValueError, match="choose one of equation, result"):
        SimCotConfig(step_text="prose")
    with pytest.raises(ValueError, match="needs 1 or more latents, not 0"):
        SimCotConfig(per_step=0)
    with pytest.raises(ValueError, match="5 latents cannot be shared out by 2"):
        sim_cot_row(rows, PROBLEMS[0], 5, SimCotConfig(per_step=2))
    inputs = batch(model, rows, PROBLEMS)
    with pytest.raises(ValueError, match="3 steps need 3 latents, 1 for each"):
        model.step_loss(latents_for(PROBLEMS, 2), *steps_of(inputs))
    with pytest.raises(ValueError, match="1 for each: there are 0"):
        model.step_loss(None, *steps_of(inputs))
    for shape in ((2, WIDTH), (2, 3, WIDTH), (2, 4, WIDTH + 1)):
        model.config.per_step = 2
        with pytest.raises(ValueError, match=r"a multiple of 2, 32\], got"):
            read_steps(model, torch.zeros(shape), rows)
