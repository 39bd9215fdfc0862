"""Rows and short trainings that the tests of the supervised fine-tuning share.

Trainings are real ones, of a random 2-layer model in 4 bits. Spies look over the
trainer's shoulder through its own callbacks.
"""

import pandas as pd
import pytest

from lrkit.answer import sft
from lrkit.answer.arms import ARMS
from lrkit.answer.sft import train
from lrkit.profiles import load_profile

STEPS = 6


def table(n=12):
    """Rows with prompts and reasons of different lengths."""
    rows = {
        "id": [f"r{i}" for i in range(n)],
        "running_message": [
            f"Customer: case {i}{' again' * (i % 5)}." for i in range(n)
        ],
        "label": ["yes", "no"] * (n // 2),
        "reason": [f"reason {i}" + " because" * (i % 7) for i in range(n)],
    }
    return pd.DataFrame(rows)


def tiny_settings(base, **changes):
    changes = {"lora_r": 4, "batch_size": 2, "max_steps": STEPS} | changes
    return load_profile("smoke", base=base, **changes).answer


def often(monkeypatch):
    """Log at every step and save at every second one."""
    usual = sft.training_arguments

    def arguments(*args, **kwargs):
        config = usual(*args, **kwargs)
        config.logging_steps, config.save_steps = 1, 2
        return config

    monkeypatch.setattr(sft, "training_arguments", arguments)


def losses(log):
    """What is logged of each step, without the times."""
    keys = ("step", "loss", "grad_norm", "learning_rate")
    return [{k: row[k] for k in keys} for row in log if "loss" in row]


class Built(Exception):
    """Carries the trainer out of `train` before it begins."""


def built_trainer(monkeypatch, settings, folder, arm=ARMS["label + reason"]):
    """The trainer, with all that `train` hands to it, just before the first step."""

    def stop(trainer, **_):
        raise Built(trainer)

    monkeypatch.setattr(sft.AnswerTrainer, "train", stop)
    with pytest.raises(Built) as caught:
        train(table(), settings, folder, arm)
    return caught.value.args[0]
