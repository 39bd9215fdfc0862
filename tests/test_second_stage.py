"""The shipped adapter is the one that was recorded, and is used where it fits."""

import numpy as np
import pandas as pd
import pytest

from lrkit.data.conversations import gold_standard
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import second_stage as module
from lrkit.study.recording import slug
from lrkit.study.second_stage import ARM, folder, second_stage


def test_the_shipped_adapter_gives_the_recorded_answers():
    model = second_stage(load_profile("cpu"))
    rows = gold_standard("test").head(12)
    recorded = pd.read_csv(results_dir() / "answer_arms" / f"{slug(ARM)}-0.csv")
    recorded = recorded[recorded["set"] == "test"].set_index("id")["p_yes"]
    scored = model.score_rows(rows["running_message"].tolist())["p_yes"]
    assert np.allclose(scored, recorded.loc[rows["id"]], atol=2e-3)


def test_its_card_names_the_weights_that_it_needs():
    said = (folder() / "README.md").read_text()
    assert module.OneTokenClassifier.load(folder()).card_["base_weights"] in said
    assert "10,000 rows" in said


def test_another_base_gets_a_second_stage_of_its_own(monkeypatch, tiny_llama):
    asked = []
    monkeypatch.setattr(module, "trained", lambda *args: asked.append(args) or "made")
    profile = load_profile("smoke", base=tiny_llama)
    assert second_stage(profile) == "made"
    assert asked == [(profile, ARM, 0)]


def test_an_adapter_of_an_older_base_is_refused(monkeypatch, tmp_path):
    copy = module.OneTokenClassifier.load(folder()).save(tmp_path / "copy")
    card = (copy / "answer.json").read_text()
    weights = module.OneTokenClassifier.load(copy).card_["base_weights"]
    (copy / "answer.json").write_text(card.replace(weights, "0" * 12))
    monkeypatch.setattr(module, "folder", lambda: copy)
    with pytest.raises(ValueError, match="trained on another 'talk'"):
        second_stage(load_profile("cpu"))
