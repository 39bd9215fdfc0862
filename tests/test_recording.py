"""The files of recorded experiments: what is there stays, and says where it is from."""

import json

import pandas as pd
import torch

from lrkit.study.recording import append_row, done, record_runs, write_rows


def test_a_recorded_pair_is_skipped_and_rows_are_appended(tmp_path):
    path = tmp_path / "runs.csv"
    assert done(path) == set()
    append_row(path, {"arm": "a", "seed": 0, "x": 1})
    append_row(path, {"arm": "b", "seed": 2, "x": 3})
    assert done(path) == {("a", 0), ("b", 2)}
    assert pd.read_csv(path)["x"].tolist() == [1, 3]


def test_what_is_recorded_is_not_run_again(tmp_path, monkeypatch):
    called = []

    def run_one(profile, arm, seed, out):
        called.append((profile.name, arm, seed, out))
        return {"arm": arm, "seed": seed}

    append_row(tmp_path / "t.csv", {"arm": "a", "seed": 1})
    line = ["x", "--profile", "smoke", "--seeds", "0", "1", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", line)
    record_runs("", ["a", "b"], "t.csv", run_one)
    wanted = [("a", 0), ("b", 0), ("b", 1)]
    assert called == [("smoke", arm, seed, tmp_path) for arm, seed in wanted]
    record_runs("", ["a", "b"], "t.csv", run_one)
    assert len(called) == 3 and len(done(tmp_path / "t.csv")) == 4


def test_a_row_says_where_it_was_made_unless_it_says_so_itself(tmp_path, monkeypatch):
    def run_one(profile, arm, seed, out):
        return {"arm": arm, "seed": seed} | ({"machine": "mine"} if arm == "b" else {})

    monkeypatch.setattr("sys.argv", ["x", "--seeds", "0", "--out", str(tmp_path)])
    record_runs("", ["a", "b"], "t.csv", run_one)
    a, b = pd.read_csv(tmp_path / "t.csv").to_dict("records")
    assert list(a) == ["arm", "seed", "seconds", "machine", "versions"]
    assert f"{torch.get_num_threads()} threads" in a["machine"] and a["seconds"] >= 0
    assert json.loads(a["versions"])["torch"] == torch.__version__
    assert b["machine"] == "mine" and b["versions"] == a["versions"]


def test_columns_may_come_later_and_what_was_written_stays_as_it_was(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("arm,seed,x\na,0,0.4780\n")
    append_row(path, {"arm": "b, c", "seed": 1, "y": 2.5, "z": None})
    lines = path.read_text().splitlines()
    assert lines == ["arm,seed,x,y,z", "a,0,0.4780,,", '"b, c",1,,2.5,']
    assert done(path) == {("a", 0), ("b, c", 1)}


def test_tables_are_written_with_five_digits_and_one_kind_of_line_end(tmp_path):
    path = tmp_path / "new" / "t.csv"
    write_rows(pd.DataFrame({"a": [1 / 3], "b": ["x"]}), path)
    assert path.read_bytes() == b"a,b\n0.33333,x\n"
