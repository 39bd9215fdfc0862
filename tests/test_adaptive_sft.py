"""Supervised training as a method: the run, what it reads, and what comes out."""

from dataclasses import replace

import pytest
import torch
from latent_models import problem, tiny_llama

from lrkit.latent import adaptive_sft
from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.adaptive_sft import adaptive
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.codi import CodiRow
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.sim_cot_rows import SimCotRow
from lrkit.latent.stop_schedule import StopSchedule, adaptive_row
from lrkit.latent.training import RunSettings

PROBLEMS = [problem(k) for k in (1, 2, 3, 4)]
RUN = RunSettings(3, 4, learning_rate=1e-3, warmup=1, save_steps=3, log_steps=1)


@pytest.fixture
def training(chatml, tmp_path):
    return Training(
        lambda: tiny_llama(len(chatml)), chatml, PROBLEMS,
        MethodSettings(RUN, gamma=1.0, codi_chain="results", context=256), tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize("has_decoder", [True, False])
def test_a_run_reads_rows_of_the_schedule_and_becomes_a_solver(
    training, has_decoder, monkeypatch
):
    seen = []

    def spy(*args, **kwargs):
        seen.append(adaptive_row(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(adaptive_sft, "adaptive_row", spy)
    options = {"step_text": "result"} if has_decoder else {}
    solver = adaptive(
        training, StopSchedule(1, 1, 0, 4), has_decoder=has_decoder, **options
    )
    assert {row.student.n_slots for row in seen} == {2, 3, 4}
    assert all(type(row) is (SimCotRow if has_decoder else CodiRow) for row in seen)
    written = training.tokenizer.decode(seen[-1].teacher.rest)
    assert "<<" not in written and "( " in written, "the teacher writes results"
    assert isinstance(solver, AdaptiveSolver) and solver.n_max == 4
    assert isinstance(solver.model, AdaptiveModel)
    assert (solver.model.step_decoder is not None) == has_decoder
    assert solver.model.stop_head.weight.abs().sum() > 0
    solutions = solver.solve([p.question for p in PROBLEMS])
    assert all(0 <= s.latent_steps <= 4 for s in solutions)
    (log,) = training.logs().values()
    assert [row["step"] for row in log if "loss" in row] == [1, 2, 3]


def test_two_runs_with_one_seed_are_one(training, tmp_path):
    first, second = (
        adaptive(replace(training, folder=tmp_path / name), StopSchedule.by_step())
        for name in ("a", "b")
    )
    theirs = second.model.state_dict()
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, theirs[name]), name
