"""Ways from a prompt to an answer: one token, several ways, and whole chains.

All are given token ids and compute in float32 unless they say otherwise. A way does
its work and gives the seconds that it took; what these mean is said elsewhere.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from lrkit.answer.engine import Engine, batches_by_length, common_prefix, left_pad
from lrkit.study.bench.cases import Case, middle

BATCH_TOKENS = 4096  # padded tokens per forward pass, the engine's default
CHAINS = (32, 64, 96, 128, 150)  # tokens written until the answer is known
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)  # of a prompt that is common to all
TOLERANCE = 1e-4  # between logits of two ways in float32

SNIPPET = "source: generate, row by row"
BATCHED = "generate, in batches"
PLAIN = "engine"
OURS = "engine, shared prefix"
BF16 = "engine, shared prefix, bf16"

Rows = Sequence[list[int]]
# Logits [rows, vocabulary] where the way has some, and seconds by tokens written.
Run = Callable[[Case, Rows], tuple[torch.Tensor | None, dict[int, float]]]


@dataclass(frozen=True)
class Way:
    """Something to measure.

    Attributes:
        name: of its own in a case; a chain's length is added to it.
        table: "one token", "rows", "share" or "chain": which question it answers.
        run: does the work on a case and rows.
        rows: what it is given.
        shares_prefix: whether the common beginning is computed once.
        dtype: of the matrix products.
        tolerance: how far its logits may be from the snippet's; None: not compared.
        rows_per_batch: where that is fixed.
    """

    name: str
    table: str
    run: Run
    rows: Rows
    shares_prefix: bool = False
    dtype: torch.dtype = torch.float32
    tolerance: float | None = None
    rows_per_batch: int | None = None


def now(device: torch.device) -> float:
    """The clock, once the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(score: Callable[[Case, Rows], torch.Tensor]) -> Run:
    """A way that computes one token."""

    def run(case: Case, rows: Rows) -> tuple[torch.Tensor, dict[int, float]]:
        start = now(case.model.device)
        logits = score(case, rows)
        return logits, {1: now(case.model.device) - start}

    return run


def _padded(case: Case, rows: Rows) -> dict[str, torch.Tensor]:
    """Ids and mask for `generate`, which counts the positions from the mask itself."""
    inputs = left_pad(rows, case.pad_id, case.model.device)
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


# --- one token ------------------------------------------------------------------------
def _first_scores(case: Case, inputs: dict) -> torch.Tensor:
    """[batch, vocabulary] float32 on the CPU: what `generate` scores its token with."""
    made = case.model.generate(
        **inputs, max_new_tokens=1, do_sample=False, use_cache=True,
        output_scores=True, return_dict_in_generate=True, pad_token_id=case.pad_id,
    )  # fmt: skip
    return made.scores[0].float().cpu()


@torch.inference_mode()
def source_snippet(case: Case, rows: Rows) -> torch.Tensor:
    """As the source does it: `generate` of one token, one row at a time."""
    found = []
    for row in rows:
        found.append(_first_scores(case, _padded(case, [row]))[0])
    return torch.stack(found)


@torch.inference_mode()
def batched_generate(case: Case, rows: Rows) -> torch.Tensor:
    """`generate` of one token over left-padded batches of similar lengths."""
    found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    for batch in batches_by_length(rows, BATCH_TOKENS):
        inputs = _padded(case, [rows[i] for i in batch])
        for i, scores in zip(batch, _first_scores(case, inputs), strict=True):
            found[i] = scores
    return torch.stack(found)


def engine(share_prefix: bool, autocast: torch.dtype | None = None) -> Run:
    """The package's engine, made anew each time: its prefix is part of the work."""

    def score(case: Case, rows: Rows) -> torch.Tensor:
        fresh = Engine(case.model, case.pad_id, BATCH_TOKENS, share_prefix, autocast)
        return fresh.score(rows)

    return timed(score)


