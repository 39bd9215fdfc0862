"""A published model as the workbook's studies take it: a solver, and its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.released.strict import LoadReport
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import BatchSolver, SlotSolver, Solution, Solver
from lrkit.study import latent_controls, thought_controls
from lrkit.study.adaptive_thought_controls import ChangedAdaptiveSolver

Read = Callable[[str], str]
OWN = "own latents"


@dataclass(frozen=True)
class Reading:
    """A solver whose answers are read in the authors' way.

    Attributes:
        solver: what answers.
        read: takes all that was written to the answer.
    """

    solver: Solver
    read: Read

    def solve(self, questions: Sequence[str]) -> list[Solution]:
        """A solution for each question, in their order."""
        return [
            replace(solution, answer=self.read(solution.text))
            for solution in self.solver.solve(questions)
        ]


@dataclass(frozen=True)
class Released:
    """A loaded checkpoint.

    Attributes:
        family: one of `lrkit.latent.released.families.FAMILIES`.
        solver: over the model, with the authors' prompts; its answers are the text.
        read: how the answer is read from the text.
        report: what the key map did.
    """

    family: str
    solver: BatchSolver
    read: Read
    report: LoadReport

    @property
    def model(self) -> SlotModel:
        """The model, in evaluation mode."""
        return self.solver.model

    def solve(self, questions: Sequence[str]) -> list[Solution]:
        """A solution for each question, in their order."""
        return Reading(self.solver, self.read).solve(questions)

    def controls(self, others: Sequence[int] = ()) -> dict[str, Reading]:
        """The same model with its own latents, and with others in their places.

        Args:
            others: numbers of latents to try beside the trained one, of a model whose
                number is fixed.

        Raises:
            ValueError: for other numbers where the model itself decides.
        """
        found: dict[str, Solver] = {OWN: self.solver}
        if isinstance(self.solver, SlotSolver):
            found |= latent_controls.controls(self.solver, others)
        elif others:
            raise ValueError(f"{self.family} decides itself how many latents it needs.")
        else:
            found |= {
                name: _changed(self.solver, change)
                for name, change in thought_controls.THOUGHT_CHANGES.items()
            }
        return {name: Reading(solver, self.read) for name, solver in found.items()}


def _changed(
    solver: AdaptiveSolver | SuperpositionSolver, change: thought_controls.ThoughtChange
) -> Solver:
    if isinstance(solver, AdaptiveSolver):
        return ChangedAdaptiveSolver.of(solver, change)
    return thought_controls.changed(solver, change)
