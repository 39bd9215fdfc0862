"""Another question: the states of the whole chain, some of which nobody may look at.

`lrkit.study.redundancy.measuring` asks what a model can do with a chain of which words
are missing. Here the whole chain is read first, and then entries of the key-value cache
are masked for what follows: the cue and the answer. The entries that are left were
computed with the whole chain in sight and may hold what the masked ones said. So little
loss here says that the answer needs few *positions*, not that it needs few words. It is
the weaker test of redundancy, and never goes into one table with the other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from transformers import DynamicCache

from lrkit.latent.layout import SlotRow, collate
from lrkit.study.redundancy.dropping import dropped
from lrkit.study.redundancy.measuring import WrittenChain
from lrkit.study.redundancy.reading import Reader


@torch.inference_mode()
def masked_logits(
    reader: Reader, question: str, chain: Sequence[int], kept: Sequence[int]
) -> torch.Tensor:
    """[cue, vocabulary]: logits of the cue's tokens, some of the chain masked for them.

    Args:
        reader: model and template.
        question: as it is asked.
        chain: ids of the whole chain.
        kept: indices into it that the cue may look at.
    """
    cache, ids, mask, at = _read_whole(reader, [(question, chain, kept)])
    return _step(reader, cache, ids, mask, at).logits[0]


def masked_answers(
    reader: Reader, chains: Sequence[WrittenChain], p: float, seed: int = 0
) -> list[str]:
    """Greedy answers where entries of the chain are masked with probability p.

    Args:
        reader: model and template; batches are its size.
        chains: whole ones.
        p: probability that a token's entry is masked, independently.
        seed: random seed; a larger p masks these and more.

    Raises:
        ValueError: for a p outside of 0 to 1.
        lrkit.latent.chain_rows.TooLong: for what does not fit into the context.
    """
    asked = []
    for chain in chains:
        ids = reader.template.encode(chain.chain)
        rng = random.Random(f"{seed}/masked/{chain.id}")
        asked.append((chain.question, ids, dropped(range(len(ids)), p, rng)))
    found: list[str] = []
    for k in range(0, len(asked), reader.batch_size):
        found += _answers(reader, asked[k : k + reader.batch_size])
    return found


def _read_whole(reader: Reader, asked: Sequence[tuple[str, Sequence[int], list[int]]]):
    """Cache of questions and whole chains, and the cue that follows; the mask of the
    rest has holes, and positions count as if it had none."""
    template, device = reader.template, reader.model.device
    pad, cue = template.tokenizer.pad_token_id, template.cue()
    rows = [[*template.question(question), *chain] for question, chain, _ in asked]
    for ids in rows:
        reader.check_room(ids, len(cue) + reader.max_answer)
    batch = collate([SlotRow(ids) for ids in rows], pad, pad)
    whole = batch["attention_mask"].to(device)
    cache = DynamicCache(config=reader.model.config)
    reader.model.eval()(
        input_ids=batch["input_ids"].to(device), attention_mask=whole,
        position_ids=(whole.cumsum(1) - 1).clamp(min=0), past_key_values=cache,
        use_cache=True, logits_to_keep=1,
    )  # fmt: skip
    mask = whole.clone()
    for row, (_, chain, kept) in zip(mask, asked, strict=True):
        hidden = torch.ones(len(chain), dtype=torch.bool)
        hidden[list(kept)] = False
        row[len(row) - len(chain) :][hidden.to(device)] = 0
    ids = torch.tensor([cue] * len(asked), device=device)
    mask = torch.cat([mask, torch.ones_like(ids)], 1)
    at = whole.sum(1, keepdim=True) + torch.arange(len(cue), device=device)
    return cache, ids, mask, at


def _step(reader: Reader, cache, ids, mask, at):
    """One pass over the next tokens."""
    return reader.model(
        input_ids=ids, attention_mask=mask, position_ids=at, past_key_values=cache,
        use_cache=True,
    )  # fmt: skip


@torch.inference_mode()
def _answers(reader: Reader, asked: Sequence) -> list[str]:
    tokenizer = reader.template.tokenizer
    cache, ids, mask, at = _read_whole(reader, asked)
    written = []
    for _ in range(reader.max_answer):
        ids = _step(reader, cache, ids, mask, at).logits[:, -1:].argmax(-1)
        written.append(ids)
        mask = torch.cat([mask, torch.ones_like(ids)], 1)
        at = at[:, -1:] + 1
    end = tokenizer.eos_token_id
    rows = torch.cat(written, 1).tolist()
    cut = [row[: row.index(end)] if end in row else row for row in rows]
    lines = [text.strip().splitlines() for text in tokenizer.batch_decode(cut)]
    return [line[0].strip() if line else "" for line in lines]
