"""Forking a key-value cache: two continuations of one beginning."""

from __future__ import annotations

import copy

from transformers import DynamicCache


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
