"""Key-value caches: two continuations of one beginning, rows of different lengths."""

from __future__ import annotations

import copy

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


def fork(cache: DynamicCache, n_rows: int | None = None) -> DynamicCache:
    """A second cache over the same memory; a cache of one row as one of `n_rows` rows.

    The layers are copied, not their tensors: growing the fork leaves the original as
    it was, and gradient flows through both. (`copy.deepcopy` would copy the tensors,
    and fails where they carry gradient.)
    """
    twin = copy.copy(cache)
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    if n_rows is not None:
        for layer in twin.layers:
            layer.keys = layer.keys.expand(n_rows, -1, -1, -1)
            layer.values = layer.values.expand(n_rows, -1, -1, -1)
    return twin


class RowsCache(DynamicCache):
    """A cache that some rows of a batch grow while the others wait.

    It begins as a copy of another one with room for more columns. A pass over some rows
    alone sees and grows theirs; what is behind the end of a row that no longer takes
    part is zeros, which its mask has to hide. So rows that leave a batch one by one are
    neither taken out of their cache nor put back: the whole is there at any time.

    Args:
        cache: of all rows; it stays as it was.
        n_more: columns to come at most.

    Raises:
        ValueError: for layers with a sliding window: they drop columns, and then rows
            of different lengths have nothing left in the same places.
    """

    def __init__(self, cache: DynamicCache, n_more: int):
        if any(layer.is_sliding for layer in cache.layers):
            raise ValueError(
                "rows of a cache with a sliding window cannot end at different "
                "lengths: load the model with sliding_window=None, if its context is "
                "no longer than that."
            )
        super().__init__()
        self.origin = cache
        self.layers = [_RowsLayer(layer, n_more) for layer in cache.layers]

    def only(self, rows: torch.Tensor) -> None:
        """The next passes are over these rows, by their numbers [n], in this order."""
        for layer in self.layers:
            layer.rows = rows

    def whole(self) -> DynamicCache:
        """All rows, over the same memory, as a cache that the library grows."""
        twin = fork(self.origin)
        for layer, grown in zip(twin.layers, self.layers, strict=True):
            layer.keys = grown.keys[:, :, : grown.n_columns]
            layer.values = grown.values[:, :, : grown.n_columns]
        return twin


class _RowsLayer(DynamicLayer):
    """One layer of a `RowsCache`; `rows` None: all of them."""

    def __init__(self, layer: DynamicLayer, n_more: int):
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = (
            torch.nn.functional.pad(part, (0, 0, 0, n_more))
            for part in (layer.keys, layer.values)
        )
        self.n_columns = layer.get_seq_length()
        self.rows: torch.Tensor | None = None

    def get_seq_length(self) -> int:
        """Columns that are there; room for others is not counted."""
        return self.n_columns

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write further columns of the rows; all columns of theirs."""
        begin, end = self.n_columns, self.n_columns + key_states.shape[-2]
        self.n_columns = end
        for part, new in ((self.keys, key_states), (self.values, value_states)):
            columns = part[:, :, begin:end]
            if self.rows is None:
                columns.copy_(new)
            else:
                columns.index_copy_(0, self.rows, new)
        seen = self.keys[:, :, :end], self.values[:, :, :end]
        if self.rows is None:
            return seen
        return seen[0].index_select(0, self.rows), seen[1].index_select(0, self.rows)
