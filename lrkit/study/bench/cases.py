"""What is measured: a model, its prompts, and how many of them each way is given.

Two cases: the embedded base with the short prompt, and a random model of about
100 M parameters with Mistral's real tokenizer and the source's full prompt. Speed does
not depend on what the weights have learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from sentencepiece import SentencePieceProcessor
from torch import nn
from transformers import (
    AutoTokenizer,
    LlamaTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.convert_slow_tokenizer import generate_merges

from lrkit.answer.prompts import PromptBuilder
from lrkit.data.conversations import gold_standard
from lrkit.models import device, load_model, load_tokenizer
from lrkit.pretrain.corpus import CHATML

EMBEDDED = "talk"
LARGE = "random 100 M"


class Unavailable(RuntimeError):
    """A case that cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Sizes:
    """Rows per way. Slow ways are given fewer: their rows take equally long.

    Attributes:
        ours: engine with the shared prefix, float32.
        bf16: the same under bfloat16 autocast.
        snippet: `generate` row by row.
        plain: batched `generate`, and the engine without the prefix.
        chain_alone: a chain for one row at a time.
        few: smaller numbers of rows for the engine, to see what rows bring.
        share: rows of the prompts whose common part is varied.
    """

    ours: int
    bf16: int
    snippet: int
    plain: int
    chain_alone: int
    few: tuple[int, ...]
    share: int

    def capped(self, n: int) -> Sizes:
        """No way with more than `n` rows."""
        return Sizes(
            **{
                name: tuple(k for k in size if k < n)
                if isinstance(size, tuple)
                else min(size, n)
                for name, size in dataclasses.asdict(self).items()
            }
        )


# Reckoned from the operations: about 13 minutes for three repeats, on two cores with
# 150 GFLOP/s in float32. Three quarters go to the 512 rows and the batched chain of the
# large model. Why 15 rows may stand for all: see `spread_by_length`.
SIZES = {
    EMBEDDED: Sizes(512, 512, 512, 512, chain_alone=3, few=(1, 8, 64), share=64),
    LARGE: Sizes(512, 64, 15, 15, chain_alone=1, few=(1, 4, 16), share=6),
}


@dataclass(frozen=True)
class Case:
    """A model with its prompts.

    Attributes:
        name: how it is called in the results.
        model: the causal LM, float32.
        pad_id: id for padding.
        prompts: token ids per row, in the order of `spread_by_length`.
        sizes: how many of the prompts each way is given.
    """

    name: str
    model: PreTrainedModel
    pad_id: int
    prompts: list[list[int]]
    sizes: Sizes

    @property
    def block_parameters(self) -> int:
        """Weights that every computed token is multiplied with."""
        head = self.model.get_output_embeddings()
        return sum(
            module.weight.numel()
            for module in self.model.modules()
            if isinstance(module, nn.Linear) and module is not head
        )

    @property
    def head_parameters(self) -> int:
        """Weights of the output layer: used once a row, or once a written token."""
        return self.model.get_output_embeddings().weight.numel()


def spread_by_length(prompts: Sequence[list[int]]) -> list[list[int]]:
    """The prompts in an order whose first few are of typical lengths.

    The median comes first, then the quartiles, then the eighths (the van der Corput
    sequence over the ranks): the first 1, 3, 7, 15 have the mean of all, nearly, so
    that ways which are given different numbers of rows can be compared.
    """
    ranked = sorted(prompts, key=len)
    n = len(ranked)
    order: dict[int, None] = {}
    for k in range(1, 2 ** n.bit_length()):
        mirrored = int(f"{k:b}"[::-1], 2)
        order[n * mirrored >> k.bit_length()] = None
    return [ranked[rank] for rank in order]


def middle(prompts: Sequence[list[int]], n: int) -> list[list[int]]:
    """The `n` prompts around the median length: a batch that needs little padding."""
    ranked = sorted(prompts, key=len)
    start = (len(ranked) - n) // 2
    return ranked[start : start + n]


def _prompts(builder: PromptBuilder, n_rows: int) -> list[list[int]]:
    texts = gold_standard()["running_message"]
    if n_rows > len(texts):
        raise ValueError(
            f"{n_rows} rows are wanted, the gold standard has {len(texts)}."
        )
    sample = texts.sample(n_rows, random_state=0)
    return spread_by_length([builder.prompt(text) for text in sample])


def embedded_case(cap: int | None = None) -> Case:
    """The embedded base with the short prompt; no way with more than `cap` rows."""
    sizes = SIZES[EMBEDDED].capped(cap) if cap else SIZES[EMBEDDED]
    tokenizer = load_tokenizer(EMBEDDED)
    prompts = _prompts(PromptBuilder(tokenizer, style="short"), sizes.ours)
    model = load_model(EMBEDDED).float().eval()
    return Case(EMBEDDED, model, tokenizer.pad_token_id, prompts, sizes)


def large_case(tokenizer: PreTrainedTokenizerBase, cap: int | None = None) -> Case:
    """A random model of about 100 M parameters with the source's full prompt."""
    sizes = SIZES[LARGE].capped(cap) if cap else SIZES[LARGE]
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=640, intermediate_size=1920,
        num_hidden_layers=12, num_attention_heads=10, num_key_value_heads=5,
        max_position_embeddings=4096, sliding_window=None,
    )  # fmt: skip
    torch.manual_seed(0)
    with device():
        model = MistralForCausalLM(config).eval()
    prompts = _prompts(PromptBuilder(tokenizer, style="full"), sizes.ours)
    pad = tokenizer.pad_token_id
    pad = tokenizer.eos_token_id if pad is None else pad
    return Case(LARGE, model, pad, prompts, sizes)


def mistral_tokenizer(folder: str | Path | None = None) -> PreTrainedTokenizerBase:
    """The real SentencePiece tokenizer of Mistral-7B, for ChatML (32,002 ids).

    Args:
        folder: a tokenizer of transformers; None: the pieces that `mistral-common`
            carries, with the two tokens that Mistral-7B-OpenOrca adds.

    Raises:
        Unavailable: when there is neither, or the folder holds another tokenizer.
    """
    if folder is not None:
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if found.convert_tokens_to_ids(["yes", "▁yes"]) != [9780, 5081]:
            raise Unavailable(f"{Path(folder).name} holds another tokenizer.")
        return found
    try:
        model = files("mistral_common") / "data" / "tokenizer.model.v1"
        pieces = SentencePieceProcessor(model_proto=model.read_bytes())
    except (ModuleNotFoundError, FileNotFoundError):
        raise Unavailable(
            "Mistral's tokenizer is not at hand: install mistral-common, or name a "
            "folder with --tokenizer."
        ) from None
    ids = range(pieces.vocab_size())
    vocab = {pieces.id_to_piece(i): i for i in ids}
    scores = {pieces.id_to_piece(i): pieces.get_score(i) for i in ids}
    return LlamaTokenizer(
        vocab=vocab,
        merges=generate_merges(vocab, scores),
        legacy=True,
        add_bos_token=True,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "</s>"],
        chat_template=CHATML,
    )
