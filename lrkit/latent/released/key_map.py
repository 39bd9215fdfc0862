"""Key maps: where each tensor of somebody else's checkpoint belongs in a model of ours.

What is done with a map, strictly, is in `lrkit.latent.released.strict`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Where some rows of a tensor go.

    Attributes:
        to: name of a weight of ours; groups of the rule's pattern may be used in it.
            "": nowhere, these rows are left over.
        rows: the first of them and the one behind the last; None: the whole tensor.
        at: the first row of ours that they fill.
        why: for left-over rows.
    """

    to: str = ""
    rows: tuple[int, int] | None = None
    at: int = 0
    why: str = ""

    def __post_init__(self) -> None:
        if not (self.to or self.why):
            raise ValueError("rows that go nowhere need a reason.")


@dataclass(frozen=True)
class Rule:
    """What becomes of the tensors with some names.

    Attributes:
        pattern: a regular expression for the whole name.
        parts: together they hold every row once.
    """

    pattern: str
    parts: tuple[Part, ...]


def renamed(pattern: str, to: str) -> Rule:
    """The rule of a tensor that is taken whole."""
    return Rule(pattern, (Part(to),))


@dataclass(frozen=True)
class KeyMap:
    """A checkpoint's names in terms of ours.

    Attributes:
        source: repository and file that the names were read from.
        rules: of those that fit a name the first one counts.
        twins: (name, its copy): the tensor of a tied table that a file may hold once or
            twice, or under the other name alone.
        left: (pattern of their names, why they are left over); these come before the
            rules.
        fresh: (pattern of our names, why they, or some of their rows, are in no file).
    """

    source: str
    rules: tuple[Rule, ...]
    twins: tuple[tuple[str, str], ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    fresh: tuple[tuple[str, str], ...] = ()
