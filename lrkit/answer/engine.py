"""Logits at the last position of many prompts: fast, whatever the batch.

Every prompt of a task begins with the same tokens, so their keys and values are
computed once and shared; rows are sorted by length and batched by a token budget; the
output layer is applied at one position a row. The engine knows token ids and models,
not labels or conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from tqdm.auto import tqdm
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from lrkit.kv_cache import fork

MIN_PREFIX = 8  # a shorter one saves less than its cache costs


def left_pad(rows: Sequence[list[int]], pad_id: int, device: torch.device) -> dict:
    """`input_ids`, `attention_mask` and `position_ids` [batch, longest], padded left.

    Positions are counted from the first real token, so that a row's result does not
    depend on who shares its batch.
    """
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    return {k: v.to(device) for k, v in batch.items()}


def batches_by_length(
    rows: Sequence[list[int]], max_tokens: int
) -> Iterator[list[int]]:
    """Indices of rows in batches of at most `max_tokens` padded tokens, short first."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * len(rows[i]) > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts begin with, at least one short of the shortest."""
    first, last = min(prompts), max(prompts)  # all others lie between these two
    n = 0
    limit = min(map(len, prompts)) - 1
    while n < limit and first[n] == last[n]:
        n += 1
    return first[:n]


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it; the CPU allocator only says so."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in said


@dataclass
class Engine:
    """Scores prompts with one forward pass each, at the last position.

    Attributes:
        model: any causal LM of transformers, also a `PeftModel` or a 4-bit one.
        pad_id: id for padding.
        batch_tokens: padded tokens per forward pass; bounds the memory.
        share_prefix: compute the common beginning of the prompts once.
        autocast: dtype of matrix products, e.g. `torch.bfloat16`; None: the model's.
        chunk: prompts that are looked at together; of an iterator no more are held.
    """

    model: PreTrainedModel
    pad_id: int
    batch_tokens: int = 4096
    share_prefix: bool = True
    autocast: torch.dtype | None = None
    chunk: int = 4096

    def __post_init__(self) -> None:
        self._prefix: list[int] = []
        self._cache: DynamicCache | None = None

    def stream(
        self,
        prompts: Iterable[list[int]],
        read: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits,
        progress: bool = False,
    ) -> Iterator[torch.Tensor]:
        """What `read` makes of each prompt's last logits, in the order of the prompts.

        Args:
            prompts: token ids per row, of any lengths; a list or any iterator.
            read: maps float32 logits [batch, vocabulary] to [batch, ...] on the CPU,
                as small as it can be: only its result is kept.
            progress: whether to show a bar.

        Yields:
            One tensor a prompt.

        Raises:
            ValueError: for an empty prompt.
            MemoryError: when a single row does not fit.
        """
        self.model.eval()
        rows = iter(prompts)
        total = len(prompts) if isinstance(prompts, Sequence) else None
        with tqdm(total=total, disable=not progress, unit="row") as bar:
            while chunk := list(islice(rows, self.chunk)):
                if not all(chunk):
                    raise ValueError("a prompt without tokens cannot be scored.")
                prefix = self._prepare(chunk)
                own = [row[len(prefix) :] for row in chunk]
                results: list[torch.Tensor] = [torch.empty(0)] * len(chunk)
                for batch in batches_by_length(own, self.batch_tokens):
                    scored = self._batch([own[i] for i in batch], read)
                    for i, result in zip(batch, scored, strict=True):
                        results[i] = result
                    bar.update(len(batch))
                yield from results

    def score(
        self,
        prompts: Iterable[list[int]],
        read: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits,
        progress: bool = False,
    ) -> torch.Tensor:
        """`stream`, stacked: [rows, ...]; [0, 0] without rows."""
        results = list(self.stream(prompts, read, progress))
        return torch.stack(results) if results else torch.empty(0, 0)

    # --- the shared prefix ----------------------------------------------------------
    def _prepare(self, chunk: list[list[int]]) -> list[int]:
        """Have the cache of this chunk's prefix at hand; returns the prefix.

        One that is at hand and fits is kept, so that a single row profits from it too.
        """
        n = len(self._prefix)
        at_hand = n > 0 and self.share_prefix and self._fits_window(chunk)
        if at_hand and all(len(r) > n and r[:n] == self._prefix for r in chunk):
            return self._prefix
        prefix = common_prefix(chunk) if self.share_prefix and len(chunk) > 1 else []
        if len(prefix) < MIN_PREFIX or not self._fits_window(chunk):
            prefix = []
        if prefix != self._prefix:
            self._prefix, self._cache = prefix, None
            if prefix and (cache := self._encode(prefix)) is not None:
                self._cache = cache
            else:
                self._prefix = []
        return self._prefix

    def _fits_window(self, chunk: list[list[int]]) -> bool:
        """A sliding window counts the padding between prefix and row too."""
        window = getattr(self.model.config, "sliding_window", None)
        return window is None or max(map(len, chunk)) <= window

    @torch.inference_mode()
    def _encode(self, prefix: list[int]) -> DynamicCache | None:
        ids = torch.tensor([prefix], device=self.model.device)
        with self.precision():
            out = self.model(input_ids=ids, use_cache=True, logits_to_keep=1)
        cache = getattr(out, "past_key_values", None)
        plain = isinstance(cache, DynamicCache) and all(
            isinstance(layer, DynamicLayer) for layer in cache.layers
        )
        return cache if plain else None  # states of other kinds cannot be expanded

    def precision(self):
        """Autocast to the wished dtype, or nothing."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.autocast)

    def _after_prefix(self, inputs: dict[str, torch.Tensor]) -> dict:
        """A padded batch behind the cached tokens; padding stands between the two."""
        mask, n = inputs["attention_mask"], len(self._prefix)
        return inputs | {
            "attention_mask": torch.cat([mask.new_ones(len(mask), n), mask], dim=1),
            "position_ids": inputs["position_ids"] + n,
            "past_key_values": fork(self._cache, len(mask)),
        }

    # --- one batch ------------------------------------------------------------------
    @torch.inference_mode()
    def _forward(self, rows: list[list[int]]) -> torch.Tensor:
        inputs = left_pad(rows, self.pad_id, self.model.device)
        if self._cache is not None:
            inputs = self._after_prefix(inputs)
        with self.precision():
            out = self.model(
                **inputs, use_cache=self._cache is not None, logits_to_keep=1
            )
        return out.logits[:, -1].float()

    def _batch(
        self, rows: list[list[int]], read: Callable[[torch.Tensor], torch.Tensor]
    ) -> list[torch.Tensor]:
        """Results of a batch; half of it at a time when the memory does not suffice."""
        try:
            return list(read(self._forward(rows)).cpu())
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
        if len(rows) == 1:
            raise MemoryError(
                f"a single row of {len(rows[0])} tokens does not fit into memory: "
                "shorten it, load the model in 4 bits, or use a larger device."
            )
        torch.cuda.empty_cache()
        half = len(rows) // 2
        return self._batch(rows[:half], read) + self._batch(rows[half:], read)
