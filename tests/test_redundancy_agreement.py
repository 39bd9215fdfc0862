"""Laws of the distance to the ideal reader, and of what is kept of the rows."""

import random

import numpy as np
import pandas as pd
import pytest

from lrkit.study.redundancy.agreement import gaps, known, mean_error, or_else
from lrkit.study.redundancy.ideal import survival
from lrkit.study.redundancy.measuring import NOTHING
from lrkit.study.redundancy.packing import pack, read_packed, write_packed

PS = (0.1, 0.3, 0.5, 0.7, 0.9)
COPIES = {f"q{k:03d}": [1 + k % 3] for k in range(300)}


def readings(chance, seeds=(0, 1), without_chain=0.0):
    """Rows of a reader that is right with this probability, by copies and p."""
    rng = random.Random(0)
    rows = [
        {"id": i, "kind": "steps", "p": p, "seed": s, "kept": 1 - p, "leaked": True,
         "correct": rng.random() < chance(c, p)}
        for i, c in COPIES.items() for p in PS for s in seeds
    ]  # fmt: skip
    rows += [
        {"id": i, "kind": NOTHING, "p": 1.0, "seed": 0, "kept": 0.0, "leaked": False,
         "correct": rng.random() < without_chain}
        for i in COPIES
    ]  # fmt: skip
    return pd.DataFrame(rows)


def ideal(c, p):
    return float(survival(c, p))


# --- distance -------------------------------------------------------------------------
def test_an_ideal_reader_has_no_gap_and_a_worse_one_has_its_own():
    table = known(COPIES, PS)
    at = gaps(readings(ideal), table, n_boot=300)
    assert ((at["low"] <= 0.02) & (at["high"] >= -0.02)).all()
    assert at["ideal"].tolist() == pytest.approx(table.mean().tolist())
    assert (at["n"] == 300).all()
    worse = gaps(readings(lambda c, p: 0.7 * ideal(c, p)), table, n_boot=300)
    assert worse.loc[0.1, "high"] < -0.2
    assert worse.loc[0.1, "gap"] == pytest.approx(
        -0.3 * worse.loc[0.1, "ideal"], abs=0.05
    )


def test_the_error_is_small_for_the_ideal_and_that_of_a_shift_for_a_shifted_one():
    table = known(COPIES, PS)
    small = mean_error(readings(ideal), table, n_boot=300)
    assert small.value < 0.03 and small.low <= small.value <= small.high
    flat = mean_error(readings(lambda c, p: 0.5), table, n_boot=300)
    exact = np.abs(0.5 - table.mean()).mean()
    assert flat.low < exact < flat.high and flat.low > small.high


def test_who_does_not_know_answers_as_without_a_chain():
    table = known(COPIES, PS)
    rows = readings(lambda c, p: ideal(c, p) + (1 - ideal(c, p)), without_chain=1.0)
    assert (or_else(table, rows) == 1).all(axis=None)
    assert gaps(rows, or_else(table, rows), n_boot=50)["gap"].abs().max() == 0
    none = readings(ideal, without_chain=0.0)
    assert or_else(table, none).equals(table.astype(float))


def test_rows_that_lack_a_question_are_refused():
    rows = readings(ideal)
    with pytest.raises(ValueError, match="lacks questions"):
        gaps(rows[rows["id"] != "q000"], known(COPIES, PS))


# --- small files ----------------------------------------------------------------------
def test_what_is_packed_is_read_again(tmp_path):
    rows = readings(ideal, seeds=(4,))
    rows = rows[rows["kind"] == "steps"].sort_values(["p", "id"], ignore_index=True)
    write_packed(rows, tmp_path / "some" / "file.csv")
    again = read_packed(tmp_path / "some" / "file.csv", list(COPIES), 4)
    columns = ["id", "kind", "p", "seed", "leaked", "correct"]
    assert again[columns].equals(rows[columns])
    assert len(pack(rows)) == len(PS)
    with pytest.raises(ValueError, match="holds 300 questions, not 299"):
        read_packed(tmp_path / "some" / "file.csv", list(COPIES)[1:], 4)
