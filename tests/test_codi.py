"""Laws of CODI's loss, rows and training step."""

import pytest
import torch
from latent_models import problem, rows_for, tiny_llama

from lrkit.latent.codi import (
    CodiCollator,
    CodiConfig,
    CodiModel,
    codi_row,
    distillation_loss,
)
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver

LAYERS = 2


@pytest.fixture(scope="module")
def model(chatml):
    torch.manual_seed(0)
    return CodiModel.wrap(tiny_llama(len(chatml)), gamma=2.0).eval()


@pytest.fixture(scope="module")
def rows(model, chatml):
    return rows_for(model, chatml)


def batch(model, rows, problems, n=3):
    return CodiCollator.of(model)([codi_row(rows, p, n) for p in problems])


PROBLEMS = [problem(3), problem(1), problem(5, answer="-12")]


# --- the loss -------------------------------------------------------------------------
def states(seed, n=4):
    torch.manual_seed(seed)
    return [torch.randn(n, 8) * (k + 1) for k in range(3)]


def test_distillation_is_nothing_between_equals_and_grows_with_distance():
    teacher = states(0)
    assert distillation_loss(teacher, teacher) == 0
    off = [
        distillation_loss([t + shift for t in teacher], teacher)
        for shift in (0.1, 0.5, 2)
    ]
    assert 0 < off[0] < off[1] < off[2]


def test_far_beyond_the_knee_distillation_does_not_depend_on_the_scale():
    teacher = [layer * 1e4 for layer in states(0)]
    student = [layer * 1e4 for layer in states(1)]
    once = distillation_loss(student, teacher)
    twice = distillation_loss([2 * s for s in student], [2 * t for t in teacher])
    assert torch.allclose(once, twice, rtol=1e-3)


def test_layers_of_different_scale_count_alike():
    teacher, student = states(0), states(1)
    loud = [t * f for t, f in zip(teacher, (1e4, 1e4, 1e8), strict=True)]
    said = [s * f for s, f in zip(student, (1e4, 1e4, 1e8), strict=True)]
    even = distillation_loss([s * 1e4 for s in student], [t * 1e4 for t in teacher])
    assert torch.allclose(distillation_loss(said, loud), even, rtol=1e-3)


def test_gradient_of_the_distillation_goes_to_the_student_alone():
    teacher = [t.requires_grad_() for t in states(0)]
    student = [s.requires_grad_() for s in states(1)]
    distillation_loss(student, teacher).backward()
    assert all(s.grad.abs().sum() > 0 for s in student)
    assert all(t.grad is None for t in teacher)


# --- rows -----------------------------------------------------------------------------
def test_cues_point_at_the_token_before_the_answer_on_both_sides(model, rows, chatml):
    inputs = batch(model, rows, PROBLEMS)
    for side in ("", "teacher_"):
        ids, cue = inputs[f"{side}input_ids"], inputs[f"{side}cue"]
        for row, column, p in zip(ids, cue, PROBLEMS, strict=True):
            assert chatml.decode(row[column + 1 :], skip_special_tokens=True).strip() \
                == p.answer  # fmt: skip
            assert row[column] == rows.answer(p.answer).ids[rows.answer(p.answer).cue]


def test_the_teacher_never_sees_the_step_whose_result_is_the_answer(rows, chatml):
    for p in PROBLEMS:
        text = chatml.decode(codi_row(rows, p, 3).teacher.rest)
        assert p.steps[-1] not in text
        assert all(step in text for step in p.steps[:-1])
        short = codi_row(rows, p, 3, chain="results").teacher
        assert short == rows.chain(p, (), p.steps[:-1])
        with pytest.raises(ValueError, match="no chain 'poem': choose one of equat"):
            codi_row(rows, p, 3, chain="poem")
        kept = codi_row(rows, p, 3, keep_last_step=True)
        assert kept.teacher == rows.chain(p)
        assert kept.student == codi_row(rows, p, 3).student


