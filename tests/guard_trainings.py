"""Tiny trainings, and faults in them, that the test files of the guard share.

Trainings are real ones of a tiny Llama that counts, with dropout, so that random
numbers matter. Faults come from outside, through the trainer's callbacks.
"""

import gc
import math

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from lrkit.guard import GuardSettings

STEPS = 12  # one and a half times through the rows
SETTINGS = GuardSettings(patience=2, window=4, spike=2.0, max_restores=2)
ROWS = [[(start + i) % 50 for i in range(8)] for start in range(32)]


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


@pytest.fixture(name="quick_collections", scope="module", autouse=True)
def quick_collections_fixture():
    """A training collects garbage; going through the libraries takes half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(name="plain", scope="module")
def plain_fixture(tmp_path_factory):
    """A run without guard and without fault: its trainer; its rates and the weights it
    began with, of each step."""
    spy = Spy()
    trainer = factory(tmp_path_factory.mktemp("plain"), spy)()
    trainer.train()
    return trainer, dict(spy.rates), spy.weights
