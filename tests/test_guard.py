"""Laws of the guard: what goes back, to where, at which rate, and what nobody notices.

Trainings are real ones of a tiny Llama that counts, with dropout, so that random
numbers matter. Faults come from outside, through the trainer's callbacks.
"""

import gc
import json
import math
import random
import re
import shutil
import weakref

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_scheduler,
)

from lrkit.checkpoints import last_checkpoint
from lrkit.guard import (
    MEMORY,
    RECORD,
    Diverged,
    GuardSettings,
    Memory,
    guarded_train,
    scale_rates,
    undisturbed,
)

STEPS = 12  # one and a half times through the rows
SETTINGS = GuardSettings(patience=2, window=4, spike=2.0, max_restores=2)
ROWS = [[(start + i) % 50 for i in range(8)] for start in range(32)]
pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


def factory(folder, *callbacks, **changes):
    """Builds trainers as `guarded_train` wants them; saves at every second step."""
    arguments = {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "weight_decay": 0.01,  # a second parameter group
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": 2,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    } | changes

    def make():
        config = LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            attention_dropout=0.1,
            max_position_embeddings=16,
            tie_word_embeddings=False,
        )
        torch.manual_seed(0)
        return Trainer(
            model=LlamaForCausalLM(config),
            args=TrainingArguments(**arguments),
            train_dataset=[{"input_ids": row, "labels": row} for row in ROWS],
            callbacks=list(callbacks),
        )

    return make


class Fault(TrainerCallback):
    """Spoils the model just before a step, as often as it is told."""

    def __init__(self, spoil, step, times=1):
        self.spoil, self.step, self.times = spoil, step, times

    def on_step_begin(self, args, state, control, model, **_):
        if state.global_step + 1 == self.step and self.times > 0:
            self.times -= 1
            self.spoil(model)


def nan_loss(model):
    """The next forward pass, the first micro-batch of the step, has no loss."""

    def spoil(module, inputs, output):
        handle.remove()
        output.loss = output.loss * math.nan
        return output

    handle = model.register_forward_hook(spoil)


def inf_gradient(model):
    """The loss is fine, a gradient is not."""

    def spoil(gradient):
        handle.remove()
        return gradient * math.inf

    handle = model.lm_head.weight.register_hook(spoil)


def blow_up(model):
    """All weights times ten: the loss stays high for many steps."""
    with torch.no_grad():
        for p in model.parameters():
            p *= 10


class Spy(TrainerCallback):
    """Of every step: the weights before it, and the rates that the optimizer used; of
    every attempt: the step and the weights that it begins with."""

    def __init__(self):
        self.rates, self.begins, self.step_of_begin = [], [], []
        self.weights = []

    def on_train_begin(self, args, state, control, model, **_):
        self.begins.append(snapshot(model))
        self.step_of_begin.append(state.global_step)

    def on_step_begin(self, args, state, control, model, **_):
        self.weights.append(snapshot(model))

    def on_pre_optimizer_step(self, args, state, control, optimizer, **_):
        rates = [group["lr"] for group in optimizer.param_groups]
        self.rates.append((state.global_step + 1, rates))


class Kill(TrainerCallback):
    """Stops the process's work, as Ctrl-C would, after `step`; once."""

    def __init__(self, step, when=lambda: True):
        self.step, self.when = step, when

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step and self.when():
            self.when = lambda: False
            raise KeyboardInterrupt


def snapshot(model):
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


