"""Rows: none depends on another, the source's way agrees, and what is no row."""

import numpy as np
import pandas as pd
import pytest
import torch
from classifier_models import MESSAGES, logits_of

from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.engine import batches_by_length, left_pad
from lrkit.answer.last_position import last_position
from lrkit.answer.prompts import PromptTooLong


def generated_scores(model, prompt):
    """The source's way: generate one token of one row and look at its scores."""
    ids = torch.tensor([prompt])
    out = model.model_.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=1,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        pad_token_id=model.tokenizer_.pad_token_id,
    )
    return out.scores[0][0]


def test_a_row_does_not_depend_on_its_batch(model):
    prompts = model.prompts(MESSAGES)
    alone = torch.cat([logits_of(model, [p]) for p in prompts])
    assert alone.std() > 0.5 and (alone[0] - alone[1]).abs().max() > 0.1
    for batch_tokens in (1, 200, 600, 10**6):
        together = logits_of(model, prompts, batch_tokens)
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)
    proba = model.predict_proba(MESSAGES)
    for i, message in enumerate(MESSAGES):
        np.testing.assert_allclose(
            model.predict_proba([message])[0], proba[i], atol=1e-5
        )


def test_what_stands_under_the_padding_does_not_matter(model):
    prompts = model.prompts(MESSAGES)
    results = [last_position(model.model_, prompts, pad)[0] for pad in (0, 7, 500)]
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_it_equals_generating_one_token_row_by_row(model):
    prompts = model.prompts(MESSAGES)
    ours = logits_of(model, prompts)
    for row, prompt in zip(ours, prompts, strict=True):
        scores = generated_scores(model, prompt)
        torch.testing.assert_close(row, scores, rtol=1e-5, atol=1e-4)
        assert (row.softmax(-1) - scores.softmax(-1)).abs().max() < 1e-4


def test_results_come_in_the_order_of_the_input(model):
    forward = model.score_rows(MESSAGES)
    backward = model.score_rows(MESSAGES[::-1])[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(forward, backward, rtol=1e-4, atol=1e-5)
    assert forward["p_yes"].nunique() == len(MESSAGES)


def test_left_padding_keeps_ids_masks_and_positions_together():
    batch = left_pad([[5, 6, 7], [8]], 9, torch.device("cpu"))
    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]


@pytest.mark.parametrize("limit", [1, 10, 37, 1000])
def test_batches_hold_every_row_once_within_the_limit(limit):
    rows = [[0] * n for n in (3, 17, 1, 8, 8, 30, 2, 5)]
    batches = list(batches_by_length(rows, limit))
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    for batch in batches:
        padded = len(batch) * max(len(rows[i]) for i in batch)
        assert padded <= limit or len(batch) == 1
    if limit == 1000:
        assert len(batches) == 1


def test_hidden_states_are_those_of_the_last_position(model):
    prompts = model.prompts(MESSAGES)
    for layer in (-1, 0, 1):
        states = model.hidden(MESSAGES, layer)
        assert states.shape == (len(MESSAGES), 64)
        for state, prompt in zip(states, prompts, strict=True):
            with torch.inference_mode():
                out = model.model_(torch.tensor([prompt]), output_hidden_states=True)
            expected = out.hidden_states[layer][0, -1].numpy()
            np.testing.assert_allclose(state, expected, rtol=1e-4, atol=1e-4)


def test_an_iterator_gives_what_a_list_gives(model):
    listed = model.score_rows(MESSAGES)
    streamed = model.score_rows(m for m in MESSAGES)
    pd.testing.assert_frame_equal(listed, streamed, rtol=1e-5)


def test_a_column_of_a_table_is_as_good_as_a_list(llama):
    column = pd.Series(MESSAGES, index=range(10, 16))
    np.testing.assert_array_equal(
        llama.predict_proba(column), llama.predict_proba(MESSAGES)
    )


def test_one_string_in_place_of_a_list_is_refused(llama, tmp_path):
    for ask in (llama.predict, llama.predict_proba, llama.hidden):
        with pytest.raises(TypeError, match="one string"):
            ask(MESSAGES[0])
    with pytest.raises(TypeError, match="one string"):
        OneTokenClassifier(folder=tmp_path).fit(MESSAGES[0], ["yes"])


def test_no_conversation_at_all_is_refused(llama):
    with pytest.raises(ValueError, match="at least one conversation"):
        llama.predict([])


def test_a_row_beyond_the_context_is_named(llama):
    with pytest.raises(PromptTooLong, match=r"row 1 \(\d+ tokens\)"):
        llama.predict([MESSAGES[0], "on and on " * 600, MESSAGES[1]])


def test_an_empty_iterator_and_a_long_row_in_one_are_refused(llama):
    with pytest.raises(ValueError, match="at least one conversation"):
        llama.score_rows(iter([]))
    limit = llama.builder_.max_tokens
    with pytest.raises(PromptTooLong, match="row 1"):
        llama.score_rows(m for m in ["Customer: ok", "word " * limit])
