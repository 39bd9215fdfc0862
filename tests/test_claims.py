"""Claims: what their verdicts follow from, and what the records say."""

import numpy as np
import pandas as pd
import pytest

from lrkit.paths import results_dir
from lrkit.study import (
    adaptive_arms,
    answer_arms,
    fragility,
    graph_arms,
    latent_arms,
    latent_sft_arms,
    lgr_arms,
    lrt_arms,
    redundancy_arms,
)
from lrkit.study.claims import evidence, evidence_answer
from lrkit.study.claims.claim import (
    COLUMNS,
    NOT_RECORDED,
    NOT_TESTABLE,
    REPRODUCED,
    SOURCES,
    Claim,
    Evidence,
    readable,
    table,
)
from lrkit.study.claims.listed import CLAIMS
from lrkit.study.guidance_controls import GUIDANCE_CHANGES
from lrkit.study.stats import Estimate


def claim(low, high, **others) -> Claim:
    found = Evidence(Estimate((low + high) / 2, low, high, 50), 3)
    return Claim(4, "1", "a helps", "a minus b", "06", lambda: found, **others)


@pytest.mark.parametrize(
    ("low", "high", "others", "verdict"),
    [
        (0.01, 0.03, {}, REPRODUCED),
        (-0.01, 0.03, {}, "not reproduced: not shown"),
        (-0.03, -0.01, {}, "not reproduced: the reverse"),
        (-0.03, -0.01, {"above": False}, REPRODUCED),
        (0.01, 0.03, {"above": False}, "not reproduced: the reverse"),
        (-0.01, 0.03, {"bound": -0.02}, REPRODUCED),
        (-0.03, 0.03, {"bound": -0.02}, "not reproduced: not shown"),
    ],
)
def test_a_claim_is_borne_out_by_the_whole_interval(low, high, others, verdict):
    assert claim(low, high, **others).row()["verdict"] == verdict


def test_points_are_shown_as_points_and_other_units_as_they_are():
    row = claim(0.01, 0.03, bound=-0.02).row()
    assert (row["effect"], row["low"], row["high"]) == pytest.approx((2, 1, 3))
    assert (row["wanted"], row["n"], row["random seeds"]) == ("> -2", 50, 3)
    row = claim(0.01, 0.03, unit="share", above=False).row()
    assert (row["low"], row["wanted"]) == (0.01, "< 0")


def test_what_was_not_measured_says_why():
    never = Claim(0, "1", "x", "no such data", "02")
    later = Claim(0, "1", "x", "a minus b", "02", lambda: None)
    rows = table([never, later])
    assert rows["verdict"].tolist() == [NOT_TESTABLE, NOT_RECORDED]
    assert rows[["effect", "low", "n"]].isna().all(axis=None)
    assert list(rows) == COLUMNS


def test_rows_are_told_in_words():
    told = readable(table([claim(0.01, 0.03), Claim(0, "1", "x", "why not", "02")]))
    assert told.loc["a helps", "effect"] == "+2 [+1, +3] points, wanted > 0"
    assert told.loc["a helps", ["n", "random seeds"]].tolist() == ["50", "3"]
    assert told.loc["x", ["effect", "n", "tested"]].tolist() == ["", "", "why not"]


def test_claims_name_their_source_and_notebook_and_no_two_are_the_same():
    assert len({(c.source, c.says) for c in CLAIMS}) == len(CLAIMS)
    for c in CLAIMS:
        assert c.source in SOURCES and c.notebook.isdigit() and len(c.notebook) == 2
        assert c.tested and (c.unit == "points" or c.bound == 0 or c.evidence)


