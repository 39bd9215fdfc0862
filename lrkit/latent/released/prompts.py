"""Questions as the published models were given them, and how their answers are read.

Rows are those of `lrkit.latent.chain_rows`, so that every solver of the workbook can
use them; only the words around a question, and what stands behind the thought, are the
authors'. What is read as the answer follows the authors' own evaluation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from lrkit.latent.chain_rows import ChainRows, TooLong
from lrkit.latent.slot_config import SLOT
from lrkit.latent.slots import SlotModel

QUESTION = "{question}"  # where the question stands in a template
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
ANSWER_IS = "the answer is:"


@dataclass(frozen=True)
class PromptRows(ChainRows):
    """`ChainRows` with somebody else's words around the question.

    Attributes:
        template: text with `QUESTION` in it.
        with_specials: the template holds special tokens, as a chat does; then a
            question must not hold any.
        first: token ids before the text, such as the beginning of a sequence.
        last: token ids behind the text, such as those of "<think>".
        behind: token ids that follow the end of the thought, where it is more than one
            token.
        tidy: strip a question and halve double blanks, once, as CODI's evaluation does.
    """

    template: str = QUESTION
    with_specials: bool = False
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    tidy: bool = False

    def question(self, text: str) -> list[int]:
        """Token ids of the prompt.

        Raises:
            TooLong: when nothing would be left of the context.
            ValueError: for a question with special tokens in its text, where the
                template has some, too: they could not be told apart.
        """
        asked = text.strip().replace("  ", " ") if self.tidy else text
        prompt = self.template.replace(QUESTION, asked)
        if self.with_specials:
            specials = self.tokenizer.all_special_tokens
            if held := [token for token in specials if token in asked]:
                raise ValueError(f"the question holds the special token {held[0]!r}.")
            ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        else:
            ids = self.encode(prompt)
        ids = [*self.first, *ids, *self.last]
        if len(ids) >= self.context:
            raise TooLong(
                f"a prompt of {len(ids)} tokens does not fit into {self.context}: "
                f"{text[:60]!r}..."
            )
        return ids

    def cue(self) -> list[int]:
        """What is given behind the end of the thought: nothing of the answer."""
        return list(self.behind)


def prompt_rows(
    model: SlotModel, tokenizer: PreTrainedTokenizerBase, **own: Any
) -> PromptRows:
    """`PromptRows` of a model with `<bot>` and `<eot>`; it has no pause, so that the
    id of a slot stands for one.

    Args:
        model: gives the ids.
        tokenizer: of the base.
        own: further fields of `PromptRows`.
    """
    ids = [model.id_of(name) for name in ("<bot>", "<eot>", SLOT)]
    return PromptRows(tokenizer, *ids, **own)


def beginning(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that a tokenizer puts before a text: for Llama one, for GPT-2 none."""
    return tuple(tokenizer("")["input_ids"])


# --- answers ------------------------------------------------------------------------
def final_number(text: str) -> str:
    """The last number of a text without its commas, or "" (CODI, `test.py`)."""
    found = NUMBER.findall(text.replace(",", ""))
    return found[-1] if found else ""


def after_hash(text: str) -> str:
    """What stands behind the last "#" without commas (COCONUT, `run.py`); a text
    without any is taken whole."""
    return text.split("#")[-1].replace(",", "").strip()


def first_number_after_cue(text: str) -> str:
    """The first number behind the last "the answer is:"; "" without them (adaptive
    latent reasoning, `src/eval.py`)."""
    _, cue, answer = text.lower().rpartition(ANSWER_IS)
    found = NUMBER.search(answer.replace(",", "")) if cue else None
    return found[0] if found else ""


def boxed(text: str) -> str:
    r"""What stands in the last \boxed{...}, or "" (Latent-SFT, `eval/`)."""
    _, found, rest = text.rpartition(r"\boxed{")
    if not found:
        return ""
    depth = 1
    for i, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if not depth:
            return rest[:i].strip().removeprefix("$")
    return ""
