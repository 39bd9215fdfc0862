"""A causal LM that writes chains of thought, and answers behind chains given to it.

The chain is *closed*: after it stand the words before an answer, so that the model can
only answer. Every prompt is encoded from scratch; no state of another chain is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrkit.latent.chain_rows import CUE, ChainRows, TooLong
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.solvers import SlotSolver

MARK = "QUESTION"


class Template(Protocol):
    """How a question, its chain and what closes it are encoded, each on its own.

    `lrkit.latent.chain_rows.ChainRows` is one: question, line break, chain, cue.
    """

    tokenizer: PreTrainedTokenizerBase
    context: int

    def question(self, text: str) -> list[int]:
        """All that stands before a chain."""

    def encode(self, text: str) -> list[int]:
        """A piece of the chain; special tokens in the text stay text."""

    def cue(self) -> list[int]:
        """What closes the chain and asks for the answer."""


@dataclass(frozen=True)
class ChatTemplate:
    """Chains of a chat model that thinks between marks, such as R1's distillations.

    Attributes:
        tokenizer: with a chat template.
        opening: what begins the model's turn; "" where the chat template writes it.
        closing: what ends the thought and leads to the answer.
        context: longest prompt and answer, in tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    opening: str = "<think>\n"
    closing: str = "\n</think>\n\nThe answer is:"
    context: int = 32_768

    def question(self, text: str) -> list[int]:
        """The user's turn and the beginning of the model's.

        Raises:
            TooLong: when nothing would be left of the context.
        """
        chat = [{"role": "user", "content": MARK}]
        whole = self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True
        )
        before, _, after = whole.partition(MARK)
        marks = [
            self.tokenizer(part, add_special_tokens=False)["input_ids"]
            for part in (before, after + self.opening)
        ]
        ids = [*marks[0], *self.encode(text), *marks[1]]
        if len(ids) >= self.context:
            raise TooLong(
                f"a question of {len(ids)} tokens does not fit into {self.context}: "
                f"{text[:60]!r}..."
            )
        return ids

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece; special tokens in the text stay text."""
        return self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        )["input_ids"]

    def cue(self) -> list[int]:
        """The closing, its marks as special tokens."""
        return self.tokenizer(self.closing, add_special_tokens=False)["input_ids"]


@dataclass(frozen=True)
class Reader:
    """A model with its template, decoding greedily.

    Attributes:
        model: any causal LM.
        template: of its questions and chains.
        chain_end: text that a chain ends before, when the model writes it itself.
        max_answer: longest answer, in tokens.
        max_chain: longest chain with its answer, in tokens.
        batch_size: prompts per batch.

    Raises:
        ValueError: for a tokenizer without padding or end token.
    """

    model: PreTrainedModel
    template: Template
    chain_end: str = CUE
    max_answer: int = 8
    max_chain: int = 96
    batch_size: int = 128

    def __post_init__(self) -> None:
        tokenizer = self.template.tokenizer
        if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer needs a padding and an end token: load it with "
                "lrkit.models.load_tokenizer, or set tokenizer.pad_token."
            )

    @classmethod
    def of(cls, solver: SlotSolver, max_answer: int = 8) -> Self:
        """The model of a solver that writes its chains, without slots.

        Raises:
            ValueError: for a solver that does not write any.
        """
        if not solver.writes_chain:
            raise ValueError(
                "the solver writes no chain: pass one with writes_chain, such as CoT's."
            )
        return cls(
            solver.model.base, solver.rows, max_answer=max_answer,
            max_chain=solver.max_new_tokens, batch_size=solver.batch_size,
        )  # fmt: skip

    @classmethod
    def of_model(
        cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **options
    ) -> Self:
        """A causal LM on the rows of this workbook: question, line break, chain, cue.

        Args:
            model: any causal LM, without slots.
            tokenizer: the model's.
            options: attributes of the reader.
        """
        none = tokenizer.pad_token_id  # the rows' special ids, of which none is used
        limit = getattr(model.config, "max_position_embeddings", None) or 512
        return cls(model, ChainRows(tokenizer, none, none, none, limit), **options)

    def prompt(self, question: str, chain: Sequence[int]) -> list[int]:
        """Question, chain and what closes it."""
        template = self.template
        return [*template.question(question), *chain, *template.cue()]

    def check_room(self, prompt: Sequence[int], n: int) -> None:
        """Whether n tokens more fit into the context.

        Raises:
            TooLong: where they do not.
        """
        if len(prompt) + n > self.template.context:
            begun = self.template.tokenizer.decode(prompt)[:60]
            raise TooLong(
                f"a prompt of {len(prompt)} tokens and {n} behind it do not fit into "
                f"{self.template.context}: {begun!r}... Lower max_chain or max_answer, "
                "or use a base with a longer context."
            )

    def chains(self, questions: Sequence[str]) -> list[str]:
        """The chain that the model writes to each question, up to `chain_end`; all that
        it wrote where that did not come.

        Raises:
            TooLong: when question and chain may not fit into the context.
        """
        asked = [self.template.question(text) for text in questions]
        written = self._written(asked, self.max_chain)
        return [text.partition(self.chain_end)[0] for text in written]

    def answers(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """The first line that is written behind each prompt. Prompts that are the same
        are answered once.

        Raises:
            TooLong: when prompt and answer may not fit into the context.
        """
        different = [list(ids) for ids in dict.fromkeys(map(tuple, prompts))]
        written = self._written(different, self.max_answer)
        found = {
            tuple(ids): (text.strip().splitlines() or [""])[0].strip()
            for ids, text in zip(different, written, strict=True)
        }
        return [found[tuple(ids)] for ids in prompts]

    def _written(self, prompts: Sequence[list[int]], max_new: int) -> list[str]:
        """What follows each prompt, up to the end token."""
        for ids in prompts:
            self.check_room(ids, max_new)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: dict[int, str] = {}
        for k in range(0, len(order), self.batch_size):
            batch = order[k : k + self.batch_size]
            texts = self._batch([prompts[i] for i in batch], max_new)
            found |= zip(batch, texts, strict=True)
        return [found[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def _batch(self, prompts: list[list[int]], max_new: int) -> list[str]:
        tokenizer = self.template.tokenizer
        end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        batch = collate([SlotRow(ids) for ids in prompts], pad, pad)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        out = self.model.eval().generate(
            **{name: value.to(self.model.device) for name, value in inputs.items()},
            max_new_tokens=max_new, do_sample=False, eos_token_id=end, pad_token_id=pad,
        )  # fmt: skip
        new = out[:, inputs["input_ids"].shape[1] :].tolist()
        cut = [ids[: ids.index(end)] if end in ids else ids for ids in new]
        return tokenizer.batch_decode(cut)
