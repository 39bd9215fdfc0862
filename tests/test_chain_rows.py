"""Laws of rows made of problems, for every tokenizer."""

import pytest
from latent_models import problem

from lrkit.latent.chain_rows import CUE, ChainRows, TooLong

BOT, EOT, PAUSE = 90_000, 90_001, 90_002
ANSWERS = ["7", "42", "-3", "3.5", "1234567", "-0.25"]


@pytest.fixture
def rows(tokenizer):
    return ChainRows(tokenizer, BOT, EOT, PAUSE)


@pytest.mark.parametrize("value", ANSWERS)
def test_after_the_cue_comes_the_first_token_of_the_number(rows, value):
    answer = rows.answer(value)
    decode = rows.tokenizer.decode
    first = decode([answer.ids[answer.cue + 1]]).strip()
    assert first and value.startswith(first)
    assert not decode(answer.ids[answer.cue]).strip().endswith(first)
    assert decode(answer.ids[:-1]).split(CUE)[1].strip() == value
    assert answer.ids[-1] == rows.tokenizer.eos_token_id


def test_the_answer_is_the_same_tokens_whatever_stands_before_it(rows):
    answer = rows.answer("42").ids
    one, other = problem(2, answer="42"), problem(4, answer="42")
    for row in (rows.chain(one), rows.chain(other), rows.latent(one, 3)):
        assert list(row.rest[-len(answer) :]) == answer


def test_as_many_tokens_carry_loss_as_there_are_to_be_learned(rows):
    p = problem(3)
    answer, chain = rows.answer(p.answer).ids, rows.steps(p.steps)
    assert rows.chain(p).supervised == len(chain) + len(answer)
    assert rows.chain(p, ()).supervised == len(answer), "No-CoT: the answer alone"
    assert rows.latent(p, 4).supervised == len(answer)
    some = rows.latent(p, 4, p.steps[2:])
    assert some.supervised == len(rows.steps(p.steps[2:])) + len(answer)
    assert rows.asked(p.question, 3).supervised == 0


def test_a_reason_stands_behind_the_answer_and_its_end(rows):
    p = problem(3)
    row, at_once = rows.answer_first(p), rows.chain(p, ())
    assert row.before == at_once.before
    n = len(at_once.rest)
    assert row.rest[:n] == at_once.rest, "a solver sees what No-CoT sees, and stops"
    reason = row.rest[n:]
    assert rows.tokenizer.decode(reason[:-1]).split() == ["(", "2", "3", "4", ")"]
    assert reason[-1] == rows.tokenizer.eos_token_id
    assert row.supervised == len(row.rest)


def test_a_latent_row_is_question_bot_slots_eot_answer(rows):
    p = problem(2)
    row = rows.latent(p, 5)
    assert list(row.before) == [*rows.question(p.question), BOT] and row.n_slots == 5
    assert row.rest[0] == EOT and list(row.rest[1:]) == rows.answer(p.answer).ids


def test_what_a_solver_begins_with_is_how_the_row_begins(rows):
    p = problem(3)
    for asked, whole in (
        (rows.asked(p.question, 4), rows.latent(p, 4)),
        (rows.asked(p.question, None), rows.chain(p, ())),
        (rows.asked(p.question, None, cue=False), rows.chain(p)),
    ):
        assert list(asked.before) == list(whole.before)
        assert asked.n_slots == whole.n_slots
        assert list(whole.rest[: len(asked.rest)]) == list(asked.rest)


def test_special_tokens_in_a_question_stay_text(rows):
    end = rows.tokenizer.eos_token
    assert rows.tokenizer.eos_token_id not in rows.question(f"What is {end} of 3?")


def test_what_does_not_fit_is_refused_with_its_length(rows):
    short = ChainRows(rows.tokenizer, BOT, EOT, PAUSE, context=40)
    with pytest.raises(TooLong, match=r"a question of \d+ tokens does not fit into 40"):
        short.question("word " * 60)
    with pytest.raises(TooLong, match="50 slots"):
        short.latent(problem(1, question="1+1?"), 50)
    with pytest.raises(ValueError, match="cannot have -1 slots"):
        rows.latent(problem(1), -1)


def test_bracketed_steps_stand_before_those_that_are_written_whole(rows):
    p = problem(3)
    said = rows.tokenizer.decode(rows.chain(p, p.steps[1:], p.steps[:1]).rest)
    first = p.steps[0].strip("<>").split("=")[1]
    wanted = f"({first})" + "".join(p.steps[1:]) + CUE
    assert "".join(said.split()).startswith("".join(wanted.split()))
    assert rows.tokenizer.decode(rows.chain(p, (), p.steps).rest).count("=") == 0
