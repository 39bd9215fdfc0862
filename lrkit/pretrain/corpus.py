"""The tokenizer of `talk`, its text as token ids, and batches of whole documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lrkit.data.pretraining import documents

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Words that a user's labels need as single tokens; no chat contains them alone.
LABEL_WORDS = (
    "yes no Yes No YES NO true false True False billing technical general "
    "positive negative 0 1 2 3 4 5 6 7 8 9"
)
VOCAB, CONTEXT = 3072, 768
BATCH_TOKENS = 6144
CORPUS_SEED = 20_000


def train_tokenizer(n_documents: int = 12_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE (every byte has a token, nothing is unknown) with ChatML."""
    words = (LABEL_WORDS + "\n") * 400
    texts = (
        "\n".join(m["content"] for m in doc)
        for doc in islice(documents(CORPUS_SEED - 1), n_documents)
    )
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def lines():
        yield from words.split("\n")
        yield from (w for w in LABEL_WORDS.split() for _ in range(400))
        yield from texts

    tok.train_from_iterator(lines(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tok,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>", "<|endoftext|>"],
        chat_template=CHATML,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True)
class Corpus:
    """Documents laid end to end.

    Attributes:
        ids: uint16 token ids of all documents.
        learned: whether each token carries loss.
        ends: where each document ends.
    """

    ids: np.ndarray
    learned: np.ndarray
    ends: np.ndarray


def corpus(
    tokenizer,
    stream: Iterator[list[dict[str, str]]],
    n_tokens: int,
    answers_only: bool = True,
) -> Corpus:
    """Documents of a stream, `n_tokens` in all; none is longer than the context.

    Args:
        tokenizer: the one of `train_tokenizer`.
        stream: chats of two or more messages, see `lrkit.data.pretraining.documents`.
        n_tokens: how many tokens are wanted.
        answers_only: whether only the assistant's messages carry loss.
    """
    ids, learned, ends, have = [], [], [], 0
    while have < n_tokens:
        docs = list(islice(stream, 500))
        # Control tokens end every piece, so pieces may be encoded one by one.
        pieces = [piece for doc in docs for piece in _pieces(doc)]
        encoded = tokenizer([text for text, _ in pieces], add_special_tokens=False)
        found = iter(zip(pieces, encoded["input_ids"], strict=True))
        for doc in docs:
            parts = [next(found) for _ in range(2 * len(doc))]
            length = sum(len(part) for _, part in parts)
            if length > CONTEXT:
                continue
            for (_, answer), part in parts:
                ids.append(np.asarray(part, dtype=np.uint16))
                learned.append(np.full(len(part), answer or not answers_only))
            have += length
            ends.append(have)
    return Corpus(np.concatenate(ids), np.concatenate(learned), np.array(ends))


def _pieces(doc: list[dict[str, str]]) -> Iterator[tuple[str, bool]]:
    """A document as ChatML in pieces, and whether a piece is written by the assistant.

    A test holds it equal to the chat template.
    """
    for message in doc:
        yield f"<|im_start|>{message['role']}\n", False
        yield f"{message['content']}<|im_end|>\n", message["role"] == "assistant"


class LengthBatches(torch.utils.data.Dataset):
    """Batches of whole documents of similar length, about `BATCH_TOKENS` each.

    A document is never cut and never sees another one; sorting within large pools
    keeps padding at a few per cent.
    """

    def __init__(self, text: Corpus, pad_id: int, seed: int = 0):
        self.text, self.pad_id = text, pad_id
        starts = np.concatenate([[0], text.ends[:-1]])
        self.spans = np.stack([starts, text.ends], axis=1)
        lengths = text.ends - starts
        rng = np.random.default_rng(seed)
        self.batches: list[np.ndarray] = []
        n_pools = max(1, len(lengths) // 8000)
        for pool in np.array_split(np.arange(len(lengths)), n_pools):
            order = pool[np.argsort(lengths[pool], kind="stable")]
            batch: list[int] = []
            made = []
            for i in order:
                if batch and (len(batch) + 1) * lengths[i] > BATCH_TOKENS:
                    made.append(np.array(batch))
                    batch = []
                batch.append(int(i))
            made.append(np.array(batch))
            rng.shuffle(made)
            self.batches += made

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        batch = self.batches[i]
        spans = self.spans[batch]
        width = int((spans[:, 1] - spans[:, 0]).max())
        ids = np.full((len(spans), width), self.pad_id, dtype=np.int64)
        labels = np.full((len(spans), width), -100, dtype=np.int64)
        for row, (a, b) in enumerate(spans):
            ids[row, : b - a] = self.text.ids[a:b]
            labels[row, : b - a] = np.where(
                self.text.learned[a:b], self.text.ids[a:b].astype(np.int64), -100
            )
        # Right padding under a causal mask: no real position ever sees a pad.
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}


def only_batch(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The one item of a list: items of `LengthBatches` are batches already."""
    return items[0]
