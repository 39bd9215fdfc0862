"""Laws of the stop head: what it decides, what that costs, what it moves."""

import pytest
import torch
from latent_models import BASES, problem, rows_for, tiny_llama, undecided
from peft import LoraConfig, get_peft_model

from lrkit.latent.adapted import load_adapted, save_adapted
from lrkit.latent.adaptive import CONTINUE, STOP, AdaptiveConfig, AdaptiveModel
from lrkit.latent.codi import CodiModel
from lrkit.latent.layout import IGNORED
from lrkit.latent.sim_cot import SimCotModel
from lrkit.latent.slots import SlotModel
from lrkit.latent.stop_schedule import StopSchedule, adaptive_collator, adaptive_row
from lrkit.latent.training import RunSettings, run, trainer_for
from lrkit.models import load_model, load_tokenizer

PROBLEMS = [problem(3), problem(1), problem(4, answer="-12")]
SCHEDULE = StopSchedule(c=1, b=-1, n_min=0, n_max=10)  # 2, 0 and 3 latents


@pytest.fixture(params=BASES)
def base(request, chatml):
    return BASES[request.param](len(chatml))


@pytest.fixture(params=[True, False], ids=["decoder", "codi"])
def model(request, base):
    return undecided(base, has_decoder=request.param)


@pytest.fixture
def rows(model, chatml):
    return rows_for(model, chatml)


def batch(model, rows, problems=PROBLEMS, schedule=SCHEDULE):
    made = [adaptive_row(rows, p, schedule, model.config) for p in problems]
    return adaptive_collator(model, rows.tokenizer.pad_token_id)(made)


def student(inputs):
    return {k: inputs[k] for k in ("input_ids", "attention_mask", "labels")}


# --- decisions ------------------------------------------------------------------------
@torch.no_grad()
def test_a_row_of_n_latents_goes_on_n_times_and_then_stops(model, rows):
    inputs = student(batch(model, rows))
    logits, decided = model.decisions(model(**inputs), inputs["input_ids"])
    n, s, none = CONTINUE, STOP, IGNORED
    expected = [[n, n, s, none], [s, none, none, none], [n, n, n, s]]
    assert decided.tolist() == expected
    assert logits.shape == (3, 4, 2) and logits.dtype == torch.float32


@torch.no_grad()
def test_a_fresh_head_is_at_even_odds_and_knows_two_outcomes(base, model, rows):
    inputs = student(batch(model, rows))
    odds = model.decisions(model(**inputs), inputs["input_ids"])[0].softmax(-1)
    assert torch.allclose(odds.sum(-1), torch.ones(3, 4)) and odds.std() > 0.1
    fresh = AdaptiveModel.wrap(base).eval()
    logits, _ = fresh.decisions(fresh(**inputs), inputs["input_ids"])
    assert torch.equal(logits.softmax(-1), torch.full((3, 4, 2), 0.5))


@torch.no_grad()
def test_decisions_do_not_depend_on_the_batch(model, rows):
    inputs = student(batch(model, rows))
    together, decided = model.decisions(model(**inputs), inputs["input_ids"])
    for i, p in enumerate(PROBLEMS):
        one = student(batch(model, rows, [p]))
        alone, same = model.decisions(model(**one), one["input_ids"])
        n = alone.shape[1]
        assert torch.allclose(together[i, :n], alone[0], atol=5e-4)
        assert torch.equal(decided[i, :n], same[0])


