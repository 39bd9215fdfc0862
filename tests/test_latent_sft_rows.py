"""Laws of the rows of Latent-SFT, for every tokenizer."""

import pytest
import torch
from latent_models import problem

from lrkit.latent.chain_rows import CUE, TooLong
from lrkit.latent.latent_masks import supervision_positions
from lrkit.latent.latent_sft_rows import (
    ThoughtCollator,
    ThoughtRow,
    ThoughtRows,
    decoder_columns,
    encoder_columns,
)
from lrkit.latent.layout import IGNORED

LATENT = 99_999
SIZES = [0, 1, 2, 3, 7, 1000]


@pytest.fixture(params=SIZES)
def rows(request, tokenizer):
    return ThoughtRows.of(tokenizer, request.param)


def test_the_pieces_together_are_the_chain(rows):
    for n in range(5):
        steps = problem(n).steps
        whole = [token for piece in rows.pieces(steps) for token in piece]
        text = rows.rows.tokenizer.decode(whole).replace(" ", "")
        assert text == "".join(steps)
        one = ThoughtRows(rows.rows, 1).pieces(steps)
        assert [token for piece in one for token in piece] == whole, "whatever the size"


def test_there_is_a_latent_for_so_many_tokens_or_for_a_step(rows):
    for n in range(1, 5):
        pieces = rows.pieces(problem(n).steps)
        length = sum(map(len, pieces))
        if rows.piece:
            assert len(pieces) == -(-length // rows.piece)
            assert all(len(p) == rows.piece for p in pieces[:-1])
            assert 1 <= len(pieces[-1]) <= rows.piece
        else:
            assert len(pieces) == n
    assert rows.pieces(()) == []


def test_the_end_of_thinking_is_one_token_that_a_model_can_predict(rows):
    assert rows.end < len(rows.rows.tokenizer)
    assert rows.rows.tokenizer.decode([rows.end]) == "\n"
    assert rows.rows.encode("What is it?\n")[-1] == rows.end


def test_a_tokenizer_that_ends_a_thought_in_several_tokens_is_refused(chatml):
    class Spelling:
        decode = chatml.decode

        def __call__(self, text, **_):
            return {"input_ids": [5, 6]}

    with pytest.raises(ValueError, match="must be one token, and to this tokenizer it"):
        ThoughtRows.of(Spelling(), 2)


def test_the_encoder_reads_all_pieces_each_before_its_latent(rows):
    row = rows.row(problem(3))
    ids = encoder_columns(row, LATENT)
    n = len(row.question)
    assert ids[:n] == list(row.question) and ids[-1] == LATENT
    found, piece = [], []
    for token in ids[n:]:
        if token == LATENT:
            found.append(piece)
            piece = []
        else:
            piece.append(token)
    assert found == row.pieces


def test_the_decoder_says_every_piece_but_the_first_then_end_and_answer(rows):
    p = problem(3)
    row = rows.row(p)
    ids, labels = decoder_columns(row, LATENT)
    said = [token for piece in row.pieces[1:] for token in piece] + list(row.rest)
    assert [label for label in labels if label != IGNORED] == said
    assert ids.count(LATENT) == len(row.pieces)
    for token, label in zip(ids, labels, strict=True):
        assert label in (IGNORED, token)
        assert token != LATENT or label == IGNORED
    assert ids[len(row.question)] == LATENT, "the first piece is in its latent alone"
    assert row.rest[0] == rows.end and row.rest[-1] == rows.rows.tokenizer.eos_token_id
    written = rows.rows.tokenizer.decode(row.rest[1:-1])
    assert written.split(CUE)[1].strip() == p.answer


def test_the_student_has_the_latents_where_the_decoder_had_them(rows):
    p = problem(4)
    row, student = rows.row(p), rows.student(p)
    assert (student.before, student.rest) == (row.question, row.rest)
    assert student.n_slots == len(row.pieces)
    assert student.supervised == len(student.rest)
    batch = ThoughtCollator(LATENT)([row])
    ids = batch["decoder_ids"]
    position = supervision_positions(ids == LATENT, batch["decoder_mask"])[0]
    begin = len(row.question)
    slots = range(begin, begin + student.n_slots)
    assert position[ids[0] == LATENT].tolist() == list(slots)
    after = position[-len(row.rest) :].tolist()
    assert after == list(range(len(student) - len(row.rest), len(student)))


def test_what_a_solver_begins_with_is_how_the_student_row_begins(rows):
    p = problem(3)
    asked, student = rows.asked(p.question), rows.student(p)
    assert asked.before == student.before
    assert list(student.rest[: len(asked.rest)]) == list(asked.rest)


def test_a_problem_without_steps_has_no_latents_and_is_answered_at_once(rows):
    p = problem(0, answer="1")
    row = rows.row(p)
    ids, labels = decoder_columns(row, LATENT)
    assert encoder_columns(row, LATENT) == list(row.question)
    assert ids == [*row.question, *row.rest]
    assert labels == [IGNORED] * len(row.question) + list(row.rest)
    assert rows.student(p).n_slots == 0


def test_a_batch_is_its_rows_padded_and_masked_whatever_the_padding(rows):
    some = [rows.row(problem(n)) for n in (1, 4, 0)]
    for pad in (0, rows.end, rows.rows.tokenizer.eos_token_id):
        batch = ThoughtCollator(LATENT, pad)(some)
        for i, row in enumerate(some):
            ids, labels = decoder_columns(row, LATENT)
            for name, expected in (
                ("encoder", encoder_columns(row, LATENT)),
                ("decoder", ids),
            ):
                real = batch[f"{name}_mask"][i].bool()
                assert batch[f"{name}_ids"][i][real].tolist() == expected
                assert real[: len(expected)].all() and not real[len(expected) :].any()
            assert batch["labels"][i, : len(labels)].tolist() == labels
            assert (batch["labels"][i, len(labels) :] == IGNORED).all()
        assert batch["labels"].dtype == torch.long


def test_what_does_not_fit_is_refused(tokenizer):
    short = ThoughtRows.of(tokenizer, 1, context=60)
    with pytest.raises(TooLong, match="question, chain and answer, and"):
        short.row(problem(5))
    with pytest.raises(ValueError, match=r"or for a step \(0\), not for -1"):
        ThoughtRows.of(tokenizer, -1)


def test_rows_are_plain_data():
    row = ThoughtRow([1, 2], [[3], [4, 5]], [6, 7])
    assert encoder_columns(row, 9) == [1, 2, 3, 9, 4, 5, 9]
    assert decoder_columns(row, 9) == (
        [1, 2, 9, 4, 5, 9, 6, 7],
        [IGNORED] * 3 + [4, 5, IGNORED, 6, 7],
    )
