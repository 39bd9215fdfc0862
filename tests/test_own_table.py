"""Laws of a user's own table: what it may be, and splits that share nothing."""

import json
import os
import warnings
from pathlib import Path

import pandas as pd
import pytest

from lrkit.data.conversations import BadRows
from lrkit.data.own_table import own_table, split_by_group

ROWS = [
    {"q": f"Is number {n} odd?", "a": bool(n % 2), "why": [f"{n} is", "a number"],
     "who": f"person {n % 40}"}
    for n in range(400)
]  # fmt: skip
COLUMNS = {"text": "q", "label": "a", "reason": "why", "group": "who"}
NAMES = {"True": "yes", "False": "no"}


def written(folder: Path, kind: str) -> str:
    """The rows as a file or folder of a kind."""
    path = folder / f"table.{kind}"
    if kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "csv":
        flat = [row | {"why": " ".join(row["why"])} for row in ROWS]
        pd.DataFrame(flat).to_csv(path, index=False)
    elif kind == "arrow":
        from datasets import Dataset

        Dataset.from_list(ROWS).save_to_disk(str(path))
    else:  # as a hub id is downloaded: a folder of parquet files
        path.mkdir()
        pd.DataFrame(ROWS).to_parquet(path / "train-00000-of-00001.parquet")
    return str(path)


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "arrow", "parquet"])
def test_every_source_gives_the_same_rows(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = own_table(written(tmp_path, kind), **COLUMNS, names=NAMES)
    assert list(rows.columns) == ["id", "running_message", "label", "group", "reason"]
    assert rows["running_message"].tolist() == [row["q"] for row in ROWS]
    assert rows["label"].tolist() == ["yes" if r["a"] else "no" for r in ROWS]
    assert rows["reason"][7] == "7 is a number" and rows["group"][41] == "person 1"
    assert rows["id"].is_unique


def test_without_group_and_reason_neither_is_made_up(tmp_path):
    rows = own_table(written(tmp_path, "json"), "q", "a")
    assert "reason" not in rows and set(rows["group"]) == {""}
    assert set(rows["label"]) == {"True", "False"}


def test_what_cannot_be_used_is_named_with_its_row(tmp_path):
    path = written(tmp_path, "json")
    with pytest.raises(BadRows, match="'answer' is missing; found 'q', 'a'"):
        own_table(path, "q", "answer")
    with pytest.raises(BadRows, match="row 1, column 'a': 'False' is none of True"):
        own_table(path, "q", "a", names={"True": "yes"})
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        own_table(tmp_path / "nothing.csv", "q", "a")
    broken = tmp_path / "broken.json"
    for text, said in (("[1, 2]", "list of JSON objects"), ("[{", "line 1: not JSON")):
        broken.write_text(text)
        with pytest.raises(BadRows, match=said):
            own_table(broken, "q", "a")
    broken.write_text(json.dumps([{"q": " ", "a": "x"}, {"q": "hm", "a": ""}]))
    with pytest.raises(BadRows) as bad:
        own_table(broken, "q", "a")
    assert [p.split(",")[0] for p in bad.value.problems] == [
        "row 1 (id 'row-1')",
        "row 2 (id 'row-2')",
    ]


def test_a_text_with_two_labels_is_told(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"q": "same", "a": "x"}, {"q": "same", "a": "y"}]))
    with pytest.warns(UserWarning, match="1 text.* more than one label.*'same'"):
        own_table(path, "q", "a")


def test_parts_hold_every_row_once_and_share_no_group_and_no_text(tmp_path):
    path = tmp_path / "t.json"
    # Texts repeat in other casing, and across groups: these are linked.
    rows = [r | {"q": r["q"].upper(), "who": f"twin {n}"} for n, r in enumerate(ROWS)]
    path.write_text(json.dumps(ROWS + rows[:60]))
    table = own_table(path, **COLUMNS, names=NAMES)
    parts = split_by_group(table)
    assert sorted(i for p in parts.values() for i in p["id"]) == sorted(table["id"])
    for column in ("running_message", "group"):
        seen = [set(part[column].str.casefold()) for part in parts.values()]
        assert sum(map(len, seen)) == len(set().union(*seen))
    assert abs(len(parts["train"]) / len(table) - 0.6) < 0.05
    for part in parts.values():
        assert abs((part["label"] == "yes").mean() - 0.5) < 0.15


def test_the_seed_decides_the_split_and_nothing_else_does(tmp_path):
    table = own_table(written(tmp_path, "json"), "q", "a")
    first, again = split_by_group(table), split_by_group(table)
    other = split_by_group(table, seed=1)
    for name in first:
        pd.testing.assert_frame_equal(first[name], again[name])
    assert first["test"]["id"].tolist() != other["test"]["id"].tolist()


def test_shares_that_cannot_be_cut_are_refused(tmp_path):
    table = own_table(written(tmp_path, "json"), "q", "a")
    for shares in ({"a": 0.5, "b": 0.4}, {"a": 0.99, "b": 0.01}):
        with pytest.raises(ValueError, match="twentieths"):
            split_by_group(table, shares)


@pytest.mark.skipif("LRKIT_PUBLIC_DATA" not in os.environ, reason="no public data here")
def test_public_tables_are_read_and_split():
    folder = Path(os.environ["LRKIT_PUBLIC_DATA"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        questions = own_table(
            folder / "strategyqa" / "train.json", "question", "answer", "facts",
            names=NAMES,
        )  # fmt: skip
        queries = own_table(folder / "banking77" / "train.csv", "text", "category")
    assert len(questions) == 2061 and set(questions["label"]) == {"yes", "no"}
    assert len(queries) == 10_003 and queries["label"].nunique() == 77
    parts = split_by_group(queries.head(2000))
    assert sum(map(len, parts.values())) == 2000


def test_an_error_names_the_columns_as_the_user_does(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("chat,wants\nhello,a\n,b\nhm,\n")
    with pytest.raises(BadRows) as refused:
        own_table(path, text="chat", label="wants")
    said = str(refused.value)
    assert "column 'chat': empty" in said and "column 'wants'" in said
    assert "running_message" not in said and "'label'" not in said
