"""Thinkers, executors and their baselines: trained once, found again.

As `lrkit.latent.trained`, for systems of two models. Executors of one thinker share the
file of its guidance, which lies beside it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from filelock import FileLock

from lrkit.cache import fingerprint, run_folder
from lrkit.data.problem_sets import training_problems
from lrkit.data.problems import Question
from lrkit.latent import lgr_baselines
from lrkit.latent.lgr import ThinkerModel
from lrkit.latent.lgr_distillation import DistilledModel
from lrkit.latent.lgr_executor import ExecutorModel
from lrkit.latent.lgr_methods import (
    GUIDANCE,
    LgrSettings,
    executor,
    guidance,
    thinker,
    thinker_rows,
)
from lrkit.latent.lgr_solver import Change, LgrSolver
from lrkit.latent.lgr_tasks import CascadeSolver, TaskRows, TaskSolver, TwoTaskModel
from lrkit.latent.methods import Training
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import BatchSolver, SlotSolver
from lrkit.latent.trained import (
    MODEL,
    SOLVER,
    load_base,
    method_settings,
    run_key,
    trained,
)
from lrkit.models import device, load_tokenizer
from lrkit.profiles import LatentSettings

CODE = tuple(
    f"lrkit.latent.lgr{part}"
    for part in ("", "_rows", "_guidance", "_executor", "_methods")
)
BASELINE_CODE = tuple(
    f"lrkit.latent.lgr_{part}" for part in ("tasks", "distillation", "baselines")
)
Logs = dict[str, list[dict]]


@dataclass(frozen=True)
class Pair:
    """A large and a small model.

    Attributes:
        large: of the thinker: base, task, run.
        small: of the executor; it reads the problems of its own task.
        lgr: of both stages.
    """

    large: LatentSettings
    small: LatentSettings
    lgr: LgrSettings = field(default_factory=LgrSettings)


def _training(
    settings: LatentSettings, folder: Path, seed: int, given: Sequence[Question] | None
) -> Training:
    return Training(
        load_base=lambda: load_base(settings),
        tokenizer=load_tokenizer(settings.base),
        problems=training_problems(settings, seed) if given is None else given,
        settings=method_settings(settings),
        folder=folder,
        seed=seed,
    )


def _once(folder: Path, train: Callable[[], SlotModel]) -> None:
    """Train and save, unless that was done; the mark is written last."""
    with FileLock(f"{folder}.lock"):  # two notebooks may ask at the same time
        if not (folder / SOLVER).is_file():
            train().save_pretrained(folder / MODEL)
            for checkpoint in folder.glob("*/checkpoint-*"):
                shutil.rmtree(checkpoint)
            (folder / SOLVER).write_text(json.dumps({"done": True}) + "\n")


def _load(kind: type[SlotModel], folder: Path) -> SlotModel:
    model = kind.from_pretrained(folder / MODEL, dtype=torch.float32)
    return model.to(device()).eval()


def _thinker_folder(
    settings: LatentSettings,
    lgr: LgrSettings,
    seed: int,
    given: list[Question] | None,
) -> Path:
    of_stage = (lgr.n_thoughts, lgr.losses, lgr.recon_sees_question)
    base = run_key(settings, "LGR thinker", seed, given)
    return run_folder("lgr-thinker", fingerprint([base, of_stage], CODE))


def trained_thinker(
    settings: LatentSettings,
    lgr: LgrSettings,
    seed: int = 0,
    given: list[Question] | None = None,
) -> tuple[SlotSolver, Logs]:
    """The thinker alone, trained now or found, and the logs of its run.

    Args:
        settings: base, task and run.
        lgr: of the thinker; what concerns the executor changes nothing.
        seed: random seed.
        given: problems to train on; None: generated ones of the task.
    """
    folder = _thinker_folder(settings, lgr, seed, given)
    training = _training(settings, folder, seed, given)
    _once(folder, lambda: thinker(training, lgr).model)
    model = _load(ThinkerModel, folder)
    rows = thinker_rows(training, model)
    return SlotSolver(model, rows, lgr.n_thoughts), training.logs()


def trained_executor(
    pair: Pair,
    seed: int = 0,
    change: tuple[str, Change] | None = None,
    given: list[Question] | None = None,
) -> tuple[LgrSolver, Logs]:
    """Thinker and executor, trained now or found, and the logs of the executor's run.

    Args:
        pair: of both.
        seed: random seed, of both.
        change: a name, and what is done to the guidance that the executor learns from;
            see `lrkit.latent.lgr_methods.executor`.
        given: problems to train both on; None: generated ones.
    """
    thought, _ = trained_thinker(pair.large, pair.lgr, seed, given)
    beside = _thinker_folder(pair.large, pair.lgr, seed, given)
    base = run_key(pair.small, "LGR executor", seed, given)
    about = [beside.name, base, pair.lgr, change and change[0]]
    folder = run_folder("lgr-executor", fingerprint(about, CODE))
    training = _training(pair.small, folder, seed, given)
    read = fingerprint([pair.small.task, pair.small.source, pair.small.steps,
                        pair.small.batch_size, pair.small.accumulation,
                        pair.small.train_rows])  # fmt: skip

    def train() -> SlotModel:
        with FileLock(f"{beside}.guidance.lock"):
            known = guidance(training, thought, beside / f"{read}-{GUIDANCE}")
        made = executor(training, thought, pair.lgr, change and change[1], known)
        return made.model

    _once(folder, train)
    model = _load(ExecutorModel, folder)
    rows, then = training.rows(model), change and change[1]
    solver = LgrSolver(thought.model, thought.rows, model, rows, change=then)
    return solver, training.logs()


TASKS = {
    "MT-CoT": lgr_baselines.mt_cot,
    "step by step": lgr_baselines.step_by_step,
    "CasCoD": lgr_baselines.cascod,
}
DISTILLED, SEQUENCE = "KD, words", "KD, sequences"
BASELINES = ("CoT", "No-CoT", *TASKS, DISTILLED, SEQUENCE)


def trained_baseline(
    name: str,
    settings: LatentSettings,
    seed: int = 0,
    large: LatentSettings | None = None,
    given: list[Question] | None = None,
) -> tuple[BatchSolver, Logs]:
    """A student of text, trained now or found, and the logs of its run.

    Args:
        name: one of `BASELINES`; "CoT" is SFT (Std-CoT).
        settings: base, task and run of the student.
        seed: random seed.
        large: of the teacher, which is trained with CoT first; for the two kinds of
            knowledge distillation.
        given: problems to train on; None: generated ones of the task.

    Raises:
        ValueError: for an unknown name, or distillation without a teacher.
    """
    if name not in BASELINES:
        raise ValueError(f"no baseline {name!r}: choose one of {', '.join(BASELINES)}.")
    if name in ("CoT", "No-CoT"):
        return trained(settings, name, seed, given)
    if name in (DISTILLED, SEQUENCE) and large is None:
        raise ValueError(f"{name!r} needs a teacher: give the settings of a large one.")
    base = run_key(settings, name, seed, given)
    above = run_key(large, "CoT", seed, given) if large and name not in TASKS else ""
    folder = run_folder("lgr-baseline", fingerprint([base, above, name], BASELINE_CODE))
    training = _training(settings, folder, seed, given)

    def train() -> SlotModel:
        if name in TASKS:
            return TASKS[name](training).model
        teacher = trained(large, "CoT", seed, given)[0]
        if name == SEQUENCE:
            n = settings.steps * settings.batch_size * settings.accumulation
            some = replace(training, problems=training.problems[:n])
            return lgr_baselines.sequence_distilled(some, teacher)[0].model
        tokenizer = load_tokenizer(large.base)
        return lgr_baselines.distilled(training, teacher.model.base, tokenizer).model

    _once(folder, train)
    if name in TASKS:
        model = _load(TwoTaskModel, folder)
        rows = TaskRows.of(model, training.tokenizer, training.settings.context)
        kind = CascadeSolver if name == "CasCoD" else TaskSolver
        solver = kind(model, rows, writes_chain=name != "step by step")
    else:
        model = _load(DistilledModel if name == DISTILLED else SlotModel, folder)
        solver = SlotSolver(model, training.rows(model), writes_chain=True)
    return solver, training.logs()
