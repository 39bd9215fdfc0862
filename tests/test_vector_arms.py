"""The recorded experiment on what vectors hold, its claims, and what is taken along."""

import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from latent_models import problem

from lrkit.data.problems import problems
from lrkit.paths import results_dir, root
from lrkit.profiles import load_profile
from lrkit.study import latent_arms
from lrkit.study import vector_arms as arms
from lrkit.study.claims import evidence_vectors as evidence
from lrkit.study.claims.vectors import CLAIMS
from lrkit.study.clusters import cluster_scores, purities
from lrkit.study.infonce import CriticSettings
from lrkit.study.recording import slug
from lrkit.study.vector_questions import different, labels_of, probe_rows, questions_of

SIZES = arms.VectorSettings(90, 40, 5, (4, 8), CriticSettings(steps=3, width=8))


@pytest.fixture
def profile(tiny_base):
    """A profile of a dozen steps on a random base."""
    return load_profile("smoke", "latent", base=tiny_base, steps=12, batch_size=2)


# --- what is looked at ----------------------------------------------------------------
def test_of_each_chain_the_first_question_is_kept():
    drawn = problems("clock", "test", 300)
    kept = different(drawn)
    assert len({p.steps for p in drawn}) == len(kept) < len(drawn)
    assert [p for p in drawn if p in kept] == kept
    first = {p.steps: p for p in reversed(drawn)}
    assert all(first[p.steps] is p for p in kept)


def test_results_of_steps_are_labels_where_there_is_such_a_step():
    table = labels_of([problem(1), problem(3)])
    assert table["result 1"].tolist() == ["2", "2"]
    assert table["result 2"].isna().tolist() == [True, False]
    assert table.loc[1, ["result 2", "result 3"]].tolist() == ["3", "4"]
    assert table["number 3"].isna().tolist() == [True, False]
    assert table.loc[1, "number 3"] == "1"
    assert set(arms.PROPERTIES) <= set(table)


def test_a_probe_row_is_of_its_question_and_leaves_out_who_has_no_such_step():
    rng = np.random.default_rng(0)
    parts = []
    for n in (400, 100):
        label = rng.integers(0, 3, n).astype(str).astype(object)
        x = np.eye(3)[label.astype(int)] + 0.1 * rng.standard_normal((n, 3))
        label[::4] = None
        surface = rng.integers(0, 40, n).astype(str)
        index = [f"q{k}" for k in range(n)]
        parts.append((x, pd.DataFrame({"p": label, "surface": surface}, index)))
    (x, y), (x_test, y_test) = parts
    rows = probe_rows((x, x_test), (y, y_test), "p")
    assert rows.index.tolist() == [f"q{k}" for k in range(100) if k % 4]
    assert rows["correct"].mean() > 0.95 > 0.6 > rows["control"].mean()


def test_purities_of_questions_are_those_of_the_score():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 80).astype(str)
    x = rng.standard_normal((80, 3)) + 2 * labels.astype(int)[:, None]
    own, permuted = purities(x, labels, permutations=20)
    score = cluster_scores(x, labels, permutations=20)["purity"]
    assert own.shape == permuted.shape == (80,)
    assert own.mean() == pytest.approx(score.value) and own.mean() > 0.8
    assert 0.4 < permuted.mean() < 0.6
    with pytest.raises(ValueError, match="two labels"):
        purities(x, ["a"] * 80)


# --- a run ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "arm", [arms.THINKER, arms.UNTAUGHT, arms.STATE, arms.BASE_STATE, "COCONUT"]
)
def test_a_run_leaves_its_row_and_a_row_for_each_question(arm, profile, tmp_path):
    row = arms.run_one(profile, arm, 0, tmp_path, SIZES)
    stem = tmp_path / arms.FOLDER / f"{slug(arm)}-0"
    test = questions_of(profile.latent, "test", SIZES.questions)
    assert row["n"] == len(test) and len(row["key"]) == 12
    probed = pd.read_csv(f"{stem}-probes.csv")
    assert set(probed["property"]) == set(arms.PROPERTIES)
    for name in arms.PROPERTIES:
        part = probed[probed["property"] == name]
        wanted = [p.id for p in test if labels_of([p])[name].notna().all()]
        assert part["id"].tolist() == wanted
        column = name.replace(" ", "_")
        right, control = part["correct"].mean(), part["control"].mean()
        assert row[f"probe_{column}"] == pytest.approx(right, abs=1e-4)
        assert row[f"selectivity_{column}"] == pytest.approx(right - control, abs=1e-4)
    clusters = pd.read_csv(f"{stem}-clusters.csv")
    assert set(clusters["label"]) == set(arms.CLUSTERED)
    for name, part in clusters.groupby("label"):
        mean = part["purity"].mean()
        assert row[f"purity_{name}"] == pytest.approx(mean, abs=1e-3)
        assert -1 <= row[f"silhouette_{name}"] <= 1
    nats = pd.read_csv(f"{stem}-information.csv")
    assert (nats["value"] <= nats["ceiling"] + 1e-6).all()
    assert nats["ceiling"].tolist() == pytest.approx(np.log(SIZES.batches), rel=1e-4)
    assert ("recon" in row) == (arm == arms.THINKER)


