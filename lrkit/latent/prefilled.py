"""A chain whose first words are given: how a model thinks is chosen by the caller.

A base may write its steps in several styles, and picks one by its first token. With
that token given (a *prefill*) it goes on in the style that is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrkit.latent.layout import SlotRow
from lrkit.latent.solvers import SlotSolver

EQUATIONS = "<<"


@dataclass(frozen=True)
class PrefilledSolver(SlotSolver):
    """A solver that goes on with a chain that was begun for it.

    What was given counts among the positions, and not among the tokens that are
    written.

    Attributes:
        begun: first words of the chain, such as `EQUATIONS`.

    Raises:
        ValueError: for a solver that does not write its chain, or no words.
    """

    begun: str = EQUATIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.writes_chain:
            raise ValueError("a chain is begun for who writes it: set writes_chain.")
        if not self.begun:
            raise ValueError("nothing to begin the chain with: use SlotSolver.")

    def asked(self, question: str) -> SlotRow:
        """The question and the first words of its chain."""
        row = super().asked(question)
        return replace(row, rest=[*row.rest, *self.rows.encode(self.begun)])
