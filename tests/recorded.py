"""What the answers of every recorded study are held to."""

from collections.abc import Sequence

import pandas as pd

from lrkit.data.problems import Question
from lrkit.study.scoreboard import same_answer


def checked_accuracy(answers: pd.DataFrame, asked: Sequence[Question]) -> float:
    """The share of right answers, counted anew.

    Args:
        answers: `id`, `answer` and `correct` of a run, whose questions have to be those
            asked, in their order, and whose `correct` has to be what they say.
        asked: the questions that there are.
    """
    assert answers["id"].tolist() == [p.id for p in asked]
    found = answers["answer"].fillna("")
    right = [same_answer(a, p.answer) for a, p in zip(found, asked, strict=True)]
    assert right == answers["correct"].tolist()
    return sum(right) / len(right)
