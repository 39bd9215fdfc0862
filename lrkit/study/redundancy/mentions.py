"""Where a text still states the answer.

A chain usually says the answer several times. With half of its steps dropped and m
mentions, the answer survives with probability 1 - 0.5^m: accuracy after dropping is
then the reading of a leak, not redundancy of the reasoning. So each damaged chain is
marked by whether it still states the answer, and one kind of damage removes it first.
"""

from __future__ import annotations

import re

from lrkit.study.scoreboard import same_answer

# A minus behind a digit, a letter or a bracket is an operation and no sign.
NUMBER = re.compile(r"(?:(?<![\w)\]])-)?\d+(?:,\d{3})*(?:\.\d+)?")


def mentions(text: str, answer: str) -> list[tuple[int, int]]:
    """The spans of a text that state an answer, from left to right.

    A number is stated by whole numbers alone, however they are written: 12 is not in
    "112", nor in "1.12", and "1,000" states 1000. Any other answer is stated by its
    words, whatever their case.

    Raises:
        ValueError: for an empty answer, which every text would state.
    """
    if not answer.strip():
        raise ValueError("an empty answer is stated everywhere: give the answer.")
    if NUMBER.fullmatch(answer.strip()):
        spans = NUMBER.finditer(text)
        return [found.span() for found in spans if same_answer(found[0], answer)]
    words = r"\s+".join(map(re.escape, answer.split()))
    whole = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
    return [found.span() for found in whole.finditer(text)]


def states(text: str, answer: str) -> bool:
    """Whether a text states an answer."""
    return bool(mentions(text, answer))


def without(text: str, answer: str) -> str:
    """The text with every mention of an answer cut out.

    Where a cut would join two numbers to a new one they are kept apart by a blank, so
    that no number appears that was not there.
    """
    while spans := mentions(text, answer):
        for start, end in reversed(spans):
            before, after = text[:start], text[end:]
            joins = re.search(r"\w$", before) and re.match(r"[\w.,]", after)
            text = before + (" " if joins else "") + after
    return text
