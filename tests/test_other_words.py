"""The same questions in other words: nothing else changes, and no word is in both."""

import re
from dataclasses import replace

import pytest
from latent_models import problem

from lrkit.data.clock import SENTENCES
from lrkit.data.other_words import OTHER, TRAINED, in_words
from lrkit.data.problems import problems

SOME = problems("clock", "test", 200)
SAID = {w for slot in "+-*" for s in SENTENCES[slot] for w in s.split()[:1]}


def words(told):
    return {w for p in told for w in re.findall("[a-z]+", p.question)}


def test_both_wordings_together_say_all_that_a_question_can_say():
    trained, other = (words(in_words(p, w) for p in SOME) for w in (TRAINED, OTHER))
    assert (trained | other) & SAID == SAID
    assert not trained & other & SAID
    assert trained & SAID == {"forward", "ahead", "back", "backward", "times"}


@pytest.mark.parametrize("wording", [TRAINED, OTHER])
def test_steps_answers_and_numbers_stay(wording):
    for p in SOME:
        told = in_words(p, wording)
        assert replace(told, question=p.question, made_from=p.made_from) == p
        assert re.findall(r"\d+", told.question) == re.findall(r"\d+", p.question)
        assert len(told.question.split()) == len(p.question.split())
        first, *done, asked = told.made_from["templates"]
        numbers = [k for _, k in p.made_from["operations"]]
        filled = [s.format(k=k) for s, k in zip(done, numbers, strict=True)]
        start = first.format(n=p.made_from["n_hours"], k=p.made_from["start"])
        assert told.question == " ".join([start, *filled, asked])


def test_telling_twice_is_telling_once():
    for p in SOME[:50]:
        once = in_words(p, TRAINED)
        assert in_words(once, TRAINED) == once
        assert in_words(in_words(once, OTHER), TRAINED).answer == p.answer


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match="of the task 'words': other words are known"):
        in_words(replace(problem(1), task="words"), OTHER)