def test_claims_name_arms_that_their_studies_have():
    studies = {
        "latent_arms": latent_arms.ARMS, "graph_arms": graph_arms.METHODS,
        "lrt_arms": lrt_arms.ARMS, "latent_sft_arms": latent_sft_arms.ARMS,
        "adaptive_arms": adaptive_arms.ARMS, "fragility": fragility.ARMS,
        "redundancy_arms": redundancy_arms.ARMS, "lgr_arms": lgr_arms.ARMS,
    }  # fmt: skip
    seen = set()
    for c in CLAIMS:
        if c.evidence is None:
            continue
        name = c.evidence.func.__name__
        args, others = list(c.evidence.args), c.evidence.keywords
        if name == "accuracy":
            first = others.get("folder", "latent_arms")
            folders = (first, others.get("other") or first)
        elif name == "shorter":
            named = ("folder", "other")
            folders = [others.get(k) or args[i] for i, k in enumerate(named, 2)]
        elif name == "guidance_control":
            assert args[1] in GUIDANCE_CHANGES
            args, folders = args[:1], ("lgr_arms",)
        elif name == "short_runs":
            args, folders = [a for a in args[1:] if a], ("fragility",) * 2
        elif name.startswith("adaptive"):
            n = 1 if name in ("adaptive_trend", "adaptive_control") else 2
            args, folders = args[:n], ("adaptive_arms",) * 2
        elif name == "damaged":
            args, folders = [args[0], args[3][0]], ("redundancy_arms",) * 2
        else:
            continue
        seen.add(name)
        for arm, folder in zip(args[:2], folders, strict=False):
            assert arm in studies[folder], (c.says, arm)
    assert len(seen) == 10


# --- evidence from records ------------------------------------------------------------
@pytest.fixture
def records(tmp_path, monkeypatch):
    """An empty folder of results."""
    readers = (evidence, evidence_answer, evidence.adaptive_tables, redundancy_arms)
    for module in (*readers, latent_arms, answer_arms, fragility):
        monkeypatch.setattr(module, "results_dir", lambda: tmp_path)
    return tmp_path


def test_without_records_there_is_no_evidence(records):
    for c in CLAIMS:
        if c.notebook in ("06", "07", "08", "09", "10", "11", "12"):
            assert c.evidence is None or c.evidence() is None


def test_accuracies_are_paired_over_the_questions(records):
    folder = records / latent_arms.FOLDER
    folder.mkdir()
    for arm, right in (("codi", [1, 1, 1, 0]), ("coconut", [1, 0, 0, 0])):
        pd.DataFrame(
            {"id": list("abcd") * 2, "split": ["test"] * 4 + ["longer"] * 4,
             "answer": "1", "correct": right + [0] * 4}
        ).to_csv(folder / f"{arm}-0.csv", index=False)  # fmt: skip
    runs = pd.DataFrame({"arm": ["CODI", "COCONUT"], "seed": 0})
    runs.to_csv(records / latent_arms.TABLE, index=False)
    found = evidence.accuracy("CODI", "COCONUT")()
    assert (found.effect.value, found.effect.n, found.runs) == (0.5, 4, 1)
    assert evidence.accuracy("CODI", "COCONUT", "longer")().effect.value == 0
    assert evidence.accuracy("CODI", "pause")() is None


def test_arms_of_two_studies_meet_on_the_questions_of_both(records):
    for study, ids, tokens in (("one", "abc", 4), ("two", "bcd", 12)):
        (records / study).mkdir()
        pd.DataFrame(
            {"id": list(ids), "split": "test", "answer": "1", "text_tokens": tokens,
             "latent_steps": 2, "correct": [study == "one"] * 3}
        ).to_csv(records / study / "arm-0.csv", index=False)  # fmt: skip
        runs = pd.DataFrame({"arm": ["arm"], "seed": 0})
        runs.to_csv(records / f"{study}.csv", index=False)
    found = evidence.accuracy("arm", "arm", folder="one", other="two")()
    assert (found.effect.value, found.effect.n) == (1.0, 2)
    ratio = evidence.shorter("arm", "arm", "one", "two")()
    assert ratio.effect.value == ratio.effect.low == 14 / 6
    assert evidence.shorter("arm", "none", "one", "two")() is None
    written = evidence.shorter("arm", "arm", "one", "two", costs=("text_tokens",))()
    assert written.effect.value == 12 / 4
    assert evidence.shorter("arm", "arm", "one", "two", "longer")() is None


def test_words_are_found_beside_those_of_other_questions(records):
    folder = records / "latent_sft_arms"
    folder.mkdir()
    assert evidence.found_words("x", 1)() is None
    pd.DataFrame(
        {"k": [1, 1, 2], "id": ["a", "b", "a"], "found": [1.0, 0.5, 0.9],
         "shuffled": [0.25, 0.25, 0.9]}
    ).to_csv(folder / "x-0-ecr.csv", index=False)  # fmt: skip
    runs = pd.DataFrame({"arm": ["x"], "seed": 0})
    runs.to_csv(records / "latent_sft_arms.csv", index=False)
    found = evidence.found_words("x", 1)()
    assert (found.effect.value, found.effect.n) == (0.5, 2)
    assert evidence.found_words("y", 1)() is None