# --- the loss -------------------------------------------------------------------------
@torch.no_grad()
@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_decisions_and_tokens_are_averaged_together(model, rows, weight):
    """Row by row, each decision and each token of the answer weighs by itself."""
    model.config.stop_weight = weight
    out = model(**batch(model, rows))
    nats, weights = [], []
    for p in PROBLEMS:
        inputs = student(batch(model, rows, [p]))
        labels = inputs["labels"][0]
        found = SlotModel.forward(model, **inputs | {"labels": None})
        scored = found.logits[0].log_softmax(-1)
        tokens = (labels != IGNORED).nonzero()[:, 0]
        assert len(tokens) == len(rows.answer(p.answer).ids)
        nats += [-scored[t - 1, labels[t]] for t in tokens]
        weights += [1.0] * len(tokens)
        states = [] if found.read is None else list(found.read[0])
        for k, state in enumerate([*states, found.after[0]]):
            choice = STOP if k == SCHEDULE.n_latents(p.n_steps) else CONTINUE
            nats.append(-model.stop_head(state).log_softmax(-1)[choice])
            weights.append(weight)
    weights = torch.tensor(weights)
    expected = (torch.stack(nats) * weights).sum() / weights.sum()
    rest = out.loss - 2.0 * out.kd - out.ce_teacher
    if model.config.has_decoder:
        rest = rest - out.ce_steps
    assert torch.allclose(rest, expected, rtol=1e-3)
    # Above all, a decision is not what a token is: each has its own number of them.
    n_decided = sum(SCHEDULE.n_latents(p.n_steps) + 1 for p in PROBLEMS)
    n_tokens = len(weights) - n_decided
    mean = weight * n_decided * out.ce_stop + n_tokens * out.ce_student
    assert torch.allclose(mean / weights.sum(), expected, rtol=1e-3)


@torch.no_grad()
def test_without_weight_it_is_the_method_below_to_the_bit(model, rows):
    model.config.stop_weight = 0.0
    inputs = batch(model, rows)
    below = SimCotModel if model.config.has_decoder else CodiModel
    assert torch.equal(model(**inputs).loss, below.forward(model, **inputs).loss)
    alone = SlotModel.forward(model, **student(inputs)).loss
    assert torch.equal(model(**student(inputs)).loss, alone)


@torch.no_grad()
def test_without_a_teacher_the_parts_of_the_loss_are_still_told(model, rows):
    inputs = student(batch(model, rows))
    out, answer = model(**inputs), SlotModel.forward(model, **inputs).loss
    assert torch.equal(out.ce_student, answer)
    low, high = sorted([out.ce_stop, answer])
    assert low < out.loss < high, "it is a mean of both"


def test_no_latents_in_the_whole_batch_are_a_thought_too(model, rows):
    inputs = batch(model, rows, schedule=StopSchedule(0, 0, 0, 0))
    out = model(**inputs)
    assert out.latents is None and torch.isfinite(out.loss)
    logits, decided = model.decisions(out, inputs["input_ids"])
    assert decided.tolist() == [[STOP]] * 3
    out.loss.backward()
    assert model.stop_head.weight.grad.abs().sum() > 0
    ragged = batch(model, rows)
    mixed, _ = model.decisions(model(**ragged), ragged["input_ids"])
    assert torch.allclose(mixed[1, 0], logits[1, 0], atol=5e-4)


# --- gradient -------------------------------------------------------------------------
@pytest.mark.parametrize("detached", [False, True])
def test_a_detached_head_reads_and_does_not_draw(model, rows, detached):
    model.config.detach_head = detached
    inputs = student(batch(model, rows))
    logits, decided = model.decisions(model(**inputs), inputs["input_ids"])
    logits[decided != IGNORED].log_softmax(-1)[:, STOP].sum().backward()
    drawn = {n for n, w in model.named_parameters() if w.grad is not None}
    assert {"stop_head.weight", "stop_head.bias"} <= drawn
    assert (drawn == {"stop_head.weight", "stop_head.bias"}) == detached
    if not detached:
        assert all(p.grad.abs().sum() > 0 for p in model.map.parameters())


def test_a_fixed_number_of_latents_leaves_the_head_alone(model, rows):
    model.config.stop_weight = 0.0
    model(**batch(model, rows)).loss.backward()
    assert model.stop_head.weight.grad is None
    assert all(p.grad is not None for p in model.map.parameters())


