"""What Latent-Guided Reasoning is compared with: students of text, on the same data.

Std-CoT (SFT) is `lrkit.latent.methods.cot`. The others, and what the source and their
own papers leave open:

* *MT-CoT* (arXiv 2210.06726): question to answer and question to chain and answer,
  summed. Which of its two branches answers is not said; both can be asked.
* *Distilling Step-by-Step* (arXiv 2305.02301): [label] and [rationale] prefixes, alpha
  and 1 - alpha; the label branch alone answers, so that it writes no chain.
* *CasCoD* (arXiv 2405.19842): question to chain, then question and chain to answer.
  The answer is taken out of the chain; the last equation, which holds it, is a step
  and stays.
* *Knowledge distillation*, word-level: `lrkit.latent.lgr_distillation`.
* *Sequence-level*: Std-CoT on chains that the larger model wrote.

A token behind the question stands for a prefix: the question is read without knowing
the task. All take as many optimizer steps as the executor; a step of two tasks reads
two rows a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrkit.data.problems import Question
from lrkit.latent.lgr_distillation import (
    DistilledModel,
    WrittenChains,
    check_same_tokens,
    written_by,
)
from lrkit.latent.lgr_tasks import (
    CascadeSolver,
    TaskRows,
    TaskSolver,
    TwoTaskCollator,
    TwoTaskModel,
    TwoTaskRow,
)
from lrkit.latent.methods import Training, cot
from lrkit.latent.solvers import SlotSolver, Solver
from lrkit.latent.training import run, trainer_for

MakeBoth = Callable[[TaskRows, Question], TwoTaskRow]


def two_tasks(
    training: Training, make: MakeBoth, weights: Sequence[float], name: str
) -> tuple[TwoTaskModel, TaskRows]:
    """One run of a model of two tasks.

    Args:
        training: what every method is given.
        make: rows and problem to the rows of both tasks.
        weights: of their losses.
        name: of the run's folder.
    """
    model = training.wrapped(TwoTaskModel, weights=weights)
    rows = TaskRows.of(model, training.tokenizer, training.settings.context)
    trainer = trainer_for(
        model, training.problems, lambda problem, _: make(rows, problem),
        TwoTaskCollator.of(model, training.tokenizer.pad_token_id),
        training.settings.run, training.folder / name, training.seed,
    )  # fmt: skip
    training.keep(name, run(trainer))
    return model, rows


def mt_cot(training: Training) -> TaskSolver:
    """MT-CoT; the solver writes chains. `replace(solver, writes_chain=False)` is its
    other branch."""

    def make(rows: TaskRows, problem: Question) -> TwoTaskRow:
        return TwoTaskRow(rows.answering(problem), rows.reasoning(problem, answer=True))

    model, rows = two_tasks(training, make, (1.0, 1.0), "mt-cot")
    return TaskSolver(model, rows, writes_chain=True)


def step_by_step(training: Training, alpha: float = 0.5) -> TaskSolver:
    """Distilling Step-by-Step; the label branch answers.

    Args:
        training: what every method is given.
        alpha: weight of the label.
    """

    def make(rows: TaskRows, problem: Question) -> TwoTaskRow:
        return TwoTaskRow(rows.answering(problem), rows.reasoning(problem))

    model, rows = two_tasks(training, make, (alpha, 1 - alpha), "step-by-step")
    return TaskSolver(model, rows)


def cascod(training: Training, alpha: float = 0.5) -> CascadeSolver:
    """CasCoD; chain and answer are written in two prompts.

    Args:
        training: what every method is given.
        alpha: weight of the answer.
    """

    def make(rows: TaskRows, problem: Question) -> TwoTaskRow:
        return TwoTaskRow(rows.answering(problem, chain=True), rows.reasoning(problem))

    model, rows = two_tasks(training, make, (alpha, 1 - alpha), "cascod")
    return CascadeSolver(model, rows, writes_chain=True)


def distilled(
    training: Training,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    alpha: float = 0.5,
    temperature: float = 1.0,
) -> SlotSolver:
    """Word-level distillation on the rows of Std-CoT.

    Args:
        training: of the student.
        teacher: a causal LM, such as the base of a larger Std-CoT solver.
        tokenizer: the teacher's; it must be the student's.
        alpha, temperature: see `lrkit.latent.lgr_distillation`.

    Raises:
        ValueError: for another tokenizer.
    """
    check_same_tokens(training.tokenizer, tokenizer)
    model = training.wrapped(DistilledModel, alpha=alpha, kd_temperature=temperature)
    model.learn_from(teacher)
    rows = training.rows(model)
    training.train(
        model, lambda p, _: rows.chain(p), training.settings.run, "distilled"
    )
    return SlotSolver(model, rows, writes_chain=True)


def sequence_distilled(
    training: Training, teacher: Solver, only_right: bool = True
) -> tuple[SlotSolver, WrittenChains]:
    """Sequence-level distillation: (Std-CoT on what the teacher wrote, that).

    Args:
        training: of the student.
        teacher: a solver that writes chains, with any tokenizer.
        only_right: see `lrkit.latent.lgr_distillation.written_by`.
    """
    chains = written_by(teacher, training.problems, only_right)
    return cot(replace(training, problems=chains.problems)), chains
