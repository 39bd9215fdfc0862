"""Laws of the authors' prompts, and of how their answers are read."""

import pytest
from released_models import QUESTIONS

from lrkit.latent.chain_rows import TooLong
from lrkit.latent.released.latent_sft import LLAMA, TASK, rows_of, template_of
from lrkit.latent.released.prompts import (
    QUESTION,
    PromptRows,
    after_hash,
    beginning,
    boxed,
    final_number,
    first_number_after_cue,
)


def test_a_prompt_begins_as_the_tokenizer_begins(mistral):
    rows = PromptRows(mistral, 1, 2, 3, first=beginning(mistral))
    assert rows.question(QUESTIONS[0]) == mistral(QUESTIONS[0])["input_ids"]
    assert rows.first
    tidy = PromptRows(mistral, 1, 2, 3, tidy=True)
    assert tidy.question(" a  b ") == tidy.encode("a b")
    chat = PromptRows(mistral, 1, 2, 3, template=f"<s>{QUESTION}", with_specials=True)
    with pytest.raises(ValueError, match="holds the special token '</s>'"):
        chat.question("What is </s>?")


@pytest.mark.parametrize(
    ("read", "text", "wanted"),
    [
        (final_number, "The answer is: 1,234", "1234"),
        (final_number, "3 and -4.5.", "-4.5"),
        (final_number, "none", ""),
        (after_hash, "<<1+2=3>>\n### 1,003", "1003"),
        (after_hash, "### Ann is a wumpus.", "Ann is a wumpus."),
        (first_number_after_cue, " The answer is: 7 or 8", "7"),
        (first_number_after_cue, "7", ""),
        (boxed, r"so \boxed{1} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (boxed, r"\boxed{$7}", "7"),
        (boxed, r"\boxed{7", ""),
        (boxed, "7", ""),
    ],
)
def test_answers_are_read_as_the_authors_read_them(read, text, wanted):
    assert read(text) == wanted


def test_a_prompt_that_fills_the_context_is_refused(chatml):
    rows = PromptRows(chatml, 1, 2, 3, context=4)
    with pytest.raises(TooLong, match="does not fit into 4"):
        rows.question(QUESTIONS[0])


@pytest.mark.parametrize("tail", ["", "<think>", "<think>\n"])
def test_the_mark_of_thinking_stands_once_whatever_the_chat_template_ends_in(
    tail, chatml, monkeypatch
):
    chat = "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
    monkeypatch.setattr(chatml, "chat_template", chat + tail)
    assert template_of(chatml, "qwen2") == f"system: {TASK} user: {QUESTION} "
    rows = rows_of(chatml, "qwen2", 512)
    prompt = chatml.decode(rows.question("2 + 2?"))
    assert prompt.endswith("user: 2 + 2? <think>") and prompt.count("<think>") == 1
    assert chatml.decode([rows.eot, *rows.cue()]) == "</think>"
    assert template_of(chatml, "llama") == LLAMA
    monkeypatch.setattr(chatml, "chat_template", None)
    with pytest.raises(ValueError, match="no prompt is known for 'qwen2'"):
        template_of(chatml, "qwen2")
