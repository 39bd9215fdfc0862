"""The recorded experiment of damaged chains; a run leaves all its parts."""

import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

from lrkit.paths import results_dir, root
from lrkit.profiles import load_profile
from lrkit.study import redundancy_arms as arms
from lrkit.study.recording import slug
from lrkit.study.redundancy.asking import HIDDEN, SHOWN
from lrkit.study.redundancy.measuring import KINDS, NOTHING, read_chains
from lrkit.study.redundancy.readers import READERS

STUDY = load_profile("study")
QUESTIONS = arms.questions(STUDY)
GIVEN = [name for name, arm in arms.ARMS.items() if arm.redundancy is not None]


@pytest.fixture(scope="module")
def record():
    if not (results_dir() / arms.TABLE).is_file():
        pytest.skip("the study of damaged chains is not recorded yet")
    return pd.read_csv(results_dir() / arms.TABLE)


def test_rows_are_those_of_the_recorded_answers(record):
    assert set(record["arm"]) <= set(arms.ARMS)
    assert not record.duplicated(["arm", "seed"]).any()
    for run in record.to_dict("records"):
        rows = arms.recorded(run["arm"], STUDY)
        rows = rows[rows["seed"] == run["seed"]]
        right = rows.groupby(["kind", "p"])["correct"].mean()
        assert run["n"] == rows["id"].nunique() == arms.ASKED
        assert run["whole"] == pytest.approx(right["steps", 0.0], abs=1e-4)
        assert run["steps_50"] == pytest.approx(right["steps", 0.5], abs=1e-4)
        assert run["nothing"] == pytest.approx(right[NOTHING, 1.0], abs=1e-4)
        arm = arms.ARMS[run["arm"]]
        found = arms.against_ideal(rows, arm, QUESTIONS, n_boot=2)
        assert found == pytest.approx(
            {name: run[name] for name in found}, abs=2e-4, nan_ok=True
        )


def test_nothing_and_everything_removed_are_the_ends_of_every_recorded_curve(record):
    for name in record["arm"].unique():
        rows = arms.recorded(name, STUDY)
        right = rows.groupby(["kind", "p", "id"])["correct"].first().unstack("id")
        assert (right.loc["tokens", 0.0] == right.loc["steps", 0.0]).all()
        none = right.loc[NOTHING, 1.0]
        assert (right.loc["tokens", 1.0] == none).all()
        assert (right.loc["steps", 1.0] == none).all()


# --- arms -----------------------------------------------------------------------------
def test_every_control_has_an_arm_and_readers_of_both_kinds_read_the_same():
    both = {name for name in GIVEN if f"{name}, trained on whole chains" in arms.ARMS}
    assert both == {"redundant", "none planted"}
    for name in both:
        one, other = arms.ARMS[name], arms.ARMS[f"{name}, trained on whole chains"]
        assert (one.redundancy, one.ask) == (other.redundancy, other.ask)
        assert {one.reader, other.reader} == set(READERS)
    assert {arm.ask for arm in arms.ARMS.values()} == {SHOWN, HIDDEN}


@pytest.mark.parametrize("name", GIVEN)
def test_a_given_chain_holds_its_steps_and_its_share_of_redundant_sentences(name):
    arm = arms.ARMS[name]
    said = [arms.given(p, arm) for p in QUESTIONS]
    share = sum(s.redundant for c in said for s in c) / sum(map(len, said))
    assert share == pytest.approx(arm.redundancy, abs=0.01)
    facts = arms.needed(arm, QUESTIONS)
    assert {len(facts[p.id]) for p in QUESTIONS} == {1}
    if not arm.redundancy:
        assert all(set(one) == {1} for one in facts.values())
    else:
        assert np.mean([one[-1] for one in facts.values()]) > 1.5


# --- a run ----------------------------------------------------------------------------
@pytest.fixture
def small(tiny_base, monkeypatch):
    monkeypatch.setattr(arms, "PS", (0.0, 0.5, 1.0))
    monkeypatch.setattr(arms, "MASKED_PS", (0.5,))
    monkeypatch.setattr("lrkit.study.redundancy.readers.MAX_CHAIN", 24)
    options = {"base": tiny_base, "eval_rows": 9, "steps": 2, "context": 640}
    profile = load_profile("smoke", "latent", batch_size=2, **options)
    grown = arms.load_base

    def with_room(settings):
        """The random base, with positions for the longest chain."""
        base = grown(settings)
        base.config.max_position_embeddings = 640
        return base

    monkeypatch.setattr(arms, "load_base", with_room)
    return profile


@pytest.mark.parametrize(
    "name",
    ["redundant", "none planted, question shown", "own chains of the base"],
)
def test_a_run_leaves_its_row_and_its_answers(name, small, tmp_path):
    row = arms.run_one(small, name, 1, tmp_path)
    assert (
        row["n"] == len(arms.questions(small)) > 2
        and len(row["key"]) == 12
        and 0 <= row["steps_50"] <= 1
    )
    rows = arms.recorded(name, small, tmp_path)
    damaged = arms.ARMS[name].reader == arms.DAMAGED
    kinds = set(KINDS if name == "redundant" else arms.COMPARED)
    assert set(rows["kind"]) == kinds and set(rows["seed"]) == {1}
    assert not rows.duplicated(["kind", "p", "id"]).any()
    masked = arms.recorded(name, small, tmp_path, "-masked")
    assert (set(masked.get("kind", [])) == {arms.MASKED}) == damaged
    file = tmp_path / arms.FOLDER / f"{slug(name)}-1.jsonl"
    assert file.is_file() == (arms.ARMS[name].redundancy is None)
    if file.is_file():
        asked = arms.questions(small)
        found = read_chains(file)
        assert [c.question for c in found] == [p.question for p in asked]
        assert [c.answer for c in found] == [p.answer for p in asked]


# --- what a reader takes along --------------------------------------------------------
def test_the_cell_to_take_along_runs_on_the_standard_library_alone(tmp_path):
    """In an empty folder, without site packages; its controls give the copier away."""
    notebook = nbformat.read(root() / "notebooks" / "09_redundant_chains.ipynb", 4)
    (cell,) = [c for c in notebook.cells if "take-along" in c.metadata.get("tags", [])]
    (tmp_path / "alone.py").write_text(cell.source)
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "alone.py"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.split(" | ") for line in ran.stdout.splitlines()]
    found = {name: (float(right), leaked) for name, right, leaked in lines}
    assert found["p = 0.0"] == (1.0, "1.0")
    assert found["p = 0.0, answer removed"] == (0.0, "0.0")
    assert found["p = 0.5"][0] > 0.7
    assert found["another question's chain"] == (0.0, "None")
