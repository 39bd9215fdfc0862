"""The label file: bytes stay, the last label counts, undo goes back one by one."""

from itertools import pairwise

import pandas as pd
import pytest
from labelling_store import WITHOUT_TIME, state

from lrkit.data.labelling import LabelStore


def test_bytes_once_written_stay_the_beginning_of_the_file(store):
    operations = [
        lambda: store.add("a", "yes", 'said "fixed"\nand left', "ann"),
        lambda: store.add("b", "no", "naïve ünïcode \u2028 ✓", "ann"),
        lambda: store.undo("ann"),
        lambda: store.add("b", "yes", "", "bob"),
        lambda: store.labels(),
        lambda: store.add("a", "no", "", "ann"),
        lambda: store.undo("ann"),
    ]
    seen = [b""]
    for operation in operations:
        operation()
        seen.append(store.path.read_bytes())
    assert all(after.startswith(before) for before, after in pairwise(seen))
    assert seen[-1].count(b"\n") == 6  # one line an event, none for reading


def test_what_was_said_comes_back_letter_by_letter(store):
    reason = 'said "fixed"\nthen\tleft \\ naïve \u2028 ✓ {"undo": "a"} #torn'
    store.add("a", "yes", reason, "ann")
    assert state(store) == [["a", "yes", reason, "ann"]]


def test_the_last_label_of_an_annotator_counts(store):
    store.add("a", "yes")
    store.add("b", "yes")
    store.add("a", "no", "looked again")
    assert state(store) == [["a", "no", "looked again", "me"], ["b", "yes", "", "me"]]


def test_undo_restores_the_state_before_and_redo_the_state_after(store):
    store.add("a", "yes", "first")
    before = state(store)
    store.add("a", "no", "second")
    after = state(store)
    assert store.undo()["reason"] == "second"
    assert state(store) == before
    store.add("a", "no", "second")
    assert state(store) == after


def test_undo_goes_back_one_by_one_until_nothing_is_left(store):
    for row_id in "abc":
        store.add(row_id, "yes")
    assert [store.undo()["id"] for _ in range(3)] == ["c", "b", "a"]
    written = store.path.read_bytes()
    with pytest.raises(ValueError, match="'me' has no label to take back"):
        store.undo()
    assert store.path.read_bytes() == written


def test_undo_takes_back_only_what_the_same_annotator_said(store):
    store.add("a", "yes", annotator="ann")
    store.add("a", "no", annotator="bob")
    store.undo("ann")
    assert state(store) == [["a", "no", "", "bob"]]


def test_one_shared_file_and_a_file_each_give_the_same_labels(tmp_path):
    shared = LabelStore(tmp_path / "both.jsonl")
    own = {name: LabelStore(tmp_path / f"{name}.jsonl") for name in ("ann", "bob")}
    said = [("a", "yes", "ann"), ("a", "no", "bob"), ("b", "no", "bob")]
    for row_id, label, name in said:
        shared.add(row_id, label, annotator=name)
        own[name].add(row_id, label, annotator=name)
    for name in own:
        assert state(shared, name) == state(own[name])


def test_an_empty_store_gives_an_empty_frame_and_makes_no_file(store):
    assert store.labels().columns.tolist() == [*WITHOUT_TIME, "time"]
    assert len(store.labels()) == 0
    assert not store.path.exists()


def test_what_the_store_was_not_told_of_is_refused_when_written(tmp_path):
    store = LabelStore(tmp_path / "labels.jsonl", labels=("yes", "no"), ids=["a"])
    store.add("a", "yes")
    written = store.path.read_bytes()
    with pytest.raises(ValueError, match=r"line 2 .*label 'maybe'.*'yes', 'no'"):
        store.add("a", "maybe")
    with pytest.raises(ValueError, match=r"labels.jsonl, line 2 .*id 'z'.* 1 rows"):
        store.add("z", "yes")
    with pytest.raises(ValueError, match="reason is None, expected text"):
        store.add("a", "yes", None)
    assert store.path.read_bytes() == written


def test_what_the_store_was_not_told_of_is_refused_when_read(store):
    store.add("a", "yes")
    store.add("b", "maybe")
    with pytest.raises(
        ValueError, match=r"labels.jsonl, line 2: unknown label 'maybe'"
    ):
        LabelStore(store.path, labels=("yes", "no")).labels()
    with pytest.raises(ValueError, match=r"labels.jsonl, line 2: unknown id 'b'"):
        LabelStore(store.path, ids=["a"]).labels()


def test_times_are_utc_and_in_order(store):
    for row_id in "abc":
        store.add(row_id, "yes")
    times = pd.to_datetime(store.labels()["time"])
    assert str(times.dt.tz) == "UTC"
    assert times.is_monotonic_increasing