# --- the model ------------------------------------------------------------------------
def test_the_loss_is_the_sum_of_its_parts(model, rows):
    out = model(**batch(model, rows, PROBLEMS))
    total = out.ce_student + 2.0 * out.kd + out.ce_teacher
    assert torch.allclose(out.loss, total, rtol=1e-5)
    assert out.kd > 0


@pytest.mark.parametrize("n", [1, 3])
def test_as_many_jacobi_rounds_as_latents_are_codi(rows, chatml, n):
    def loss_of(**order):
        torch.manual_seed(0)
        twin = CodiModel.wrap(tiny_llama(len(chatml)), gamma=2.0, **order).eval()
        out = twin(**batch(twin, rows, PROBLEMS, n))
        out.loss.backward()
        return out, {name: w.grad for name, w in twin.named_parameters()}

    one_by_one, wanted = loss_of()
    at_once, found = loss_of(order="rounds", rounds=n)
    for part in ("loss", "kd", "ce_student", "latents"):
        a, b = getattr(one_by_one, part), getattr(at_once, part)
        assert torch.allclose(a, b, atol=1e-5), part
    for name, gradient in wanted.items():
        assert torch.allclose(gradient, found[name], atol=1e-5), name
    if n > 1:
        fewer, _ = loss_of(order="rounds", rounds=n - 1)
        assert not torch.allclose(fewer.latents, one_by_one.latents, atol=1e-4)


@torch.no_grad()
def test_each_part_is_what_the_passes_alone_give(model, rows):
    inputs = batch(model, rows, PROBLEMS)
    out = model(**inputs)
    student = {k: inputs[k] for k in ("input_ids", "attention_mask", "labels")}
    teacher = {k: inputs[f"teacher_{k}"] for k in student}
    plain = SlotModel.forward(model, **student, output_hidden_states=True)
    text = SlotModel.forward(model, **teacher, output_hidden_states=True)
    assert torch.allclose(out.ce_student, plain.loss, rtol=1e-5)
    assert torch.allclose(out.ce_teacher, text.loss, rtol=1e-5)
    theirs = inputs["teacher_cue"]
    kd = []
    for k in range(1, LAYERS + 1):
        s = torch.stack(
            [plain.hidden_states[k][i, c] for i, c in enumerate(inputs["cue"])]
        )
        t = torch.stack([text.hidden_states[k][i, c] for i, c in enumerate(theirs)])
        kd.append(torch.nn.functional.smooth_l1_loss(s, t) / t.std())
    assert torch.allclose(out.kd, torch.stack(kd).mean(), rtol=1e-5)


@torch.no_grad()
def test_the_loss_of_a_row_does_not_depend_on_its_batch(model, rows):
    """But for the spread of the teacher's states, which is of the batch."""
    together = model(**batch(model, rows, PROBLEMS))
    alone = [model(**batch(model, rows, [p])) for p in PROBLEMS]
    tokens = [len(rows.answer(p.answer).ids) for p in PROBLEMS]
    weighted = sum(o.ce_student * n for o, n in zip(alone, tokens, strict=True))
    assert torch.allclose(together.ce_student, weighted / sum(tokens), rtol=1e-4)


def variant(model, **config):
    """The same weights under another configuration of the distillation."""
    torch.manual_seed(0)
    made = CodiModel.wrap(model.base, gamma=2.0, **config).eval()
    made.load_state_dict(model.state_dict())
    return made


