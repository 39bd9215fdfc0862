"""The folder of one training run: what was begun, how far it came, what it left.

`run.json` is written when training begins and holds all that the result depends on;
`checkpoints/` lets a killed run go on; `answer.json` (the card) is written last, so
that its presence means a finished run. Nothing here trains or loads a model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import peft
import torch
import transformers
import trl

from lrkit.models import compute_dtype, weights_digest
from lrkit.profiles import AnswerSettings

if TYPE_CHECKING:
    from lrkit.answer.arms import Arm

CARD = "answer.json"
RUN = "run.json"


def run_identity(
    rows: pd.DataFrame,
    settings: AnswerSettings,
    arm: Arm,
    labels: Sequence[str],
    question: str,
    seed: int,
) -> dict[str, Any]:
    """All that a trained adapter depends on, by name, as it reads back from JSON."""
    used = ["id", "running_message", "label"] + ["reason"] * (arm.order != "label")
    text = json.dumps(rows[used].to_numpy().tolist(), default=str)
    about = {f"arm.{k}": v for k, v in dataclasses.asdict(arm).items()}
    about |= {f"settings.{k}": v for k, v in dataclasses.asdict(settings).items()}
    for key in ("n_explain", "max_train_rows", "max_eval_rows", "max_extra_rows"):
        del about[f"settings.{key}"]  # which rows there are is seen in the rows
    about |= {"labels": list(labels), "question": question, "seed": seed}
    about["rows"] = hashlib.sha256(text.encode()).hexdigest()
    return json.loads(json.dumps(about))


def check_folder(out: Path, identity: dict[str, Any]) -> None:
    """Refuse to go on with a run, or to return one, that had other arguments."""
    if not (out / RUN).is_file():
        return
    before = json.loads((out / RUN).read_text())
    other = [k for k in identity if identity[k] != before.get(k)]
    if other:
        raise ValueError(
            f"{out} holds a run with other arguments ({', '.join(other)}): choose "
            "another folder, or delete this one."
        )


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def write_card(
    out: Path,
    settings: AnswerSettings,
    arm: Arm,
    labels: Sequence[str],
    question: str,
    seed: int,
    n_rows: int,
    whole_labels: bool = False,
) -> None:
    """Write `answer.json`: all that is needed to load and to repeat. Written last, so
    that its presence means a finished run."""
    card = {
        "base": settings.base,
        "base_weights": weights_digest(settings.base),
        "load_in_4bit": settings.load_in_4bit,
        "prompt": settings.prompt,
        "max_tokens": settings.max_tokens,
        "question": question,
        "labels": list(labels),
        "collisions": "whole" if whole_labels else "raise",
        "arm": arm.name,
        "order": arm.order,
        "seed": seed,
        "rows": n_rows,
        "dtype": str(compute_dtype()),
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "trl": trl.__version__,
        },
    }
    write_json(out / CARD, card)
