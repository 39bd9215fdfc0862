"""Read the messages that try to take over a prompt, see the card of `hostile.jsonl`."""

from __future__ import annotations

import json

import pandas as pd

from lrkit.paths import data_dir


def hostile() -> pd.DataFrame:
    """All hostile messages: `id`, `kind`, `aim` (a label or None) and `text`.

    Some texts hold lone surrogates, which no file in UTF-8 can hold as they are. They
    stand there as JSON escapes, and here in columns of Python objects.
    """
    lines = (data_dir() / "hostile.jsonl").read_text("utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    for row in rows:
        row["text"] *= row.pop("repeat", 1)
    return pd.DataFrame(rows, columns=["id", "kind", "aim", "text"], dtype=object)
