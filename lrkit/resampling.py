"""Which rows are resampled together: the two sides of a pair are no two draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def group_codes(n: int, groups: Sequence | None) -> np.ndarray:
    """[n]: one number per name, in the order of their first rows.

    Args:
        n: rows.
        groups: a name per row; a row whose name is empty ("", None, NaN) stands alone.
            None: every row does.

    Raises:
        ValueError: for another number of names than rows.
    """
    alone = np.arange(n)
    if groups is None:
        return alone
    if len(groups) != n:
        raise ValueError(f"{n} rows need as many group names, got {len(groups)}.")
    names = pd.Series(list(groups), dtype=object)
    own = pd.Series([("row", i) for i in alone], dtype=object)
    codes, _ = pd.factorize(names.mask(names.isna() | (names == ""), own))
    return codes
