"""Laws of the controls on loaded checkpoints, and of the command line."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from released_models import QUESTIONS, Adaptive, Coconut, Codi, LatentSFT, save_torch

from lrkit.data.problems import Question
from lrkit.latent.released import __main__ as command
from lrkit.latent.released import load_released
from lrkit.latent.released.release import OWN
from lrkit.study.adaptive_thought_controls import ChangedAdaptiveSolver
from lrkit.study.latent_controls import CHANGES
from lrkit.study.thought_controls import THOUGHT_CHANGES, of_another, zeroed

MORE = {"n_latents": 4, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def folders(tiny_gpt2, tiny_llama, tmp_path_factory):
    """A checkpoint of each family and where its base lies."""
    new = tmp_path_factory.mktemp
    thinker = LatentSFT(tiny_llama)
    thinker.end_after(QUESTIONS[0])
    return {
        "codi": (save_torch(Codi(tiny_gpt2).state_dict(), new("codi")), tiny_gpt2),
        "coconut": (
            save_torch(Coconut(tiny_gpt2).state_dict(), new("coconut"), "checkpoint_1"),
            tiny_gpt2,
        ),
        "adaptive": (Adaptive(tiny_llama).save(new("adaptive")), None),
        "latent_sft": (thinker.save(new("latent_sft")), None),
    }


@pytest.fixture(params=["codi", "coconut", "adaptive", "latent_sft"])
def released(request, folders):
    folder, base = folders[request.param]
    return load_released(request.param, folder, base, **MORE)


def texts(solver):
    return [s.text for s in solver.solve(QUESTIONS)]


def test_own_latents_answer_as_ever_and_others_differently(released):
    solvers = released.controls()
    assert list(solvers) == [OWN, *CHANGES] == [OWN, *THOUGHT_CHANGES]
    own = texts(released)
    assert texts(solvers[OWN]) == own
    for name in CHANGES:
        assert texts(solvers[name]) != own, name
    assert texts(released) == own  # and nothing stays behind


def test_a_control_keeps_the_number_of_latents_and_the_authors_reading(released):
    own = released.solve(QUESTIONS)
    lengths = [s.latent_steps for s in own]
    for solver in released.controls().values():
        found = solver.solve(QUESTIONS)
        assert [s.latent_steps for s in found] == lengths
        assert [s.answer for s in found] == [released.read(s.text) for s in found]
    assert [s.answer for s in own] == [released.read(s.text) for s in own]


def test_other_numbers_of_latents_are_for_models_with_a_fixed_one(released):
    if released.family in ("codi", "coconut"):
        solvers = released.controls(others=(0, 2, 4))
        assert {"0 latents", "2 latents"} < set(solvers) and "4 latents" not in solvers
        assert {s.latent_steps for s in solvers["2 latents"].solve(QUESTIONS)} == {2}
    else:
        with pytest.raises(ValueError, match="decides itself how many"):
            released.controls(others=(2,))


# --- thoughts of adaptive length ----------------------------------------------------
@pytest.fixture(scope="module")
def adaptive(folders):
    return load_released("adaptive", folders["adaptive"][0], **MORE).solver


def test_no_change_leaves_an_adaptive_model_as_it_was(adaptive):
    same = ChangedAdaptiveSolver.of(adaptive, lambda thoughts: thoughts)
    own, again = adaptive.solve(QUESTIONS), same.solve(QUESTIONS)
    assert [s.text for s in again] == [s.text for s in own]
    assert [s.latent_steps for s in again] == [s.latent_steps for s in own]
    assert [s.positions for s in again] == [s.positions for s in own]


def test_the_thoughts_that_are_changed_are_those_the_model_has(adaptive):
    asked = [adaptive.asked(q) for q in QUESTIONS]
    seen = []
    ChangedAdaptiveSolver.of(adaptive, lambda t: seen.append(t) or t).solve(QUESTIONS)
    lengths = sorted(s.latent_steps for s in adaptive.solve(QUESTIONS))
    assert sorted(map(len, seen[0])) == lengths
    assert len(set(lengths)) > 1
    longest = max(range(len(asked)), key=lambda i: len(seen[0][i]))
    thought = seen[0][longest]
    others = of_another(seen[0])
    assert not torch.equal(others[longest], thought)
    assert not any(part.any() for part in zeroed(seen[0]))


def test_an_untrained_head_can_be_overruled(folders):
    fixed = load_released("adaptive", folders["adaptive"][0], **MORE, n_min=4)
    assert {s.latent_steps for s in fixed.solve(QUESTIONS)} == {4}


def test_thoughts_without_any_latent_can_be_controlled_too(adaptive):

    none = replace(adaptive, n_max=0)
    assert [
        s.text for s in ChangedAdaptiveSolver.of(none, zeroed).solve(QUESTIONS)
    ] == [s.text for s in none.solve(QUESTIONS)]


# --- the command line ---------------------------------------------------------------
@pytest.fixture
def own_answers(folders, monkeypatch):
    """Problems whose answers are what the COCONUT checkpoint says by itself, but for
    the first two: the rest it answers rightly."""
    folder, base = folders["coconut"]
    said = load_released("coconut", folder, base, **MORE).solve(QUESTIONS)
    answers = ["?", "?", *(s.answer for s in said[2:])]
    found = [
        Question(f"q{i}", q, (), answer or "-", "own", "test", {})
        for i, (q, answer) in enumerate(zip(QUESTIONS, answers, strict=True))
    ]
    monkeypatch.setattr(command, "problems", lambda *args: found)
    return ["coconut", str(folder), "--base", str(base), "--latents", "4",
            "--max-new-tokens", "6"]  # fmt: skip


def test_the_command_line_prints_accuracy_under_each_control(
    own_answers, tmp_path, capsys
):
    out = tmp_path / "rows.csv"
    table = command.main([*own_answers, "--task", "own", "--controls", "--out",
                          str(out), "--others", "2"])  # fmt: skip
    said = capsys.readouterr().out
    assert "key map of facebookresearch/coconut" in said
    assert all(name in said for name in table.index)
    assert list(table.index) == [OWN, *CHANGES, "2 latents"]
    rows = pd.read_csv(out)
    right = rows.groupby("control", sort=False)["correct"].mean()
    assert (table["accuracy"] - 100 * right[table.index]).abs().max() < 1e-9
    own = table.loc[OWN]
    assert own["accuracy"] == pytest.approx(400 / 6) and own["n"] == 6
    assert own["low"] < own["accuracy"] < own["high"]
    assert own["difference"] == own["d_low"] == own["d_high"] == 0
    gain = table["accuracy"] - own["accuracy"]
    assert (table["difference"] - gain).abs().max() < 1e-9
    assert table.loc["zeroed", "d_high"] < 0


def test_without_a_task_the_key_map_alone_is_told(own_answers, capsys):
    assert command.main(own_answers) is None
    assert "0 left over" in capsys.readouterr().out


def test_without_controls_only_what_was_asked_for_is_run(own_answers):
    assert list(command.main([*own_answers, "--task", "own"]).index) == [OWN]
    table = command.main([*own_answers, "--task", "own", "--others", "0"])
    assert list(table.index) == [OWN, "0 latents"]


def test_what_is_not_there_or_does_not_fit_ends_with_a_sentence(folders, tmp_path):
    with pytest.raises(SystemExit, match=r"FileNotFoundError: .* is not there"):
        command.main(["codi", str(tmp_path / "nowhere")])
    folder, base = folders["coconut"]
    with pytest.raises(SystemExit, match=r"ValueError: .*tables of words"):
        command.main(["codi", str(folder), "--base", base])
    with pytest.raises(SystemExit, match="ValueError: gsm8k needs --source"):
        command.main(["coconut", str(folder), "--base", base, "--task", "gsm8k"])


def test_problems_come_from_every_source(tmp_path):
    (tmp_path / "test.jsonl").write_text(
        '{"question": "1 + 1?", "answer": "<<1+1=2>>2\\n#### 2"}\n' * 3
    )
    assert len(command.problems("gsm8k", str(tmp_path), "test", 2)) == 2
    assert len(command.problems("gsm8k", str(tmp_path), "test", 0)) == 3
    assert [p.task for p in command.problems("clock", None, "test", 2)] == ["clock"] * 2
    with pytest.raises(ValueError, match="there is no task"):
        command.problems("sums", None, "test", 2)
    with pytest.raises(ValueError, match="needs --source"):
        command.problems("prosqa", None, "test", 2)


@pytest.mark.parametrize("wanted", [1, 2, 3, 8, 32])
def test_no_question_is_alone_in_its_batch(wanted):
    for n in range(2, 100):
        size = command.no_batch_of_one(n, wanted)
        assert size >= max(wanted, 2) and n % size != 1
        assert size == wanted or wanted == 1 or n % wanted == 1
    assert command.no_batch_of_one(1, 8) == 8