# --- saving ---------------------------------------------------------------------------
@torch.no_grad()
def test_saved_and_loaded_it_decides_the_same_bit_for_bit(model, rows, tmp_path):
    model.config.stop_weight = 0.3
    inputs = student(batch(model, rows))
    expected = model.decisions(model(**inputs), inputs["input_ids"])[0]
    model.save_pretrained(tmp_path)
    again = AdaptiveModel.from_pretrained(tmp_path).eval()
    found = again.decisions(again(**inputs), inputs["input_ids"])[0]
    assert torch.equal(found, expected)
    assert again.config.stop_weight == 0.3
    assert again.config.has_decoder == model.config.has_decoder


def test_weights_without_a_head_are_refused(base, tmp_path):
    CodiModel.wrap(base).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"2 of them .* \(stop_head.bias, ...\)"):
        AdaptiveModel.from_pretrained(tmp_path, config=AdaptiveConfig(base.config))


LORA = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])


@pytest.fixture
def adapted(tiny_llama):
    torch.manual_seed(0)
    base = load_model(tiny_llama).float()
    base.requires_grad_(False)
    return AdaptiveModel.wrap(get_peft_model(base, LORA)).eval()


def test_over_a_frozen_base_the_head_learns_and_is_kept(adapted, tiny_llama, tmp_path):
    rows = rows_for(adapted, load_tokenizer(tiny_llama))
    inputs = batch(adapted, rows)
    optimizer = torch.optim.SGD([w for w in adapted.parameters() if w.requires_grad])
    for _ in range(2):  # the first step leaves lora_A, behind a zero, where it is
        adapted(**inputs).loss.backward()
        optimizer.step()
    trained = {n for n, w in adapted.named_parameters() if w.grad is not None}
    assert {"stop_head.weight", "stop_head.bias"} <= trained
    assert not any(n.startswith("base") and "lora_" not in n for n in trained)
    inputs = student(inputs)
    with torch.no_grad():
        expected = adapted.decisions(adapted(**inputs), inputs["input_ids"])[0]
        assert expected.abs().sum() > 0
        save_adapted(adapted, tmp_path, tiny_llama)
        again = load_adapted(AdaptiveModel, tmp_path).eval()
        found = again.decisions(again(**inputs), inputs["input_ids"])[0]
    assert torch.equal(found, expected)
    save_adapted(CodiModel.wrap(load_model(tiny_llama).requires_grad_(False)),
                 tmp_path / "codi", tiny_llama)  # fmt: skip
    with pytest.raises(ValueError, match=r"stop_head\.bias"):
        load_adapted(AdaptiveModel, tmp_path / "codi")


# --- training -------------------------------------------------------------------------
@pytest.mark.slow
def test_the_head_learns_to_count_steps(chatml, tmp_path):
    model = undecided(tiny_llama(len(chatml)), has_decoder=True)
    for weight in model.base.parameters():
        if weight.ndim == 2:
            weight.data /= 8
    rows, schedule = rows_for(model, chatml), StopSchedule.by_step()
    many = [problem(k) for k in (1, 2, 3, 4, 5)]
    trainer = trainer_for(
        model, many, lambda p, _: adaptive_row(rows, p, schedule, model.config),
        adaptive_collator(model, chatml.pad_token_id),
        RunSettings(60, 5, warmup=5, save_steps=0, learning_rate=1e-2), tmp_path,
    )  # fmt: skip
    run(trainer)
    inputs = batch(model.eval(), rows, many, schedule)
    with torch.no_grad():
        logits, decided = model.decisions(model(**inputs), inputs["input_ids"])
    kept = decided != IGNORED
    assert torch.equal(logits.argmax(-1)[kept], decided[kept])


def test_what_cannot_be_is_refused(base):
    with pytest.raises(ValueError, match="stop_weight must be 0 or more"):
        AdaptiveConfig(base.config, stop_weight=-1)
    with pytest.raises(ValueError, match="must be 'sequential', not 'rounds'"):
        AdaptiveConfig(base.config, order="rounds", rounds=2)
