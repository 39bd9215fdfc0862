"""Latent-Guided Reasoning from two bases to a solver, in two runs.

    thinker: task + reconstruction
        -> guidance of all training problems, once, in a file
            -> projector and executor: chain and answer behind the guidance

Each side has a `Training` of its own: base, tokenizer, problems, folder. A killed run
goes on from its last checkpoint. The classes are in `lgr`, `lgr_rows`, `lgr_guidance`,
`lgr_executor` and `lgr_solver` beside this file; the source's baselines are in
`lgr_baselines`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lrkit.latent.lgr import ThinkerModel, weights_of
from lrkit.latent.lgr_executor import (
    ExecutorCollator,
    ExecutorModel,
    executor_row,
)
from lrkit.latent.lgr_guidance import Guidance, stored_guidance, thinker_digest
from lrkit.latent.lgr_rows import ThinkerCollator, ThinkerRows
from lrkit.latent.lgr_solver import Change, LgrSolver
from lrkit.latent.methods import Training
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.training import run, trainer_for

THINKER, EXECUTOR = "lgr-thinker", "lgr-executor"
GUIDANCE = "guidance.safetensors"


@dataclass(frozen=True)
class LgrSettings:
    """Of both stages; runs are those of the two `Training`s.

    Attributes:
        n_thoughts: K.
        losses: of the thinker, "task" and "recon" or one of them.
        recon_sees_question: see `lrkit.latent.lgr.ThinkerConfig`.
        inner: of the projector, as the next one.
        dropout: 0.1 in the source.
        executor_sees_question: see `lrkit.latent.lgr_executor.ExecutorConfig`.
    """

    n_thoughts: int = 5
    losses: tuple[str, ...] = ("task", "recon")
    recon_sees_question: bool = False
    inner: int = 2048
    dropout: float = 0.1
    executor_sees_question: bool = True


def thinker_rows(training: Training, model: ThinkerModel) -> ThinkerRows:
    """How rows of a thinker are made."""
    return ThinkerRows.of(model, training.tokenizer, training.settings.context)


def thinker(training: Training, settings: LgrSettings) -> SlotSolver:
    """Stage 1. The solver is the thinker alone: it answers behind its thoughts."""
    model = training.wrapped(
        ThinkerModel, n_thoughts=settings.n_thoughts,
        recon_sees_question=settings.recon_sees_question,
        **weights_of(settings.losses),
    )  # fmt: skip
    rows = thinker_rows(training, model)
    trainer = trainer_for(
        model, training.problems, lambda problem, _: rows.both(problem),
        ThinkerCollator.of(model, training.tokenizer.pad_token_id),
        training.settings.run, training.folder / THINKER, training.seed,
    )  # fmt: skip
    training.keep(THINKER, run(trainer))
    return SlotSolver(model, rows, settings.n_thoughts)


def guidance(
    training: Training, thought: SlotSolver, file: str | Path | None = None
) -> Guidance:
    """Guidance of the problems that an executor will read: made once, then read.

    Args:
        training: of the executor. A run that is shorter than its problems reads the
            first of them alone.
        thought: of `thinker`.
        file: a safetensors file, which executors of one thinker may share; None: one
            in the folder of the training.

    Raises:
        ValueError: where another thinker wrote the file.
    """
    settings = training.settings.run
    n = settings.steps * settings.batch_size * settings.accumulation
    questions = [problem.question for problem in training.problems[:n]]
    file = training.folder / GUIDANCE if file is None else file
    return stored_guidance(thought.model, thought.rows, questions, file)


def executor(
    training: Training,
    thought: SlotSolver,
    settings: LgrSettings,
    change: Change | None = None,
    known: Guidance | None = None,
    name: str = EXECUTOR,
) -> LgrSolver:
    """Stage 2, behind a thinker that stays as it is.

    Args:
        training: of the executor.
        thought: of `thinker`.
        settings: of both stages.
        change: what is done to the stored vectors [questions, K, d_T] before the
            executor learns from them, and before it answers. With zeros it is the
            *blind* executor: the same slots, projector and steps, and nothing to be
            told. It is what guidance has to be compared with: slots with constants in
            them, which a plain executor has not, may help by themselves.
        known: guidance of its problems; None: that of `guidance`.
        name: of the run's folder.

    Raises:
        ValueError: for guidance of another thinker.
    """
    known = guidance(training, thought) if known is None else known
    known.check(thinker_digest(thought.model, thought.rows))
    if change is not None:
        known = replace(known, vectors=change(known.vectors))
    model = training.wrapped(
        ExecutorModel,
        thinker_width=known.vectors.shape[-1],
        n_latents=settings.n_thoughts,
        inner=settings.inner,
        dropout=settings.dropout,
        gain=training.settings.scale,
        thinker=known.thinker,
        sees_question=settings.executor_sees_question,
    )
    rows, config = training.rows(model), model.config
    trainer = trainer_for(
        model, training.problems,
        lambda problem, _: executor_row(rows, problem, known, config),
        ExecutorCollator.of(model, training.tokenizer.pad_token_id),
        training.settings.run, training.folder / name, training.seed,
    )  # fmt: skip
    training.keep(name, run(trainer))
    return LgrSolver(thought.model, thought.rows, model, rows, change=change)


def lgr(
    large: Training, small: Training, settings: LgrSettings
) -> tuple[SlotSolver, LgrSolver]:
    """Both stages: (the thinker alone, thinker and executor).

    Args:
        large: of the thinker.
        small: of the executor; its base may have another tokenizer.
        settings: of both stages.
    """
    thought = thinker(large, settings)
    return thought, executor(small, thought, settings)
