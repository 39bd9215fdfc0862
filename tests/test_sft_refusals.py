"""What cannot be trained is refused before a model is loaded."""

import pytest
from sft_runs import table

from lrkit.answer import sft
from lrkit.answer.label_ids import LabelCollision
from lrkit.answer.prompts import PromptTooLong
from lrkit.answer.sft import train
from lrkit.data.conversations import BadRows


def changed(column, value, row=3):
    rows = table()
    rows.loc[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "arguments", "error", "message"),
    [
        (changed("label", "maybe"), {}, BadRows, r"row 4 \(id 'r3'\).*'maybe' is not"),
        (changed("running_message", " "), {}, BadRows, "'running_message': empty"),
        (changed("reason", ""), {}, BadRows, "'reason': empty"),
        (changed("id", "r0"), {}, BadRows, "already used in row 1"),
        (table().drop(columns="reason"), {}, BadRows, "'reason' is missing"),
        (table().drop(columns="label"), {}, BadRows, "'label' is missing"),
        (
            changed("running_message", "Customer: " + "on and on " * 600),
            {},
            PromptTooLong,
            r"1 row.*r3 \(\d+ tokens\)",
        ),
        (
            table().replace({"label": {"no": "Yes"}}),
            {"labels": ("yes", "Yes")},
            LabelCollision,
            "'Yes' and 'yes'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_trained_is_refused_before_a_model_is_loaded(
    monkeypatch, settings, tmp_path, rows, arguments, error, message
):
    monkeypatch.delattr(sft, "load_model")
    with pytest.raises(error, match=message):
        train(rows, settings, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