def same(one, other):
    """Whether two dictionaries of tensors are equal bit by bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[k], other[k]) for k in one
    )


def losses(trainer):
    """What is logged of each step, without the times."""
    keys = ("step", "loss", "grad_norm", "learning_rate")
    rows = trainer.state.log_history
    return [{k: row[k] for k in keys} for row in rows if "loss" in row]


def restorations(trainer):
    return [row for row in trainer.state.log_history if "restoration" in row]


def saved_steps(folder):
    return sorted(int(p.name.split("-")[1]) for p in folder.glob("checkpoint-*"))


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """A training collects garbage; going through the libraries takes half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without guard and without fault: its trainer; its rates and the weights it
    began with, of each step."""
    spy = Spy()
    trainer = factory(tmp_path_factory.mktemp("plain"), spy)()
    trainer.train()
    return trainer, dict(spy.rates), spy.weights


# --- what is restored -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "reason", "diverged_at", "restored_to"),
    [
        (nan_loss, "loss is nan", 8, 4),
        (inf_gradient, "gradient norm is (inf|nan)", 8, 4),
        (blow_up, r"loss is \d.*the recent median 3", 10, 4),
    ],
)
def test_what_diverges_is_restored_and_ends_at_half_the_rate(
    plain, tmp_path, spoil, reason, diverged_at, restored_to
):
    spy = Spy()
    make = factory(tmp_path, Fault(spoil, step=8), spy)
    with pytest.warns(UserWarning, match=f"^Step {diverged_at}: {reason}") as warned:
        trainer = guarded_train(make, SETTINGS)
    assert trainer.state.global_step == STEPS
    assert [row["step"] for row in losses(trainer)] == list(range(1, STEPS + 1))
    assert all(math.isfinite(row["loss"]) for row in losses(trainer))
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    (row,) = restorations(trainer)
    assert row["step"] == row["restored_to"] == restored_to
    assert row["diverged_at"] == diverged_at and re.match(reason, row["reason"])
    assert (row["old_rate"], row["new_rate"]) == (1e-2, 5e-3)
    assert len([w for w in warned if "Gone back" in str(w.message)]) == 1
    assert spy.step_of_begin == [0, restored_to]
    assert same(spy.begins[1], plain[2][restored_to])
    # The rate that the optimizer really had, in every group, at every step.
    first, second = spy.rates[:diverged_at], spy.rates[diverged_at:]
    assert first == [(k, plain[1][k]) for k in range(1, diverged_at + 1)]
    expected = [(k, [0.5 * r for r in plain[1][k]]) for k in range(1, STEPS + 1)]
    assert second == expected[restored_to:]


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
        {"bf16": True},
        {"lr_scheduler_type": "cosine_with_min_lr"}
        | {"lr_scheduler_kwargs": {"min_lr": 1e-3}},
        {"save_strategy": "epoch", "num_train_epochs": 3, "max_steps": -1},
    ],
    ids=["accumulation", "bf16", "cosine", "epochs"],
)
def test_other_ways_of_training_are_restored_too(tmp_path, changes):
    spy, reference = Spy(), Spy()
    at = 20 if "num_train_epochs" in changes else 8
    undisturbed_run = factory(tmp_path / "plain", reference, **changes)()
    undisturbed_run.train()
    with pytest.warns(UserWarning, match=f"Step {at}: loss is nan"):
        trainer = guarded_train(
            factory(tmp_path / "guarded", Fault(nan_loss, at), spy, **changes), SETTINGS
        )
    back = restorations(trainer)[0]["restored_to"]
    assert back == (16 if at == 20 else 4)
    assert trainer.state.global_step == trainer.state.max_steps
    assert [rates for _, rates in spy.rates[at:]] == [
        pytest.approx([0.5 * r for r in rates]) for _, rates in reference.rates[back:]
    ]
    # Weights, random numbers and rows are those of an undisturbed run.
    assert losses(trainer)[back]["loss"] == losses(undisturbed_run)[back]["loss"]
    assert all(math.isfinite(row["loss"]) for row in losses(trainer))


def test_a_checkpoint_that_was_written_while_diverging_is_not_restored(tmp_path):
    """Checkpoints 10, 12 and 14 hold blown-up weights, and 8 is too close to them."""
    spy, saved = Spy(), []

    class Saved(TrainerCallback):
        def on_save(self, args, state, control, **_):
            saved.append(state.global_step)

    settings = GuardSettings(patience=2, window=4, spike=1.5, spike_steps=6)
    make = factory(tmp_path, Fault(blow_up, step=9), spy, Saved(), max_steps=16)
    with pytest.warns(UserWarning, match="Gone back to step 6"):
        guarded_train(make, settings)
    assert saved[:6] == [2, 4, 6, 8, 10, 12], "they were there to be taken"
    assert spy.step_of_begin == [0, 6]
    assert all(p.abs().max() < 2 for p in spy.begins[1].values())


def test_before_anything_was_proven_the_run_begins_again(plain, tmp_path):
    """Even if the trainers share one model, whose weights are spoiled by then."""
    spy, make = Spy(), factory(tmp_path, callback := Fault(nan_loss, step=3))
    shared = make().model

    def sharing():
        trainer = make()
        trainer.model = trainer.model_wrapped = shared
        trainer.callback_handler.model = shared
        trainer.add_callback(spy)
        return trainer

    with pytest.warns(UserWarning, match="Gone back to step 0"):
        trainer = guarded_train(sharing, SETTINGS)
    assert callback.times == 0
    assert same(*spy.begins), "the same weights, though a step was made with them"
    assert [row["step"] for row in losses(trainer)] == list(range(1, STEPS + 1))
    assert losses(trainer)[0]["loss"] == losses(plain[0])[0]["loss"], "and rows"


def test_each_restoration_lowers_the_rate_once(plain, tmp_path):
    """The second one begins with a checkpoint whose rate was already lowered."""
    spy = Spy()
    faults = Fault(nan_loss, step=6), Fault(inf_gradient, step=11)
    make = factory(tmp_path, spy, *faults)
    with pytest.warns(UserWarning, match="Gone back"):
        trainer = guarded_train(make, SETTINGS)
    one, two = restorations(trainer)
    assert (one["restored_to"], two["restored_to"]) == (2, 8)
    assert (two["old_rate"], two["new_rate"]) == (5e-3, 2.5e-3)
    assert spy.rates[-4:] == [(k, [r / 4 for r in plain[1][k]]) for k in range(9, 13)]


@pytest.mark.filterwarnings("ignore:Step 8")
def test_right_after_a_restoration_the_same_checkpoint_is_good_enough(tmp_path):
    """What it knew when it was written, of older ones, is no longer true: they are
    deleted."""
    spy, first = Spy(), Fault(nan_loss, step=8)
    second = Fault(lambda model: first.times or nan_loss(model), step=5, times=2)
    make = factory(tmp_path, spy, first, second)
    with pytest.warns(UserWarning, match="Step 5: loss is nan. Gone back to step 4"):
        trainer = guarded_train(make, SETTINGS)
    assert spy.step_of_begin == [0, 4, 4]
    assert [row["new_rate"] for row in restorations(trainer)] == [5e-3, 2.5e-3]


def test_a_schedule_with_scaled_rates_is_that_of_other_peaks():
    """From its next step on, in every group, and if it is made anew."""

    def schedule(*peaks):
        groups = [{"params": [torch.zeros(1)], "lr": peak} for peak in peaks]
        optimizer = torch.optim.SGD(groups)
        made = get_scheduler("cosine", optimizer, 2, 9)
        for _ in range(4):
            optimizer.step(), made.step()
        return optimizer, made

    def rates(optimizer, made):
        seen = []
        for _ in range(4):
            seen.append(([g["lr"] for g in optimizer.param_groups], made.get_last_lr()))
            optimizer.step(), made.step()
        return seen, [g["initial_lr"] for g in optimizer.param_groups]

    optimizer, made = schedule(4.0, 1.0)
    scale_rates(optimizer, made, 0.25)
    assert rates(optimizer, made) == rates(*schedule(1.0, 0.25))


def test_what_does_not_stop_diverging_is_given_up_with_a_reason(tmp_path):
    spy = Spy()
    make = factory(tmp_path, spy, Fault(nan_loss, step=7, times=99))
    with pytest.warns(UserWarning), pytest.raises(Diverged) as given_up:
        guarded_train(make, SETTINGS)
    assert spy.step_of_begin == [0, 4, 4], "max_restores is 2"
    at_7 = [rates[0] for step, rates in spy.rates if step == 7]
    assert at_7 == [at_7[0], at_7[0] / 2, at_7[0] / 4]
    said = str(given_up.value)
    assert "diverged at step 7: loss is nan" in said
    assert "0.01 -> 0.005" in said and "0.005 -> 0.0025" in said
    assert "checkpoint of step 4" in said and "learning_rate" in said
    with pytest.raises(Diverged):  # the count outlives the process
        guarded_train(make, SETTINGS)
    assert len(spy.step_of_begin) == 4


def test_a_collapsed_metric_is_restored_from_before_the_last_good_look(tmp_path):
    """Looks are at 5, 10 and the end: 6 and 8 were saved since a look that was fine."""
    blind = GuardSettings(patience=1, spike=1e9, metric_every=5, drop=1.0)

    def metric(model):
        assert not model.training and not torch.is_grad_enabled()
        return -float(model.lm_head.weight.norm())

    make = factory(tmp_path, Fault(blow_up, step=8))
    with pytest.warns(
        UserWarning, match=r"Step 10: metric is -\d.*Gone back to step 4"
    ):
        trainer = guarded_train(make, blind, metric)
    looks = [r for r in trainer.state.log_history if "guard_metric" in r]
    assert [row["step"] for row in looks] == [5, 10, 12]
    assert min(row["guard_metric"] for row in looks) > -10


# --- what nobody notices --------------------------------------------------------------


@pytest.mark.parametrize("looks", [False, True])
def test_without_divergence_the_guard_changes_nothing(plain, tmp_path, looks):
    def restless(model):
        model.lm_head(torch.randn(3, 32))
        return float(torch.rand(()) + random.random() + np.random.rand())

    settings = GuardSettings(metric_every=1, drop=9.0)
    make = factory(tmp_path)
    trainer = guarded_train(make, settings, restless if looks else None)
    assert same(snapshot(trainer.model), snapshot(plain[0].model)), "bit by bit"
    assert losses(trainer) == losses(plain[0])
    assert not restorations(trainer) and not (tmp_path / RECORD).exists()
    left, usual = (t.callback_handler.callbacks for t in (trainer, make()))
    assert [type(c) for c in left] == [type(c) for c in usual]


def test_looking_leaves_mode_and_random_numbers_alone():
    model = torch.nn.Dropout()

    def draw():
        return float(torch.rand(())), random.random(), float(np.random.rand())

    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = [draw(), draw()]
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    first = draw()
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        assert not model.training
        draw()
        raise ZeroDivisionError
    assert model.training and [first, draw()] == expected


def test_the_good_checkpoint_is_always_there_and_older_ones_are_not_kept(tmp_path):
    seen = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            good = state.stateful_callbacks[MEMORY]["good"]
            assert (tmp_path / f"checkpoint-{good}" / "trainer_state.json").is_file()
            newest = json.loads(
                (
                    tmp_path / last_checkpoint(tmp_path) / "trainer_state.json"
                ).read_text()
            )
            # A killed run goes on from the newest, and asks for the one named there.
            named = newest["stateful_callbacks"][MEMORY]["good"]
            assert (tmp_path / f"checkpoint-{named}").is_dir()
            seen.append((state.global_step, good, saved_steps(tmp_path)))

    guarded_train(factory(tmp_path, Look()), SETTINGS)
    assert seen[0] == (0, 0, [0])
    assert seen[9] == (9, 6, [6, 8])
    assert max(len(steps) for _, _, steps in seen) <= 3
    assert [good for _, good, _ in seen] == [0, 0, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8]


# --- killed ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """An uninterrupted run with a restoration: from step 8 back to step 4."""
    make = factory(tmp_path_factory.mktemp("restored"), Fault(nan_loss, step=8))
    with pytest.warns(UserWarning, match="Gone back to step 4"):
        return guarded_train(make, SETTINGS)


@pytest.mark.filterwarnings("ignore:Step 8")
@pytest.mark.parametrize(
    ("killed_at", "attempt"),
    [(1, 1), (5, 1), (4, 2), (11, 2)],
    ids=str,
)
def test_a_killed_run_goes_on_to_the_same_end(restored, tmp_path, killed_at, attempt):
    """Killed before the restoration, right after it, and later."""
    fault = Fault(nan_loss, step=8)
    kill = Kill(killed_at, lambda: fault.times == 2 - attempt)
    make = factory(tmp_path, fault, kill)
    with pytest.raises(KeyboardInterrupt):
        guarded_train(make, SETTINGS)
    # A kill while a checkpoint is written leaves one that nobody can go on from.
    (tmp_path / "checkpoint-99").mkdir()
    trainer = guarded_train(make, SETTINGS)
    assert fault.times == 0
    assert losses(trainer) == losses(restored)
    assert same(snapshot(trainer.model), snapshot(restored.model)), "bit by bit"
    assert restorations(trainer) == restorations(restored)


def test_the_last_model_is_let_go_before_the_next_is_built(tmp_path):
    """A GPU that holds one model of 7 B holds no two."""
    make, seen = factory(tmp_path, Fault(nan_loss, step=1)), []

    def watched():
        assert [reference() for reference in seen] == [None] * len(seen)
        trainer = make()
        seen.append(weakref.ref(trainer.model))
        return trainer

    with pytest.warns(UserWarning, match="Gone back to step 0"):
        guarded_train(watched, SETTINGS)
    assert len(seen) == 2


def test_a_run_killed_while_it_is_restored_is_restored_when_it_goes_on(
    monkeypatch, restored, tmp_path
):
    make, remove = factory(tmp_path, Fault(nan_loss, step=8)), shutil.rmtree

    def killed(path, *_, **__):
        if path.name == "checkpoint-6":
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.warns(UserWarning), pytest.raises(KeyboardInterrupt):
        guarded_train(make, SETTINGS)
    assert 6 in saved_steps(tmp_path), "a diverged checkpoint is left"
    monkeypatch.undo()
    trainer = guarded_train(make, SETTINGS)
    assert losses(trainer) == losses(restored)
    assert same(snapshot(trainer.model), snapshot(restored.model))


def test_what_was_known_before_a_kill_is_known_after_it(tmp_path):
    """The spike has begun when the run is killed; its first checkpoint is no good."""
    fault = Fault(blow_up, step=8)
    settings = GuardSettings(patience=2, window=4, spike=1.5, spike_steps=4)
    make = factory(tmp_path, fault, Kill(9, lambda: fault.times == 0))
    with pytest.raises(KeyboardInterrupt):
        guarded_train(make, settings)
    assert saved_steps(tmp_path)[-1] == 8, "it is taken up again in the midst of it"
    with pytest.warns(UserWarning, match=r"^Step 11.*Gone back to step 4"):
        guarded_train(make, settings)


def test_a_finished_run_takes_no_step_more(restored):
    spy = Spy()
    make = factory(restored.args.output_dir, spy)
    trainer = guarded_train(make, SETTINGS)
    assert trainer.state.global_step == STEPS and spy.rates == []
    assert not trainer.is_in_train
    assert same(snapshot(trainer.model), snapshot(restored.model))


def test_a_run_that_began_without_guard_can_go_on_with_it(plain, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        factory(tmp_path, Kill(5))().train()
    with pytest.warns(UserWarning, match="Step 6: loss is nan. Gone back to step 4"):
        trainer = guarded_train(factory(tmp_path, Fault(nan_loss, step=6)), SETTINGS)
    expected = [row["learning_rate"] for row in losses(plain[0])]
    expected[4:] = [0.5 * rate for rate in expected[4:]]
    assert [row["learning_rate"] for row in losses(trainer)] == expected


# --- the judgement --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_checkpoint_is_good_when_it_and_its_patience_were_fine(seed):
    """Against the definition, on random losses; what is bad is never called good."""
    random.seed(seed)
    settings = GuardSettings(patience=3, window=3, spike=2.0, spike_steps=99)
    memory, saved, suspicious = Memory(), [], []
    for step in range(1, 200):
        memory.loss_fault(step, random.choice([1.0] * 7 + [9.0]), settings)
        suspicious += [step] if memory.suspect == step else []
        memory.fine_until(step, settings)
        fine = [
            s
            for s in saved
            if s + 3 <= step and not any(s <= bad <= s + 3 for bad in suspicious)
        ]
        assert memory.good == max(fine, default=0)
        if random.random() < 0.3:
            memory.saved(step)
            saved.append(step)
    assert suspicious and memory.good


def test_only_a_run_of_high_losses_is_divergence():
    settings = GuardSettings(window=4, spike=3.0, spike_steps=3)
    memory = Memory()
    for loss in [2.0] * 4 + [9.0, 9.0, 2.0, 9.0, 5.9, 9.0, 9.0]:
        assert memory.loss_fault(0, loss, settings) is None
    assert "9" in memory.loss_fault(0, 9.0, settings)


def test_before_there_is_a_median_only_nan_counts():
    settings = GuardSettings(window=4, spike_steps=1)
    memory = Memory()
    for loss in (1.0, 90.0, 1.0, 1.0):
        assert memory.loss_fault(0, loss, settings) is None
    assert memory.loss_fault(0, 90.0, settings)
    assert Memory().loss_fault(0, math.nan, settings) == "loss is nan"
    assert Memory().loss_fault(0, -math.inf, settings) == "loss is -inf"


def test_near_zero_and_below_it_the_multiple_says_nothing():
    settings = GuardSettings(window=2, spike=3.0, least_spike=0.5, spike_steps=1)
    for usual in (0.001, -4.0):
        memory = Memory()
        for loss in (usual, usual, usual + 0.4, usual, usual):
            assert memory.loss_fault(0, loss, settings) is None
        assert memory.loss_fault(0, usual + 0.6, settings)


def test_a_metric_may_waver_but_not_fall():
    memory, settings = Memory(), GuardSettings(drop=0.2)
    for value in (0.1, 0.5, 0.35, 0.6, 0.41):
        assert memory.metric_fault(value, settings) is None
    assert "at best it was 0.6" in memory.metric_fault(0.39, settings)
    assert memory.metric_fault(math.nan, settings)
    assert Memory().metric_fault(math.nan, settings)


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logging_nan_inf_filter", True),
        ("save_strategy", "no"),
        ("save_only_model", True),
        ("save_total_limit", 1),
        ("load_best_model_at_end", True),
        ("ignore_data_skip", True),
    ],
)
def test_arguments_that_blind_the_guard_are_refused(tmp_path, name, value):
    def make():
        trainer = factory(tmp_path)()
        setattr(trainer.args, name, value)
        return trainer

    with pytest.raises(ValueError, match=f"{name} is '?{value}.*: (set|leave)"):
        guarded_train(make, SETTINGS)
    assert not saved_steps(tmp_path)


def test_a_schedule_whose_rate_cannot_be_lowered_is_refused(tmp_path):
    def make():
        trainer = factory(tmp_path)()
        trainer.lr_scheduler = ReduceLROnPlateau(trainer.create_optimizer())
        return trainer

    with pytest.raises(ValueError, match=r"ReduceLROnPlateau.*lr_scheduler_type"):
        guarded_train(make, SETTINGS)


@pytest.mark.parametrize(
    "change",
    [
        {"factor": 1.0},
        {"factor": 0},
        {"patience": 0},
        {"max_restores": -1},
        {"spike": 0.5},
        {"window": 0},
        {"metric_every": 0},
        {"drop": -1},
    ],
    ids=str,
)
def test_settings_without_sense_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} is .*: give"):
        GuardSettings(**change)