@torch.no_grad()
def test_meaned_reasoning_loss_is_that_of_the_means_over_latents_and_chain(model, rows):
    problems = [p for p in PROBLEMS if p.n_steps > 1]
    kd = []
    parts = [batch(model, rows, [p]) for p in problems]
    for p, inputs in zip(problems, parts, strict=True):
        student = {k: inputs[k] for k in ("input_ids", "attention_mask")}
        teacher = {k: inputs[f"teacher_{k}"] for k in student}
        plain = SlotModel.forward(model, **student, output_hidden_states=True)
        text = SlotModel.forward(model, **teacher, output_hidden_states=True)
        begin = len(rows.question(p.question))
        chain = slice(begin, begin + len(rows.steps(p.steps[:-1])))
        slots = slice(begin + 1, begin + 4)
        kd.append(
            [
                (s[0, slots].mean(0), t[0, chain].mean(0))
                for s, t in zip(
                    plain.hidden_states[1:], text.hidden_states[1:], strict=True
                )
            ]
        )
    layers = list(zip(*kd, strict=True))
    ours = [torch.stack([s for s, _ in layer]) for layer in layers]
    theirs = [torch.stack([t for _, t in layer]) for layer in layers]
    meaned = variant(model, targets=["thought"])
    found = meaned(**batch(model, rows, problems)).kd
    assert torch.allclose(found, distillation_loss(ours, theirs), rtol=1e-4)
    both = variant(model, targets=["cue", "thought"])(**batch(model, rows, problems))
    cue = model(**batch(model, rows, problems)).kd
    assert torch.allclose(both.kd, found + cue, rtol=1e-5)


@torch.no_grad()
def test_rows_whose_teacher_has_no_chain_do_not_count_in_the_mean(model, rows):
    meaned = variant(model, targets=["thought"])
    assert meaned(**batch(model, rows, [problem(1), problem(1)])).kd == 0
    with_and_without = meaned(**batch(model, rows, [problem(3), problem(1)])).kd
    alone = meaned(**batch(model, rows, [problem(3)])).kd
    assert torch.allclose(with_and_without, alone, rtol=1e-4)


@torch.no_grad()
def test_intermediate_block_loss_is_of_the_blocks_it_names(model, rows):
    inputs = batch(model, rows, PROBLEMS)
    each = [variant(model, blocks=[k, k])(**inputs).kd for k in (1, 2)]
    assert torch.allclose(sum(each) / 2, model(**inputs).kd, rtol=1e-5)
    assert not torch.allclose(*each)
    with pytest.raises(ValueError, match="block 5 is to be distilled, and the base"):
        variant(model, blocks=[2, 5])(**inputs)


def test_unknown_targets_and_blocks_are_refused():
    with pytest.raises(ValueError, match="choose among cue, thought"):
        CodiConfig(targets=["mind"])
    for blocks in ([0, 2], [3, 2]):
        with pytest.raises(ValueError, match="first and last"):
            CodiConfig(blocks=blocks)


def test_every_part_of_the_model_is_trained(chatml):
    model = CodiModel.wrap(tiny_llama(len(chatml))).train()
    model(**batch(model, rows_for(model, chatml), PROBLEMS)).loss.backward()
    for name, weight in model.named_parameters():
        moved = weight.grad is not None and weight.grad.abs().sum() > 0
        assert moved, name
    used = {model.config.specials.index(s) for s in ("<bot>", "<eot>")}
    grads = model.rows.weight.grad.abs().sum(1) > 0
    assert {i for i, g in enumerate(grads.tolist()) if g} == used


def test_no_latents_are_a_plain_answer_beside_its_teacher(model, rows):
    out = model(**batch(model, rows, PROBLEMS, n=0))
    assert out.latents is None and torch.isfinite(out.loss)


def test_saved_and_loaded_it_is_the_same(model, rows, tmp_path):
    model.save_pretrained(tmp_path)
    again = CodiModel.from_pretrained(tmp_path).eval()
    inputs = batch(model, rows, PROBLEMS)
    assert torch.equal(again(**inputs).loss, model(**inputs).loss)
    assert again.config.gamma == 2.0
    assert CodiConfig(model.base.config).gamma == 20.0


def test_an_answer_is_scored_at_its_own_columns_alone(model, rows):
    scored = []
    head = model.base.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, a, out: scored.append(out.shape[1]))
    SlotSolver(model, rows, 3, max_new_tokens=4).solve([PROBLEMS[0].question])
    hook.remove()
    assert sum(scored) <= 4 + 1 + 3, "one column a pass, the question's no more"
