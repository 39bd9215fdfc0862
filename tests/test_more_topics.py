"""The shipped adapter for three topics: what it is of, and that it has learned them."""

import pytest

from lrkit.data.conversations import topic_rows
from lrkit.data.topics import TOPICS
from lrkit.profiles import load_profile
from lrkit.study import more_topics as module
from lrkit.study.more_topics import ROWS, folder, more_topics
from lrkit.study.stats import proportion


@pytest.fixture(scope="module")
def model():
    return more_topics(load_profile("cpu"))


def test_the_shipped_adapter_tells_the_topics_apart(model):
    rows = topic_rows("validation")
    assert tuple(model.classes_) == tuple(sorted(TOPICS))
    right = model.predict(rows["running_message"].tolist()) == rows["label"].to_numpy()
    assert proportion(right).low > 1 / 3, "the whole interval is above chance"


def test_its_card_names_the_weights_and_the_rows(model):
    said = (folder() / "README.md").read_text()
    assert model.card_["base_weights"] in said
    assert f"{model.card_['rows']:,} generated" in said
    assert 0 <= model.card_["rows"] - ROWS < len(TOPICS), "all topics of a round"
    assert model.card_["arm"] == "label only"


def test_another_base_is_trained_on_as_many_rows_as_its_profile_allows(
    monkeypatch, tiny_llama
):
    asked = []
    monkeypatch.setattr(module, "fitted", lambda *args: asked.append(args) or "made")
    profile = load_profile("smoke", base=tiny_llama)
    assert more_topics(profile) == "made"
    ((rows, settings, labels, _, arm),) = asked
    assert len(rows) == profile.answer.max_extra_rows and arm == "label only"
    assert settings.epochs == module.EPOCHS and labels == TOPICS
