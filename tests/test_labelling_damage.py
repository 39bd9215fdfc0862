"""A label file with two writers, torn, killed or spoilt: nothing else is lost."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from labelling_store import GOOD, state

import lrkit
from lrkit.data.labelling import LabelStore


def test_two_writers_at_once_lose_nothing(store):
    def write(name):
        mine = LabelStore(store.path)
        for i in range(40):
            mine.add(f"{i}", "yes", annotator=name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["ann", "bob"]))
    assert len(store.labels("ann")) == len(store.labels("bob")) == 40


@pytest.mark.parametrize("ending", ["undo", "label"])
def test_a_line_torn_at_any_byte_costs_only_that_line(tmp_path, ending):
    whole = LabelStore(tmp_path / "whole.jsonl")
    whole.add("a", "yes", "ünï")
    before, kept = whole.path.read_bytes(), state(whole)
    if ending == "undo":
        whole.undo()
    else:
        whole.add("b", "no", "✓ naïve")
    data, complete = whole.path.read_bytes(), state(whole)

    for cut in range(len(before), len(data) + 1):
        torn = LabelStore(tmp_path / "torn.jsonl")
        torn.path.write_bytes(data[:cut])
        expected = complete if cut >= len(data) - 1 else kept
        assert state(torn) == expected, cut
        torn.add("c", "yes")
        assert torn.path.read_bytes().startswith(data[:cut])
        assert state(torn) == [*expected, ["c", "yes", "", "me"]], cut


def test_the_repair_of_a_torn_line_may_itself_be_torn(tmp_path):
    store = LabelStore(tmp_path / "labels.jsonl")
    store.add("a", "yes")
    start = store.path.read_bytes() + b'{"id": "b", "la'
    store.path.write_bytes(start)
    store.add("c", "no")
    repaired = store.path.read_bytes()
    for cut in range(len(start), len(repaired)):
        store.path.write_bytes(repaired[:cut])
        store.add("d", "yes")
        ids = [row_id for row_id, *_ in state(store)]
        assert ids in (["a", "d"], ["a", "c", "d"])
        assert ("c" in ids) == (cut >= len(repaired) - 1)


def test_a_killed_process_loses_nothing_that_it_had_reported(store):
    program = (
        "import sys; from lrkit.data.labelling import LabelStore\n"
        "store = LabelStore(sys.argv[1])\n"
        "for i in range(100000):\n"
        "    store.add(str(i), 'yes', 'x' * 2000); print(i, flush=True)\n"
    )
    root = str(Path(lrkit.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(store.path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    reported = [process.stdout.readline() for _ in range(30)]
    process.send_signal(signal.SIGKILL)
    reported += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    assert len(reported) >= 30
    ids = store.labels()["id"].tolist()
    assert ids[: len(reported)] == [line.decode().strip() for line in reported]
    store.add("after", "no")
    assert store.labels()["id"].tolist() == [*ids, "after"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"\xff\xfe\n", "not UTF-8"),
        (b'{"id": "a", \n', "not JSON"),
        (b"[1]\n", "not an event"),
        (b"42", "not an event"),
        (b'{"undo": "a"}\n', "not an event"),
        (b'{"id": "a", "label": "yes"}\n', "not an event"),
        (GOOD.replace(b'"yes"', b"true"), "label is True, expected text"),
        (b'{"undo": "b", "annotator": "me", "time": ""}\n', "takes back nothing"),
        (b'{"undo": "a", "annotator": "you", "time": ""}\n', "takes back nothing"),
    ],
)
def test_a_spoilt_line_is_named_by_file_and_number(store, line, complaint):
    spoilt = GOOD * 2 + line + (GOOD if line.endswith(b"\n") else b"")
    store.path.write_bytes(spoilt)
    for operation in (store.labels, store.undo, lambda: store.add("c", "yes")):
        with pytest.raises(ValueError, match=f"labels.jsonl, line 3: .*{complaint}"):
            operation()
    assert store.path.read_bytes() == spoilt
