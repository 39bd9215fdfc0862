"""A run: only its adapter moves, killed it goes on, and its folder is enough."""

import dataclasses
import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sft_runs import STEPS, losses, often, table, tiny_settings
from transformers import TrainerCallback

from lrkit.answer import sft
from lrkit.answer.arms import ARMS
from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.last_position import last_position
from lrkit.answer.sft import train
from lrkit.profiles import LORA_TARGETS


class Spy(TrainerCallback):
    """Keeps the weights before and after."""

    def on_train_begin(self, args, state, control, model, **_):
        self.before = snapshot(model)
        self.trainable = {n for n, p in model.named_parameters() if p.requires_grad}
        self.dtypes = {p.dtype for p in model.parameters() if p.requires_grad}

    def on_train_end(self, args, state, control, model, **_):
        self.after = snapshot(model)


class Kill(TrainerCallback):
    """Stops the process's work, as Ctrl-C would, once `step` is done."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Count(TrainerCallback):
    """Counts the steps that are really computed."""

    steps = 0

    def on_step_end(self, *_, **__):
        self.steps += 1


def snapshot(model):
    """A copy of every tensor by name, the packed 4-bit weights included."""
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


def adapter(folder):
    return load_file(Path(folder) / "adapter_model.safetensors")


def same(one, other):
    """Whether two dictionaries of tensors are equal bit by bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[k], other[k]) for k in one
    )


@pytest.fixture(scope="module")
def run(tiny_llama, tmp_path_factory):
    """One whole training: its folder, log and what the spy saw."""
    folder, spy = tmp_path_factory.mktemp("run"), Spy()
    with pytest.MonkeyPatch.context() as monkeypatch:
        often(monkeypatch)
        log = train(table(), tiny_settings(tiny_llama), folder, callbacks=[spy])
    return folder, log, spy


# --- what moves and what does not -----------------------------------------------------


def test_only_the_adapter_moves_and_all_of_it_does(run):
    spy = run[2]
    assert spy.before.keys() == spy.after.keys()
    moved = {n for n in spy.before if not torch.equal(spy.before[n], spy.after[n])}
    assert moved == spy.trainable
    assert all(".lora_A." in n or ".lora_B." in n for n in moved)
    for target in LORA_TARGETS:
        per_target = 2 if target == "lm_head" else 2 * 2  # A and B, in both layers
        assert sum(f".{target}." in n for n in moved) == per_target


def test_the_adapter_is_kept_in_full_precision(run):
    """In bfloat16 a step of 5e-5 is lost on weights above 0.01."""
    assert run[2].dtypes == {torch.float32}


def test_the_folder_holds_the_adapter_and_nothing_of_the_base(run):
    saved = adapter(run[0])
    assert len(saved) == 2 * (7 * 2 + 1)
    assert all(".lora_A." in n or ".lora_B." in n for n in saved)
    assert {t.dtype for t in saved.values()} == {torch.float32}


def test_training_leaves_no_model_behind(settings, tmp_path):
    """A GPU that holds one model of 7 B holds no two."""
    seen = []

    class Watch(TrainerCallback):
        def on_train_end(self, args, state, control, model, **_):
            seen.extend([weakref.ref(model), weakref.ref(model.get_base_model())])

    settings = dataclasses.replace(settings, max_steps=1)
    train(table(), settings, tmp_path, callbacks=[Watch()])
    assert [reference() for reference in seen] == [None, None]


# --- killed, finished, changed --------------------------------------------------------


@pytest.mark.parametrize("killed_at", [2, 5])
def test_a_killed_run_goes_on_to_the_same_end(
    monkeypatch, run, settings, tmp_path, killed_at
):
    often(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(table(), settings, tmp_path, callbacks=[Kill(killed_at)])
    assert not (tmp_path / sft.CARD).exists()
    # A kill while a checkpoint is written leaves one that nobody can go on from.
    (tmp_path / "checkpoints" / "checkpoint-99").mkdir()
    count = Count()
    log = train(table(), settings, tmp_path, callbacks=[count])
    assert count.steps == STEPS - 2 * (killed_at // 2)
    assert losses(log) == losses(run[1])
    assert same(adapter(tmp_path), adapter(run[0]))


def test_a_finished_run_is_not_repeated(monkeypatch, run, settings):
    monkeypatch.delattr(sft, "load_model")
    monkeypatch.delattr(sft, "load_tokenizer")
    before = {p: p.stat().st_mtime_ns for p in run[0].rglob("*")}
    log = train(table(), settings, run[0])
    assert log == json.loads(json.dumps(run[1]))
    assert {p: p.stat().st_mtime_ns for p in run[0].rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"labels": ("no", "yes", "maybe")}, "labels"),
        ({"question": "Is it?"}, "question"),
        ({"arm": ARMS["label + shuffled reason"]}, "arm.name, arm.shuffled"),
        ({"rows": table(10)}, "rows"),
        ({"settings": {"learning_rate": 1.0}}, "settings.learning_rate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_of_another_run_is_left_alone(run, settings, change, named):
    change = dict(change)
    settings = dataclasses.replace(settings, **change.pop("settings", {}))
    rows = change.pop("rows", table())
    with pytest.raises(ValueError, match="another folder") as refusal:
        train(rows, settings, run[0], **change)
    assert f"({named})" in str(refusal.value)


def test_sizes_that_do_not_reach_the_training_may_change(run, settings):
    settings = dataclasses.replace(settings, n_explain=1, max_eval_rows=1)
    assert train(table(), settings, run[0]) == json.loads(json.dumps(run[1]))


# --- the folder is enough -------------------------------------------------------------


def test_a_saved_adapter_loads_again_as_the_trained_model(
    monkeypatch, settings, tmp_path
):
    prompts = [[5, 6, 7], [8] * 20]
    seen = {}
    monkeypatch.setattr(sft, "fast_bf16", lambda: False)  # autocast would round

    class Ask(TrainerCallback):
        def on_train_end(self, args, state, control, model, **_):
            seen["weights"] = snapshot(model)
            seen["logits"] = last_position(model, prompts, 0)[0]

    train(table(), settings, tmp_path, callbacks=[Ask()])
    loaded = OneTokenClassifier.load(tmp_path).model_
    assert same(snapshot(loaded), seen["weights"]), "bit by bit"
    logits = last_position(loaded, prompts, 0)[0]
    torch.testing.assert_close(logits, seen["logits"], rtol=0, atol=1e-5)
    untrained = OneTokenClassifier.from_base(settings).model_
    other = last_position(untrained, prompts, 0)[0]
    assert (other - seen["logits"]).abs().max() > 1e-3


def test_a_folder_can_be_moved(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "moved")
    moved = OneTokenClassifier.load(tmp_path / "moved")
    here = OneTokenClassifier.load(run[0])
    messages = table()["running_message"].tolist()
    assert (moved.predict_proba(messages) == here.predict_proba(messages)).all()