def test_arms_differ_and_unknown_ones_are_refused(profile):
    asked = [p.question for p in problems("clock", "test", 4)]
    found = {
        arm: arms.latents_of_arm(profile, arm, 0, asked).joined()
        for arm in (arms.THINKER, arms.UNTAUGHT, arms.STATE, arms.BASE_STATE)
    }
    assert not np.allclose(found[arms.THINKER], found[arms.UNTAUGHT])
    assert not np.allclose(found[arms.STATE], found[arms.BASE_STATE])
    with pytest.raises(ValueError, match="no arm 'thinkers': choose one of thinker"):
        arms.latents_of_arm(profile, "thinkers", 0, asked)
    assert set(arms.METHODS) <= set(latent_arms.ARMS)


def test_what_is_recorded_is_of_the_arms():
    if not (results_dir() / arms.TABLE).is_file():
        pytest.skip("the study of vectors is not recorded yet")
    record = pd.read_csv(results_dir() / arms.TABLE)
    assert set(record["arm"]) <= set(arms.ARMS)
    assert not record.duplicated(["arm", "seed"]).any()
    for run in record.to_dict("records"):
        stem = results_dir() / arms.FOLDER / f"{slug(run['arm'])}-{run['seed']}"
        probed = pd.read_csv(f"{stem}-probes.csv").groupby("property")["correct"]
        for name, mean in probed.mean().items():
            column = f"probe_{name}".replace(" ", "_")
            assert run[column] == pytest.approx(mean, abs=1e-4)


# --- its claims -----------------------------------------------------------------------
@pytest.fixture
def records(tmp_path, monkeypatch):
    """An empty folder of results."""
    for module in (evidence, latent_arms):
        monkeypatch.setattr(module, "results_dir", lambda: tmp_path)
    return tmp_path


def keep(records, arm, kind, rows):
    folder = records / arms.FOLDER
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"{slug(arm)}-0-{kind}.csv", index=False)


def test_claims_name_arms_and_properties_that_there_are(records):
    for claim in CLAIMS:
        if claim.evidence is None:
            continue
        name, args = claim.evidence.func.__name__, list(claim.evidence.args)
        named = args[:2] if name == "probed" else [args[0], *args[2:]]
        if name in ("selective", "informed"):
            named = args[:1]
        assert set(named) <= set(arms.ARMS), claim.says
        if name == "informed":
            assert args[1] in arms.VectorSettings().batches
        elif name == "purer":
            assert args[1] in arms.CLUSTERED
        else:
            assert args[-1] in arms.PROPERTIES
        assert claim.evidence() is None, "nothing is recorded"


def test_evidence_is_paired_over_questions_beside_its_control(records):
    arm, other = arms.THINKER, arms.BASE_STATE
    runs = pd.DataFrame({"arm": [arm, other], "seed": 0})
    runs.to_csv(records / arms.TABLE, index=False)
    assert evidence.probed(arm, other, "n_steps")() is None
    right = {arm: [1, 1, 1, 0], other: [1, 0, 0, 0]}
    for name, values in right.items():
        rows = {"id": list("abcd"), "property": "n_steps", "correct": values}
        keep(records, name, "probes", rows | {"control": [0, 0, 0, 1]})
        purity = {"id": list("abcd"), "label": "operators", "purity": values}
        keep(records, name, "clusters", purity | {"permuted": 0.25})
    nats = {"batch": [22, 128], "value": [3.0, 4.5], "low": [2.9, 4.4]}
    keep(records, arm, "information", nats | {"high": [3.1, 4.6], "n": [90, 90]})
    found = evidence.probed(arm, other, "n_steps")()
    assert (found.effect.value, found.effect.n, found.runs) == (0.5, 4, 1)
    assert evidence.selective(arm, "n_steps")().effect.value == 0.5
    assert evidence.purer(arm, "operators")().effect.value == 0.5
    assert evidence.purer(arm, "operators", other)().effect.value == 0.5
    effect = evidence.informed(arm, 128)().effect
    assert (effect.value, effect.low, effect.high, effect.n) == (4.5, 4.4, 4.6, 90)
    assert evidence.informed(arm, 64)() is None
    assert evidence.informed(other, 128)() is None
    assert evidence.informed(arm, 128, other)() is None
    same = evidence.informed(arm, 128, arm)().effect
    assert same.value == 0 and same.low == pytest.approx(effect.low - effect.high)


# --- what a reader takes along --------------------------------------------------------
ALONE = """
import builtins, sys
known = builtins.__import__
def guarded(name, *args, **kwargs):
    if name.split(".")[0] in ("lrkit", "torch", "transformers", "pandas"):
        asker = (args[0] or {}).get("__name__", "") if args else ""
        if asker == "__main__":
            raise ImportError(name)
    return known(name, *args, **kwargs)
builtins.__import__ = guarded
"""


def test_the_cell_to_take_along_needs_numpy_and_scikit_learn_alone(tmp_path):
    """In an empty folder; a planted property is found, a memorised one is not."""
    path = root() / "notebooks" / "13_what_the_vectors_hold.ipynb"
    notebook = nbformat.read(path, 4)
    (cell,) = [c for c in notebook.cells if "take-along" in c.metadata.get("tags", [])]
    (tmp_path / "alone.py").write_text(ALONE + cell.source)
    ran = subprocess.run(
        [sys.executable, "-I", "alone.py"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.split(" | ") for line in ran.stdout.splitlines()]
    found = {name: [float(x) for x in rest] for name, *rest in lines}
    accuracy, control, low, high = found["planted"]
    assert accuracy > 0.9 and low > 0.2 and low <= accuracy - control <= high
    accuracy, control, low, high = found["of the surface type"]
    assert accuracy > 0.9 and control > 0.9 and low <= 0 <= high + 0.05
    accuracy, control, low, high = found["absent"]
    assert accuracy < 0.5 and low <= accuracy - control <= high