# --- chains ---------------------------------------------------------------------------
class _Laps(StoppingCriteria):
    """Notes when a chain has reached each of some lengths; never stops it."""

    def __init__(self, prompt_width: int, lengths: Sequence[int]):
        self.prompt_width, self.lengths = prompt_width, set(lengths)
        self.at: dict[int, float] = {}

    def __call__(self, input_ids: torch.Tensor, scores, **kwargs) -> torch.Tensor:
        written = input_ids.shape[1] - self.prompt_width
        if written in self.lengths:
            self.at[written] = now(input_ids.device)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def chain(rows_per_batch: int, lengths: Sequence[int] = CHAINS) -> Run:
    """Writing until the answer is known, by `generate` over batches of given rows.

    The longest chain is written once. Its first n tokens take what a chain of n takes,
    so that one run gives the seconds of every length.
    """

    @torch.inference_mode()
    def run(case: Case, rows: Rows) -> tuple[None, dict[int, float]]:
        totals = dict.fromkeys(lengths, 0.0)
        longest = max(lengths)
        for first in range(0, len(rows), rows_per_batch):
            start = now(case.model.device)
            inputs = _padded(case, rows[first : first + rows_per_batch])
            laps = _Laps(inputs["input_ids"].shape[1], lengths)
            # The least length keeps a row that ends early from shortening the chain.
            case.model.generate(
                **inputs, max_new_tokens=longest, min_new_tokens=longest,
                do_sample=False, use_cache=True, pad_token_id=case.pad_id,
                stopping_criteria=StoppingCriteriaList([laps]),
            )  # fmt: skip
            for n in lengths:
                totals[n] += laps.at[n] - start
        return None, totals

    return run


def engine_batch(rows: Rows) -> int:
    """Rows in a typical batch of the engine with the shared prefix: the median."""
    prefix = common_prefix(rows) if len(rows) > 1 else []
    own = [row[len(prefix) :] for row in rows]
    return int(statistics.median(len(b) for b in batches_by_length(own, BATCH_TOKENS)))


# --- all of them ----------------------------------------------------------------------
def one_token_ways(case: Case) -> Iterator[Way]:
    """The snippet first: the others are compared with it."""
    rows, sizes, table = case.prompts, case.sizes, "one token"
    held = {"tolerance": TOLERANCE}
    yield Way(SNIPPET, table, timed(source_snippet), rows[: sizes.snippet], **held)
    yield Way(BATCHED, table, timed(batched_generate), rows[: sizes.plain], **held)
    yield Way(PLAIN, table, engine(False), rows[: sizes.plain], **held)
    shared = {"shares_prefix": True}
    yield Way(OURS, table, engine(True), rows[: sizes.ours], **shared, **held)
    yield Way(
        BF16, table, engine(True, torch.bfloat16), rows[: sizes.bf16], **shared,
        dtype=torch.bfloat16, tolerance=math.inf,
    )  # fmt: skip
    for n in sizes.few:
        name = f"{OURS}, {n} rows"
        yield Way(name, "rows", engine(True), rows[:n], **shared, **held)


def share_ways(case: Case, shares: Sequence[float] = SHARES) -> Iterator[Way]:
    """The engine on prompts of one length, of which more and more is common.

    The ids are drawn: what they mean has no bearing on the time.
    """
    width = round(statistics.mean(map(len, case.prompts)))
    draw = random.Random(0)
    vocabulary = range(case.model.config.vocab_size)
    for share in shares:
        head = draw.choices(vocabulary, k=round(share * width))
        # The first own token differs from row to row: nothing else is common.
        rows = [
            [*head, i, *draw.choices(vocabulary, k=width - len(head) - 1)]
            for i in range(case.sizes.share)
        ]
        name = f"engine, {share:.0%} of the prompt common"
        yield Way(name, "share", engine(True), rows, shares_prefix=True)


def chain_ways(case: Case, lengths: Sequence[int] = CHAINS) -> Iterator[Way]:
    """A chain for each row alone, and for as many rows at once as the engine takes."""
    alone = middle(case.prompts, case.sizes.chain_alone)
    yield Way("chain, alone", "chain", chain(1, lengths), alone, rows_per_batch=1)
    n = engine_batch(case.prompts[: case.sizes.ours])
    together = middle(case.prompts, n)
    yield Way(
        "chain, same batch", "chain", chain(n, lengths), together, rows_per_batch=n
    )


def all_ways(
    case: Case, lengths: Sequence[int] = CHAINS, shares: Sequence[float] = SHARES
) -> list[Way]:
    """Everything that is measured of a case, the snippet first."""
    return [
        *one_token_ways(case),
        *share_ways(case, shares),
        *chain_ways(case, lengths),
    ]
