"""Two readers of redundant chains: one has seen whole ones alone, one damaged ones.

The embedded bases write each step once and have never read it twice. Each reader is a
method as those of `lrkit.latent.methods` are: rows, a run, a solver. A sixth of the
batches of both are whole, with loss on chain and answer. The others ask for something
behind a chain and carry loss on the answer alone; there, and only there, the two
differ: one reads the whole chain, the other what is left of it.

A batch is of problems with as many steps and of one share of redundant sentences. Rows
of unlike length would be padding for the most part. Problems have three steps at most:
the base knows few places behind those that such chains take.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.families import Family, register
from lrkit.latent.layout import SlotRow
from lrkit.latent.methods import Training
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import trained
from lrkit.latent.training import RowCollator, run, trainer_for
from lrkit.profiles import LatentSettings
from lrkit.study.redundancy.asking import ASKS, asked
from lrkit.study.redundancy.compact import compact
from lrkit.study.redundancy.damaged import UNITS, damaged_row
from lrkit.study.redundancy.reading import Reader

NONE_PLANTED, PLANTED = 0.0, 0.6  # shares of redundant sentences
TRAINED = (NONE_PLANTED, PLANTED, PLANTED)
MODULES = (
    "lrkit.study.redundancy.asking",
    "lrkit.study.redundancy.compact",
    "lrkit.study.redundancy.damaged",
    "lrkit.study.redundancy.dropping",
    "lrkit.study.redundancy.readers",
)
NAME = "reading"
WRITTEN = 1 / 6  # share of batches that carry loss on their chains
LONGEST = 3  # steps of a problem
MAX_CHAIN = 100
STEPS, BATCH_SIZE, LEARNING_RATE = 400, 32, 3e-3


def short(problems: Sequence[Question]) -> list[Question]:
    """Those that the readers are trained on and asked."""
    return [problem for problem in problems if problem.n_steps <= LONGEST]


def said(problem: Question, redundancy: float, seed: int = 0) -> list[str]:
    """The sentences of a chain, see `lrkit.study.redundancy.compact`."""
    return [sentence.text for sentence in compact(problem, redundancy, seed)]


@dataclass(frozen=True)
class Lot:
    """What the rows of a batch have in common.

    Attributes:
        redundancy: share of redundant sentences.
        written: whether chain and answer carry loss; else the answer alone.
    """

    redundancy: float
    written: bool


def lots(
    problems: Sequence[Question], batch_size: int, seed: int
) -> tuple[list[Question], dict[str, Lot]]:
    """The problems in an order in which batches have one number of steps, and the lot
    of each by its id.

    Args:
        problems: to train on.
        batch_size: of the run.
        seed: random seed of the order and of what a batch is.
    """
    rng = random.Random(f"{seed} lots")
    by_length: dict[int, list[Question]] = {}
    for problem in problems:
        by_length.setdefault(problem.n_steps, []).append(problem)
    blocks = [
        group[k : k + batch_size]
        for group in by_length.values()
        for k in range(0, len(group), batch_size)
    ]
    rng.shuffle(blocks)
    blocks.sort(key=len, reverse=True)  # a short one would shift those behind it
    lot_of = {}
    for block in blocks:
        lot = Lot(rng.choice(TRAINED), rng.random() < WRITTEN)
        lot_of |= {problem.id: lot for problem in block}
    return [problem for block in blocks for problem in block], lot_of


def reading_row(
    rows: ChainRows, problem: Question, rng: random.Random, lot: Lot, largest_p: float
) -> SlotRow:
    """A row of a reader, see the module.

    Args:
        rows: makes it.
        problem: with steps.
        rng: source of randomness; the wording, too, is drawn from it.
        lot: of the row's batch.
        largest_p: of what is dropped with; small ones are drawn more often, as what is
            left of a chain says little at a large one.
    """
    say = partial(said, redundancy=lot.redundancy, seed=rng.randrange(10**6))
    if lot.written:
        return rows.chain(problem, say(problem))
    ask, unit, p = rng.choice(ASKS), rng.choice(UNITS), largest_p * rng.random() ** 2
    return damaged_row(rows, asked(problem, ask), rng, p, say, unit)


def reading(training: Training, largest_p: float) -> SlotSolver:
    """SFT on redundant chains; 0: whole ones alone."""
    model = training.wrapped()
    rows = training.rows(model)
    settings = replace(training.settings.run, cpu_bf16=True)
    problems, lot_of = lots(
        short(training.problems), settings.batch_size, training.seed
    )
    trainer = trainer_for(
        model, problems,
        lambda p, rng: reading_row(rows, p, rng, lot_of[p.id], largest_p),
        RowCollator.of(model, training.tokenizer.pad_token_id), settings,
        training.folder / NAME, training.seed,
    )  # fmt: skip
    trainer.args.train_sampling_strategy = "sequential"
    training.keep(NAME, run(trainer))
    return SlotSolver(model, rows, writes_chain=True, max_new_tokens=MAX_CHAIN)


READERS = {
    name: partial(reading, largest_p=largest_p)
    for name, largest_p in {"whole chains": 0.0, "damaged chains": 1.0}.items()
}
register(Family(READERS, modules=MODULES))


def reading_settings(settings: LatentSettings) -> LatentSettings:
    """A profile's settings at the size of these readers, or below."""
    steps, batch_size = min(settings.steps, STEPS), min(settings.batch_size, BATCH_SIZE)
    return replace(
        settings, steps=steps, batch_size=batch_size, learning_rate=LEARNING_RATE,
        train_rows=min(settings.train_rows, 2 * steps * batch_size),
    )  # fmt: skip


def reader(settings: LatentSettings, name: str, seed: int = 0) -> Reader:
    """One of `READERS`, trained now or found.

    Args:
        settings: of a profile, see `reading_settings`.
        name: "whole chains" or "damaged chains".
        seed: random seed.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in READERS:
        raise ValueError(f"no reader of {name!r}: choose one of {', '.join(READERS)}.")
    solver, _ = trained(settings, name, seed)
    return Reader.of(replace(solver, max_new_tokens=MAX_CHAIN))
