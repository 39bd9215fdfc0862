"""Laws of SIM-CoT's training: steps are learned, and the method trains both models."""

import pytest
import torch
from latent_models import rows_for, tiny_llama
from sim_cot_models import PROBLEMS, base_fixture, batch, wrapped  # noqa: F401 (fixtures)

from lrkit.data.problems import Problem
from lrkit.latent.methods import MethodSettings, Training, sim_cot
from lrkit.latent.sim_cot import STEP_TEXTS, read_steps
from lrkit.latent.sim_cot_rows import SimCotCollator, sim_cot_row
from lrkit.latent.training import RunSettings, run, trainer_for


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
