"""Laws of trained pairs and baselines: made once, found again, never mistaken."""

from dataclasses import replace

import pytest
import torch
from latent_models import tiny_gpt2, tiny_llama
from lgr_models import PROBLEMS, QUESTIONS, WIDE

from lrkit.latent import lgr_trained as module
from lrkit.latent import trained as plain
from lrkit.latent.lgr_guidance import thinker_digest
from lrkit.latent.lgr_methods import LgrSettings
from lrkit.latent.lgr_tasks import CascadeSolver
from lrkit.latent.lgr_trained import (
    BASELINES,
    Pair,
    trained_baseline,
    trained_executor,
    trained_thinker,
)
from lrkit.latent.solvers import Solution
from lrkit.profiles import load_profile
from lrkit.study import fresh_bases
from lrkit.study.latent_controls import zeroed


@pytest.fixture
def pair(chatml, tmp_path, monkeypatch):
    """Two tiny bases in folders, and runs that are kept in another."""
    bases = {"large": tiny_gpt2(len(chatml), WIDE), "small": tiny_llama(len(chatml))}

    def folder(name, key):
        path = tmp_path / "runs" / f"{name}-{key}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    for where in (module, plain):
        monkeypatch.setattr(where, "run_folder", folder)
    found = {}
    for name, base in bases.items():
        base.save_pretrained(tmp_path / name)
        chatml.save_pretrained(tmp_path / name)
        found[name] = load_profile(
            "smoke", "latent", base=str(tmp_path / name), steps=3, batch_size=2,
            context=256,
        ).latent  # fmt: skip
    return Pair(**found, lgr=LgrSettings(2, inner=8))


def texts(solver):
    return [s.text for s in solver.solve(QUESTIONS[:2])]


def test_a_pair_is_found_again_and_its_parts_are_shared(pair, monkeypatch, tmp_path):
    first, logs = trained_executor(pair, 0, given=PROBLEMS)
    blind, _ = trained_executor(pair, 0, ("zeroed", zeroed), PROBLEMS)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(first.model.parameters(), blind.model.parameters(), strict=True)
    )
    runs = [p.name.rpartition("-")[0] for p in (tmp_path / "runs").iterdir()
            if p.is_dir()]  # fmt: skip
    assert sorted(runs) == ["lgr-executor"] * 2 + ["lgr-thinker"]
    assert len(list(tmp_path.glob("runs/*/*guidance.safetensors"))) == 1
    assert not list(tmp_path.glob("runs/*/*/checkpoint-*"))
    for name in ("executor", "thinker", "guidance"):  # a second training would fail
        monkeypatch.setattr(module, name, None)
    again, found = trained_executor(pair, 0, given=PROBLEMS)
    assert texts(again) == texts(first) and found == logs
    ours, theirs = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    thought, _ = trained_thinker(pair.large, pair.lgr, 0, PROBLEMS)
    digest = thinker_digest(thought.model, thought.rows)
    assert digest == again.model.config.thinker, "saving and loading change nothing"
    assert thought.solve(QUESTIONS[:1])[0].latent_steps == 2


def test_what_decides_a_thinker_and_what_does_not(pair):
    def key(lgr):
        return module._thinker_folder(pair.large, lgr, 0, PROBLEMS).name

    own = key(pair.lgr)
    assert key(replace(pair.lgr, inner=99, dropout=0.5)) == own
    others = [
        replace(pair.lgr, n_thoughts=3),
        replace(pair.lgr, losses=("task",)),
        replace(pair.lgr, recon_sees_question=True),
    ]
    assert len({own, *map(key, others)}) == 4


# One of each kind of model; "CoT" and "No-CoT" are the business of test_trained.py.
@pytest.mark.parametrize("name", BASELINES[4:])
def test_a_baseline_is_found_again(name, pair, monkeypatch):
    # An untrained teacher writes no chains: it is given a chain to say.
    said = module.lgr_baselines.written_by

    def written(teacher, problems, only_right):
        chains = said(_Scribe(), problems, only_right)
        assert teacher.writes_chain and len(problems) == len(PROBLEMS)
        return chains

    monkeypatch.setattr(module.lgr_baselines, "written_by", written)
    large = pair.large if name.startswith("KD") else None
    first, logs = trained_baseline(name, pair.small, 0, large, PROBLEMS)
    monkeypatch.setattr(module, "TASKS", dict.fromkeys(module.TASKS))
    monkeypatch.setattr(module, "lgr_baselines", None)
    again, found = trained_baseline(name, pair.small, 0, large, PROBLEMS)
    assert texts(again) == texts(first) and found == logs
    assert again.writes_chain == (name not in ("No-CoT", "step by step"))
    assert isinstance(again, CascadeSolver) == (name == "CasCoD")


class _Scribe:
    """Answers rightly, with the problem's own steps."""

    def solve(self, questions):
        by = {p.question: p for p in PROBLEMS}
        return [
            Solution(by[q].answer, "<<1+1=2>>\nThe answer is:", 1, 0, 1, 1, 1.0, 0.0)
            for q in questions
        ]


def test_an_unknown_baseline_and_a_missing_teacher_are_refused(pair):
    with pytest.raises(ValueError, match="no baseline 'SFT': choose one of CoT"):
        trained_baseline("SFT", pair.small)
    with pytest.raises(ValueError, match="'KD, words' needs a teacher"):
        trained_baseline("KD, words", pair.small)


def test_a_fresh_base_is_made_once_and_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        fresh_bases, "run_folder", lambda name, key: _made(tmp_path / f"{name}-{key}")
    )
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    name = fresh_bases.fresh_base(1, 16)
    assert torch.equal(torch.rand(2), wanted), "no other random numbers change"
    settings = load_profile("smoke", "latent", base=name).latent
    base = plain.load_base(settings)
    assert (base.config.n_layer, base.config.n_embd, base.config.n_inner) == (1, 16, 48)
    before = [p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")]
    assert fresh_bases.fresh_base(1, 16) == name
    assert [p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")] == before
    assert fresh_bases.fresh_base(1, 16, seed=1) != name


def _made(folder):
    folder.mkdir(exist_ok=True)
    return folder