def test_guidance_is_held_against_its_controls(records):
    folder = records / lgr_arms.FOLDER
    folder.mkdir()
    runs = pd.DataFrame({"arm": ["writer alone", "guided"], "seed": 0})
    runs.to_csv(records / lgr_arms.TABLE, index=False)
    assert evidence.guidance_control("guided", "zeroed")() is None
    pd.DataFrame(
        {"id": list("abcd") * 2, "control": ["own"] * 4 + ["zeroed"] * 4,
         "answer": "1", "correct": [1, 1, 1, 0, 1, 0, 0, 0]}
    ).to_csv(folder / "guided-0-controls.csv", index=False)  # fmt: skip
    found = evidence.guidance_control("guided", "zeroed")()
    assert (found.effect.value, found.effect.n, found.runs) == (0.5, 4, 1)
    assert evidence.guidance_control("guided", "shuffled")() is None
    assert evidence.guidance_control("writer alone", "zeroed")() is None


def test_short_runs_are_paired_by_random_seed(records):
    runs = pd.DataFrame(
        {"arm": ["a"] * 8 + ["b"] * 6 + ["c"] * 4,
         "seed": [*range(8), *range(6), *range(4)],
         "diverged_at": [5, np.nan, 7, 9, 5, np.nan, 7, 9] + [np.nan] * 10,
         "accuracy_validation": [0.5] * 8 + [0.25] * 10}
    )  # fmt: skip
    runs.to_csv(records / fragility.TABLE, index=False)
    alone = evidence.short_runs("diverged", "a")()
    assert (alone.effect.value, alone.runs) == (0.75, 8)
    both = evidence.short_runs("accuracy_validation", "a", "b")()
    assert (both.effect.value, both.effect.n) == (0.25, 6)
    assert evidence.short_runs("diverged", "a", "none")() is None
    assert evidence.short_runs("diverged", "c")() is None, "four are no rate"


def test_lengths_before_and_after_are_compared_in_tokens(records):
    folder = records / adaptive_arms.FOLDER
    folder.mkdir()
    for name, lengths in (("latent-6", [6, 6, 6, 6]), ("latent-6-rl", [2, 2, 0, 4])):
        for seed in (0, 1):
            pd.DataFrame(
                {"id": list("abcd"), "n_steps": [1, 1, 2, 2], "answer": "1",
                 "correct": 1, "latent_steps": lengths}
            ).to_csv(folder / f"{name}-{seed}-test.csv", index=False)  # fmt: skip
    found = evidence.adaptive_tokens("Latent-6 + RL", "Latent-6")()
    assert found.effect.value == pytest.approx(-0.5) and found.runs == 2
    assert found.effect.low < -0.5 < found.effect.high < 0
    longest = evidence.adaptive_longest("Latent-6 + RL", "Latent-6")()
    assert longest.effect == Estimate(-2.0, -2.0, -2.0, 4)
    assert evidence.adaptive_accuracy("Latent-6 + RL", "Latent-6")().effect.value == 0


def test_the_surer_half_is_compared_with_the_other(monkeypatch):
    n = 40
    part = pd.DataFrame(
        {"arm": "x", "set": "test", "seed": np.repeat([0, 1], n),
         "id": list(range(n)) * 2, "label": "yes",
         "p_yes": np.tile(np.r_[[0.9] * (n // 2), [0.4] * (n // 2)], 2)}
    )  # fmt: skip
    monkeypatch.setattr(evidence_answer, "_predictions", lambda folder: part)
    monkeypatch.setattr(evidence_answer, "_pairs", lambda: None)
    found = evidence_answer.surer_is_righter("x")()
    assert (found.effect.value, found.runs) == (1.0, 2)


# --- the table that is committed ------------------------------------------------------
def test_the_table_in_the_repository_lists_these_claims():
    kept = pd.read_csv(results_dir() / "claims.csv", dtype={"notebook": str})
    assert list(kept) == COLUMNS
    assert kept["claim"].tolist() == [c.says for c in CLAIMS]
    recorded = kept[kept["effect"].notna()]
    assert recorded["verdict"].str.contains("reproduced").all()
    some = {c.says: c for c in CLAIMS}
    for row in recorded.iloc[:: max(1, len(recorded) // 6)].to_dict("records"):
        again = some[row["claim"]].row()
        assert again["verdict"] == row["verdict"], row["claim"]
        assert again["effect"] == pytest.approx(row["effect"], rel=1e-3, abs=1e-3)
