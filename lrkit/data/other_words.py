"""The same question in other words that the base knows, and a method may not.

A base that is frozen has read every sentence of its task; what is trained beside it
need not have. Clock questions say each operation in several words: with `TRAINED` they
are told in some of them, with `OTHER` in the others alone. So a method can be asked out
of its domain and within the base's, by the same questions: whatever is lost between the
two is lost by the method. (Where the base itself fails, as in the split "templates",
nothing can be told.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from lrkit.data.problems import Problem

TRAINED = {"plus": "forward", "minus": "back", "multiplied": "times"}
OTHER = {
    "forward": "plus", "ahead": "plus", "back": "minus", "backward": "minus",
    "times": "multiplied",
}  # fmt: skip


def in_words(problem: Problem, words: Mapping[str, str]) -> Problem:
    """The problem told in other words; steps, answer and id stay.

    Args:
        problem: of the task "clock", in its ordinary sentences.
        words: word -> what is said instead, such as `TRAINED`.

    Raises:
        ValueError: for a problem of another task.
    """
    if problem.task != "clock":
        raise ValueError(
            f"problem {problem.id!r} is of the task {problem.task!r}: other words are "
            "known for clock questions alone."
        )
    pattern = re.compile(rf"\b({'|'.join(words)})\b")

    def say(text: str) -> str:
        return pattern.sub(lambda found: words[found[0]], text)

    told = [say(sentence) for sentence in problem.made_from["templates"]]
    made_from = {**problem.made_from, "templates": told}
    return replace(problem, question=say(problem.question), made_from=made_from)
