"""The buttons: clicks and replay leave the same file, and stopping loses no label."""

import json

import pytest
from labelling_store import GOOD, ROWS, WITHOUT_TIME, state

from lrkit.data.annotator import Annotator
from lrkit.data.labelling import LabelStore


def test_a_click_saves_the_label_and_the_reason_and_moves_on(store):
    annotator = Annotator(ROWS, store, annotator="ann")
    assert "1 of 4" in annotator.progress.value
    assert "Case 0" in annotator.transcript.value
    annotator.reason.value = " he says so "
    annotator.buttons["yes"].click()
    assert state(store) == [["r0", "yes", "he says so", "ann"]]
    assert "2 of 4" in annotator.progress.value
    assert "Case 1" in annotator.transcript.value
    assert annotator.reason.value == ""


ANSWERS = [
    ("yes", "one"),
    "skip",
    ("no", "two"),
    "undo",
    ("yes", "two, again"),
    "undo",
    "undo",
    ("no", "all of it"),
    ("yes", ""),
    ("no", "<b>"),
]


def test_replay_and_clicks_leave_the_same_file_and_the_same_screen(tmp_path):
    clicked = Annotator(ROWS, LabelStore(tmp_path / "clicked.jsonl"))
    for answer in ANSWERS:
        if answer == "skip":
            clicked.skip_button.click()
        elif answer == "undo":
            clicked.undo_button.click()
        else:
            clicked.reason.value = answer[1]
            clicked.buttons[answer[0]].click()
    replayed = Annotator(ROWS, LabelStore(tmp_path / "replayed.jsonl"))
    result = replayed.replay(ANSWERS)

    def events(annotator):
        lines = annotator.store.path.read_text("utf-8").splitlines()
        return [{**json.loads(line), "time": ""} for line in lines]

    def screen(annotator):
        parts = (annotator.progress, annotator.transcript, annotator.reason)
        return [part.value for part in (*parts, annotator.status)]

    assert len(events(replayed)) == 9
    assert events(replayed) == events(clicked)
    assert screen(replayed) == screen(clicked)
    assert result[WITHOUT_TIME].values.tolist() == state(clicked.store)


@pytest.mark.parametrize("stop", range(len(ANSWERS) + 1))
def test_stopping_anywhere_and_starting_again_loses_no_label(tmp_path, stop):
    store = LabelStore(tmp_path / "labels.jsonl")
    Annotator(ROWS, store).replay(ANSWERS[:stop])
    before = state(store)
    resumed = Annotator(ROWS, store)
    done = {row_id for row_id, *_ in before}
    unlabelled = [row["id"] for row in ROWS if row["id"] not in done]
    assert state(store) == before
    assert resumed.current == (unlabelled[0] if unlabelled else None)
    assert f"{len(done)} labelled" in resumed.progress.value or not unlabelled


def test_undo_shows_the_row_again_with_its_reason(store):
    annotator = Annotator(ROWS, store)
    annotator.replay([("yes", "a typo"), "skip", "undo"])
    assert annotator.current == "r0"
    assert annotator.reason.value == "a typo"
    annotator.buttons["no"].click()
    assert state(store) == [["r0", "no", "a typo", "me"]]
    assert annotator.current == "r1"


def test_skipped_rows_come_round_again_and_skipping_writes_nothing(store):
    annotator = Annotator(ROWS, store)
    annotator.replay(["skip", ("yes", ""), "skip", "skip"])
    assert annotator.current == "r0"
    assert state(store) == [["r1", "yes", "", "me"]]
    annotator.replay(["skip", "skip", "skip"])
    assert annotator.current == "r0"


def test_a_reason_does_not_follow_to_the_next_row(store):
    annotator = Annotator(ROWS, store)
    for button in (annotator.skip_button, annotator.buttons["yes"]):
        annotator.reason.value = "of this row only"
        button.click()
        assert annotator.reason.value == ""


def test_when_all_are_labelled_only_undo_is_left(store):
    annotator = Annotator(ROWS, store)
    assert annotator.undo_button.disabled
    annotator.replay([("yes", "")] * 4)
    assert annotator.current is None
    assert "Case" not in annotator.transcript.value
    assert all(button.disabled for button in annotator.buttons.values())
    assert annotator.skip_button.disabled and annotator.reason.disabled
    assert not annotator.undo_button.disabled
    with pytest.raises(ValueError, match="Answer 1 of the replay: All rows are label"):
        annotator.replay([("yes", "")])
    annotator.undo_button.click()
    assert annotator.current == "r3"
    assert not annotator.buttons["yes"].disabled


def test_a_refused_click_says_so_and_does_not_move_on(store):
    annotator = Annotator(ROWS, store)
    annotator.buttons["yes"].click()
    assert "Saved" in annotator.status.value
    spoilt = store.path.read_bytes() + GOOD.replace(b'"a"', b'"<img src=x>"')
    store.path.write_bytes(spoilt)
    annotator.reason.value = "typed with care"
    annotator.buttons["no"].click()
    assert "Refused" in annotator.status.value
    assert "line 2: unknown id" in annotator.status.value
    assert "img" in annotator.status.value and "<img" not in annotator.status.value
    assert annotator.current == "r1"
    assert annotator.reason.value == "typed with care"
    assert store.path.read_bytes() == spoilt
    with pytest.raises(ValueError, match=r"Answer 1 .*line 2: unknown id"):
        annotator.replay([("no", "")])


@pytest.mark.parametrize("answer", ["yes", ("yes",), ("yes", None), ("maybe", ""), ()])
def test_replay_names_the_answer_that_is_none(store, answer):
    with pytest.raises(ValueError, match="Answer 2 of the replay"):
        Annotator(ROWS, store).replay([("yes", ""), answer])
    assert len(store.labels()) == 1
