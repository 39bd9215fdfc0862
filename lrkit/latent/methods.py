"""The methods, each a few lines: rows, runs, and the solver that reads the result.

All begin from the same base, read the same problems and take the same number of
optimizer steps, whatever they put between question and answer. What a row is made of is
in `chain_rows`, `curriculum` and `codi`; how a run goes is in `training`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from lrkit.data.chains import in_brackets
from lrkit.data.problems import Question
from lrkit.divergence import GuardSettings
from lrkit.guard import guarded_train
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.codi import CodiCollator, CodiModel, codi_row
from lrkit.latent.curriculum import Curriculum, Schedule, TokenDropping
from lrkit.latent.sim_cot import SimCotModel
from lrkit.latent.sim_cot_rows import SimCotCollator, sim_cot_row
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.training import MakeRow, RowCollator, RunSettings, run, trainer_for

LOG = "log.json"
MOSTLY = 0.7


@dataclass(frozen=True)
class MethodSettings:
    """What the methods share.

    Attributes:
        run: of one whole method; a curriculum divides its steps among its stages.
        n_latents: of CODI.
        gamma: CODI's weight of the distillation.
        keep_last_step: see `lrkit.latent.codi.codi_row`.
        codi_map: CODI's, one of `lrkit.latent.maps.MAPS`.
        codi_targets: see `lrkit.latent.codi.CodiConfig`, as the next one.
        codi_blocks: first and last block that are distilled; None: all.
        codi_chain: see `lrkit.latent.codi.codi_row`.
        codi_rounds: all latents at once, so many times over (parallel Jacobi latents,
            PCCoT, arXiv 2506.18582); 0: one after another.
        curriculum: COCONUT's and its controls'.
        token_dropping: of stepwise internalisation.
        last_stage: share of a curriculum's steps that its last stage, without any
            written step, takes.
        context: longest row, in tokens.
        scale: of what is written, see `lrkit.latent.maps.identity`.
    """

    run: RunSettings
    n_latents: int = 6
    gamma: float = 20.0
    keep_last_step: bool = False
    codi_map: str = "mlp"
    codi_targets: tuple[str, ...] = ("cue",)
    codi_blocks: tuple[int, int] | None = None
    codi_chain: str = "equations"
    codi_rounds: int = 0
    curriculum: Curriculum = field(default_factory=Curriculum)
    token_dropping: TokenDropping = field(default_factory=TokenDropping)
    last_stage: float = 0.4
    context: int = 384
    scale: float = 1.0


@dataclass(frozen=True)
class Training:
    """What every method is given.

    Attributes:
        load_base: gives the base afresh, with its own weights.
        tokenizer: the base's.
        problems: to train on.
        settings: see `MethodSettings`.
        folder: for checkpoints.
        seed: random seed.
    """

    load_base: Callable[[], PreTrainedModel]
    tokenizer: PreTrainedTokenizerBase
    problems: Sequence[Question]
    settings: MethodSettings
    folder: Path
    seed: int = 0

    def wrapped(
        self, kind: type[SlotModel] = SlotModel, map: str = "identity", **config
    ) -> SlotModel:
        """The base with slots; rows and map are drawn by the seed, and the rows before
        and behind the slots begin as those of brackets (COCONUT's begin as "<<")."""
        set_seed(self.seed)
        scale = self.settings.scale
        spec: dict[str, object] = {"kind": map}
        if scale != 1.0 and map != "superposition":  # that is as long as embeddings are
            spec["scale"] = scale
        model = kind.wrap(self.load_base(), map=spec, **config)
        ids = self.rows(model).encode(in_brackets(["<<1+1=2>>"]))
        model.copy_row("<bot>", ids[0])
        model.copy_row("<eot>", ids[-1])
        return model

    def rows(self, model: SlotModel) -> ChainRows:
        """How this method's rows are made."""
        return ChainRows.of(model, self.tokenizer, self.settings.context)

    def train(
        self, model: SlotModel, make: MakeRow, settings: RunSettings, name: str
    ) -> None:
        """One plain run; its log is kept beside its checkpoints."""
        collator = RowCollator.of(model, self.tokenizer.pad_token_id)
        trainer = trainer_for(
            model, self.problems, make, collator, settings, self.folder / name,
            self.seed,
        )  # fmt: skip
        self.keep(name, run(trainer))

    def keep(self, name: str, log: Sequence[dict]) -> None:
        """Write the log of a run where `logs` finds it."""
        (self.folder / name / LOG).write_text(json.dumps(log, indent=1) + "\n")

    def logs(self) -> dict[str, list[dict]]:
        """The logs of the runs that have ended, in their order."""
        files = sorted(self.folder.glob(f"*/{LOG}"), key=lambda f: f.stat().st_mtime)
        return {file.parent.name: json.loads(file.read_text()) for file in files}


def cot(training: Training) -> SlotSolver:
    """CoT SFT: the chain and the answer are written."""
    model = training.wrapped()
    rows = training.rows(model)
    training.train(model, lambda p, _: rows.chain(p), training.settings.run, "cot")
    return SlotSolver(model, rows, writes_chain=True)


def short_cot(training: Training) -> SlotSolver:
    """CoT SFT on results alone, "( 2 6 )": a token a step, and words still."""
    model = training.wrapped()
    rows = training.rows(model)
    make = lambda p, _: rows.chain(p, (), p.steps)  # noqa: E731
    training.train(model, make, training.settings.run, "short-cot")
    return SlotSolver(model, rows, writes_chain=True)


def mixed_chains(training: Training) -> SlotSolver:
    """CoT SFT that mostly writes equations and now and then results alone: a start for
    reinforcement learning, which can only choose among what is sampled."""
    model = training.wrapped()
    rows = training.rows(model)
    make = partial(ChainRows.mixed, rows, whole=MOSTLY)
    training.train(model, make, training.settings.run, "mixed-chains")
    return SlotSolver(model, rows, writes_chain=True)


def no_cot(training: Training) -> SlotSolver:
    """No-CoT SFT: the answer alone."""
    model = training.wrapped()
    rows = training.rows(model)
    make = lambda p, _: rows.chain(p, ())  # noqa: E731
    training.train(model, make, training.settings.run, "no-cot")
    return SlotSolver(model, rows)


def answer_first(training: Training) -> SlotSolver:
    """Answer-then-reason SFT: the chain is written behind the answer, where it can
    change the weights and no longer the answer."""
    model = training.wrapped()
    rows = training.rows(model)
    make = lambda p, _: rows.answer_first(p)  # noqa: E731
    training.train(model, make, training.settings.run, "answer-first")
    return SlotSolver(model, rows)


def by_curriculum(training: Training, filler: str) -> SlotSolver:
    """COCONUT ("latent"), pause as thought ("pause"), step dropping ("nothing")."""
    schedule = replace(training.settings.curriculum, filler=filler)
    model = by_stages(training, schedule, filler)
    n = schedule.n_latents(schedule.stages[-1]) if filler != "nothing" else 0
    return SlotSolver(model, training.rows(model), n, pause=filler == "pause")


def internalised(training: Training) -> SlotSolver:
    """Stepwise internalisation (ICoT-SI): the chain goes by tokens, with smoothing."""
    model = by_stages(training, training.settings.token_dropping, "tokens")
    return SlotSolver(model, training.rows(model))


def by_stages(training: Training, schedule: Schedule, name: str) -> SlotModel:
    """One run a stage, each with an optimizer of its own.

    Raises:
        ValueError: for fewer optimizer steps than stages.
    """
    settings = training.settings
    stages = schedule.stages[1:]  # the base has learned stage 0, the whole chain
    before_last = settings.run.steps - round(settings.run.steps * settings.last_stage)
    each = before_last // max(len(stages) - 1, 1)
    if not each:
        raise ValueError(
            f"{settings.run.steps} optimizer steps are too few for {len(stages)} "
            "stages."
        )
    last = settings.run.steps - each * (len(stages) - 1)
    model = training.wrapped()
    rows = training.rows(model)
    for stage in stages:
        steps = last if stage == stages[-1] else each
        make = partial(_staged, schedule, rows, stage)
        of_stage = replace(settings.run, steps=steps)
        training.train(model, make, of_stage, f"{name}-{stage}")
    return model


def _staged(schedule: Schedule, rows: ChainRows, stage: int, problem, rng):
    return schedule.row(rows, problem, stage, rng)


def at_once(training: Training) -> SlotSolver:
    """COCONUT without its curriculum: all steps are gone from the first row on."""
    settings = training.settings
    n = settings.curriculum.n_latents(settings.curriculum.last)
    model = training.wrapped()
    rows = training.rows(model)
    make = lambda p, _: rows.latent(p, n)  # noqa: E731
    training.train(model, make, settings.run, "at-once")
    return SlotSolver(model, rows, n)


def codi(training: Training, guard: GuardSettings | None = None) -> SlotSolver:
    """CODI, under the guard: it is known to diverge."""

    def make_row(rows: ChainRows, model: CodiModel, problem: Question, _):
        return codi_row(rows, problem, training.settings.n_latents, **teacher(training))

    return distilled(training, "codi", CodiModel, make_row, CodiCollator, guard)


def sim_cot(
    training: Training, guard: GuardSettings | None = None, **config
) -> SlotSolver:
    """CODI with SIM-CoT, under the guard; the decoder stays with the model.

    Args:
        training: what every method is given.
        guard: when to go back.
        config: of `SimCotConfig`, such as `delta` and `step_text`.
    """

    def make_row(rows: ChainRows, model: SimCotModel, problem: Question, _):
        n = training.settings.n_latents
        return sim_cot_row(rows, problem, n, model.config, **teacher(training))

    return distilled(
        training, "sim-cot", SimCotModel, make_row, SimCotCollator, guard, **config
    )


def teacher(training: Training) -> dict:
    """What CODI's teacher reads, as `codi_row` takes it."""
    settings = training.settings
    return {"keep_last_step": settings.keep_last_step, "chain": settings.codi_chain}


def distilled(
    training: Training,
    name: str,
    kind: type[CodiModel],
    make_row: Callable,
    collator: type[CodiCollator],
    guard: GuardSettings | None,
    **config,
) -> SlotSolver:
    """A guarded run of CODI or of what is built on it.

    Args:
        training: what every method is given.
        name: of the run's folder.
        kind: of the model.
        make_row: rows, model, problem and source of randomness to a row.
        collator: of these rows.
        guard: when to go back; None: as usual.
        config: of the model, beside what the settings say.
    """
    settings = training.settings
    if settings.codi_rounds:
        config |= {"order": "rounds", "rounds": settings.codi_rounds}

    def make_trainer():
        model = training.wrapped(
            kind, settings.codi_map, gamma=settings.gamma,
            targets=settings.codi_targets, blocks=settings.codi_blocks, **config,
        )  # fmt: skip
        trainer = trainer_for(
            model,
            training.problems,
            partial(make_row, training.rows(model), model),
            collator.of(model, training.tokenizer.pad_token_id),
            settings.run,
            training.folder / name,
            training.seed,
        )
        trainer.args.save_total_limit = None  # the guard deletes what is too old
        return trainer

    trainer = guarded_train(make_trainer, guard or GuardSettings())
    training.keep(name, trainer.state.log_history)
    model = trainer.model
    return SlotSolver(model, training.rows(model), settings.n_latents)


METHODS: dict[str, Callable[[Training], SlotSolver]] = {
    "CoT": cot,
    "short CoT": short_cot,
    "mixed chains": mixed_chains,
    "No-CoT": no_cot,
    "answer, then chain": answer_first,
    "pause": partial(by_curriculum, filler="pause"),
    "step dropping": partial(by_curriculum, filler="nothing"),
    "stepwise internalisation": internalised,
    "COCONUT": partial(by_curriculum, filler="latent"),
    "COCONUT at once": at_once,
    "CODI": codi,
    "SIM-CoT": sim_cot,
    "SIM-CoT, results": partial(sim_cot, step_text="result"),
    "CODI, read": partial(sim_cot, step_text="result", supervise=False),
}
