"""The laws of the label file, of the buttons, and of comparing two annotators.

Buttons are clicked, processes are killed and files are cut for real; nothing is faked.
"""

import json
import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest

import lrkit
from lrkit.data.annotator import Annotator
from lrkit.data.labelling import LabelStore, adjudicate, agreement

ROWS = [
    {"id": f"r{i}", "running_message": f"Support Agent: Hello.\nCustomer: Case {i}."}
    for i in range(4)
]
WITHOUT_TIME = ["id", "label", "reason", "annotator"]


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels.jsonl")


def state(store, annotator=None):
    """What stands, without the times."""
    return store.labels(annotator)[WITHOUT_TIME].values.tolist()


def labels_of(text):
    """A frame from 'yes no yes': ids 0, 1, 2."""
    labels = text.split()
    return pd.DataFrame({"id": [str(i) for i in range(len(labels))], "label": labels})


# --- the file -------------------------------------------------------------------------


def test_bytes_once_written_stay_the_beginning_of_the_file(store):
    operations = [
        lambda: store.add("a", "yes", 'said "fixed"\nand left', "ann"),
        lambda: store.add("b", "no", "naïve ünïcode \u2028 ✓", "ann"),
        lambda: store.undo("ann"),
        lambda: store.add("b", "yes", "", "bob"),
        lambda: store.labels(),
        lambda: store.add("a", "no", "", "ann"),
        lambda: store.undo("ann"),
    ]
    seen = [b""]
    for operation in operations:
        operation()
        seen.append(store.path.read_bytes())
    assert all(after.startswith(before) for before, after in pairwise(seen))
    assert seen[-1].count(b"\n") == 6  # one line an event, none for reading


def test_what_was_said_comes_back_letter_by_letter(store):
    reason = 'said "fixed"\nthen\tleft \\ naïve \u2028 ✓ {"undo": "a"} #torn'
    store.add("a", "yes", reason, "ann")
    assert state(store) == [["a", "yes", reason, "ann"]]


def test_the_last_label_of_an_annotator_counts(store):
    store.add("a", "yes")
    store.add("b", "yes")
    store.add("a", "no", "looked again")
    assert state(store) == [["a", "no", "looked again", "me"], ["b", "yes", "", "me"]]


def test_undo_restores_the_state_before_and_redo_the_state_after(store):
    store.add("a", "yes", "first")
    before = state(store)
    store.add("a", "no", "second")
    after = state(store)
    assert store.undo()["reason"] == "second"
    assert state(store) == before
    store.add("a", "no", "second")
    assert state(store) == after


def test_undo_goes_back_one_by_one_until_nothing_is_left(store):
    for row_id in "abc":
        store.add(row_id, "yes")
    assert [store.undo()["id"] for _ in range(3)] == ["c", "b", "a"]
    written = store.path.read_bytes()
    with pytest.raises(ValueError, match="'me' has no label to take back"):
        store.undo()
    assert store.path.read_bytes() == written


def test_undo_takes_back_only_what_the_same_annotator_said(store):
    store.add("a", "yes", annotator="ann")
    store.add("a", "no", annotator="bob")
    store.undo("ann")
    assert state(store) == [["a", "no", "", "bob"]]


def test_one_shared_file_and_a_file_each_give_the_same_labels(tmp_path):
    shared = LabelStore(tmp_path / "both.jsonl")
    own = {name: LabelStore(tmp_path / f"{name}.jsonl") for name in ("ann", "bob")}
    said = [("a", "yes", "ann"), ("a", "no", "bob"), ("b", "no", "bob")]
    for row_id, label, name in said:
        shared.add(row_id, label, annotator=name)
        own[name].add(row_id, label, annotator=name)
    for name in own:
        assert state(shared, name) == state(own[name])


def test_two_writers_at_once_lose_nothing(store):
    def write(name):
        mine = LabelStore(store.path)
        for i in range(40):
            mine.add(f"{i}", "yes", annotator=name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["ann", "bob"]))
    assert len(store.labels("ann")) == len(store.labels("bob")) == 40


def test_an_empty_store_gives_an_empty_frame_and_makes_no_file(store):
    assert store.labels().columns.tolist() == [*WITHOUT_TIME, "time"]
    assert len(store.labels()) == 0
    assert not store.path.exists()


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


GOOD = b'{"id": "a", "label": "yes", "reason": "", "annotator": "me", "time": ""}\n'


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


def test_what_the_store_was_not_told_of_is_refused_when_written(tmp_path):
    store = LabelStore(tmp_path / "labels.jsonl", labels=("yes", "no"), ids=["a"])
    store.add("a", "yes")
    written = store.path.read_bytes()
    with pytest.raises(ValueError, match=r"line 2 .*label 'maybe'.*'yes', 'no'"):
        store.add("a", "maybe")
    with pytest.raises(ValueError, match=r"labels.jsonl, line 2 .*id 'z'.* 1 rows"):
        store.add("z", "yes")
    with pytest.raises(ValueError, match="reason is None, expected text"):
        store.add("a", "yes", None)
    assert store.path.read_bytes() == written


def test_what_the_store_was_not_told_of_is_refused_when_read(store):
    store.add("a", "yes")
    store.add("b", "maybe")
    with pytest.raises(
        ValueError, match=r"labels.jsonl, line 2: unknown label 'maybe'"
    ):
        LabelStore(store.path, labels=("yes", "no")).labels()
    with pytest.raises(ValueError, match=r"labels.jsonl, line 2: unknown id 'b'"):
        LabelStore(store.path, ids=["a"]).labels()


def test_times_are_utc_and_in_order(store):
    for row_id in "abc":
        store.add(row_id, "yes")
    times = pd.to_datetime(store.labels()["time"])
    assert str(times.dt.tz) == "UTC"
    assert times.is_monotonic_increasing


# --- the buttons ----------------------------------------------------------------------


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


class Markup(HTMLParser):
    """What a browser would take for tags and attributes, and what for text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


ATTACK = '<script>alert(1)</script><img src=x onerror="x()"> & </div> &lt;b&gt;'


@pytest.mark.parametrize(
    "answers",
    [[], [(ATTACK, ATTACK)], [(ATTACK, ATTACK), "undo"], ["skip"]],
)
def test_what_people_type_is_text_and_never_markup(store, answers):
    rows = [{"id": ATTACK, "running_message": f"Customer: {ATTACK}\n{ATTACK}"}]
    store.add(ATTACK, "no", ATTACK, annotator=f"other {ATTACK}")
    annotator = Annotator(
        rows,
        store,
        labels=(ATTACK, "no"),
        question=ATTACK,
        annotator=ATTACK,
        blind=False,
        speakers=(ATTACK,),
    )
    annotator.replay(answers)
    html = [w.value for w in annotator.widget.children if isinstance(w, widgets.HTML)]
    assert len(html) == 4
    for markup in map(Markup, html):
        assert markup.tags <= {"div", "b", "i"}
        assert markup.attributes <= {"style"}
        assert "alert" not in markup.text or ATTACK in markup.text
    assert sum("alert" in value for value in html) >= 2


def test_only_speakers_are_bold_and_the_turns_keep_their_order(store):
    message = "Support Agent: Hi.\nCustomer: Error: Customer: none\n  Errors: 2"
    row = {"id": "a", "running_message": message}
    html = Annotator([row], store).transcript.value
    bold = [part.split("</b>")[0] for part in html.split("<b>")[1:]]
    assert [name for name in bold if name] == ["Support Agent:", "Customer:"]
    assert " Error: Customer: none</div>" in html
    assert "  Errors: 2</div>" in html
    html = Annotator([row], store, speakers=["  Errors"]).transcript.value
    assert "<b>  Errors:</b> 2" in html


def test_blind_hides_what_others_said_and_not_blind_shows_it(store):
    store.add("r0", "no", "secret remark", annotator="bob")
    blind = Annotator(ROWS, store, annotator="ann")
    assert blind.current == "r0"  # the label of bob is not ours
    texts = [str(getattr(child, "value", "")) for child in blind.widget.children]
    assert not any("secret" in text or "bob" in text for text in texts)
    seeing = Annotator(ROWS, store, annotator="ann", blind=False)
    assert "secret remark" in seeing.transcript.value
    assert "bob" in seeing.transcript.value


def test_other_columns_of_the_rows_are_not_shown(store):
    rows = [{**row, "label": "golden", "reason": "given away"} for row in ROWS]
    transcript = Annotator(rows, store).transcript.value
    assert "golden" not in transcript and "given away" not in transcript


def test_a_frame_and_a_list_of_rows_are_the_same(store):
    from_list = Annotator(ROWS, store)
    from_frame = Annotator(pd.DataFrame(ROWS, index=[7, 7, 8, 9]), store)
    assert from_frame.messages == from_list.messages


def test_without_reason_there_is_no_field_for_it(store):
    def has_field(annotator):
        return annotator.reason in annotator.widget.children

    assert has_field(Annotator(ROWS, store))
    assert not has_field(Annotator(ROWS, store, with_reason=False))


def test_any_label_set_gets_a_button_each(store):
    labels = ["solved", "not solved", "cannot say"]
    annotator = Annotator(ROWS, store, labels=labels)
    assert [button.description for button in annotator.buttons.values()] == labels
    annotator.replay([(label, "") for label in labels])
    assert store.labels()["label"].tolist() == labels


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


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "no rows"),
        ([{"id": "a"}], "Row 1 has no running_message"),
        ([{"running_message": "x"}], "Row 1 has no id"),
        ([*ROWS, ROWS[1]], "Row 5: the id 'r1' occurs twice"),
        ([{"id": "a", "running_message": math.nan}], "Row 1 .*nan, expected text"),
    ],
)
def test_rows_that_cannot_be_shown_are_refused(store, rows, complaint):
    with pytest.raises(ValueError, match=complaint):
        Annotator(rows, store)


@pytest.mark.parametrize("labels", [[], ["yes"], ["yes", "yes"], ["yes", ""]])
def test_labels_that_cannot_be_told_apart_are_refused(store, labels):
    with pytest.raises(ValueError, match="two or more that differ"):
        Annotator(ROWS, store, labels=labels)


def test_a_file_of_other_rows_is_refused_before_anything_is_shown(store):
    store.add("elsewhere", "yes")
    with pytest.raises(ValueError, match="line 1: unknown id 'elsewhere'"):
        Annotator(ROWS, store)


# --- two annotators -------------------------------------------------------------------

FIRST = labels_of("yes yes yes yes yes no no no no no")
SECOND = labels_of("yes yes yes yes no yes yes no no no")


def test_kappa_is_what_the_hand_computes():
    result = agreement(FIRST, SECOND, n_resamples=50)
    # observed 7/10; by chance 5/10 * 6/10 + 5/10 * 4/10 = 1/2; (0.7 - 0.5) / (1 - 0.5)
    assert result.n == 10
    assert result.raw == pytest.approx(0.7)
    assert result.kappa == pytest.approx(0.4)
    assert result.disagreeing == ["4", "5", "6"]
    assert result.confusion.loc["yes"].to_dict() == {"no": 1, "yes": 4}
    assert result.confusion.loc["no"].to_dict() == {"no": 3, "yes": 2}
    assert "kappa 0.40" in str(result)


def test_agreement_goes_by_id_and_not_by_position():
    shuffled = SECOND.sample(frac=1, random_state=1)
    straight = agreement(FIRST, SECOND, n_resamples=50)
    assert agreement(FIRST, shuffled, n_resamples=50).kappa == straight.kappa
    assert agreement(FIRST, shuffled, n_resamples=50).disagreeing == ["4", "5", "6"]


def test_agreement_is_symmetric():
    there = agreement(FIRST, SECOND, n_resamples=200)
    back = agreement(SECOND, FIRST, n_resamples=200)
    assert there.kappa == pytest.approx(back.kappa)
    assert (there.low, there.high) == pytest.approx((back.low, back.high))
    assert there.confusion.values.tolist() == back.confusion.values.T.tolist()


def test_the_extremes_of_agreement():
    same = agreement(FIRST, FIRST, n_resamples=50)
    assert (same.raw, same.kappa, same.low, same.high) == (1, 1, 1, 1)
    assert same.disagreeing == []
    flipped = FIRST.replace({"yes": "no", "no": "yes"})
    assert agreement(FIRST, flipped, n_resamples=50).kappa == pytest.approx(-1)
    alternating = labels_of("yes no yes no")
    paired = labels_of("yes yes no no")
    assert agreement(alternating, paired, n_resamples=50).kappa == 0


def test_one_label_throughout_has_no_kappa_and_says_nan():
    result = agreement(labels_of("yes yes yes"), labels_of("yes yes yes"))
    assert result.raw == 1
    assert all(math.isnan(value) for value in (result.kappa, result.low, result.high))


def test_rare_labels_still_get_an_interval():
    first = labels_of("no " + "yes " * 9)  # a third of the resamples have only "yes"
    result = agreement(first, first, n_resamples=100)
    assert (result.low, result.high) == (1, 1)


def test_the_interval_is_that_of_resampling_rows_by_brute_force():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 60)
    seen = np.where(rng.random(60) < 0.2, 1 - truth, truth)
    kappas = []
    for _ in range(4000):
        drawn = rng.integers(0, 60, 60)
        a, b = truth[drawn], seen[drawn]
        chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
        kappas.append(((a == b).mean() - chance) / (1 - chance))
    result = agreement(*(labels_of(" ".join(map(str, side))) for side in (truth, seen)))
    expected = np.quantile(kappas, [0.025, 0.975])
    assert (result.low, result.high) == pytest.approx(expected, abs=0.03)
    assert result.low < result.kappa < result.high


def test_the_same_seed_gives_the_same_interval():
    def interval(seed):
        result = agreement(FIRST, SECOND, n_resamples=100, seed=seed)
        return result.low, result.high

    assert interval(0) == interval(0)
    assert len({interval(seed) for seed in range(5)}) > 1


def test_rows_of_one_annotator_only_are_named_and_not_counted():
    first = pd.DataFrame({"id": ["a", "b"], "label": ["yes", "no"]})
    second = pd.DataFrame({"id": ["c", "b"], "label": ["yes", "no"]})
    result = agreement(first, second)
    assert result.n == 1
    assert result.unmatched == ["a", "c"]


def test_labels_from_one_shared_file_can_be_compared(store):
    Annotator(ROWS, store, annotator="ann").replay([("yes", ""), ("no", "")])
    Annotator(ROWS, store, annotator="bob").replay([("yes", ""), ("yes", "")])
    result = agreement(store.labels("ann"), store.labels("bob"), n_resamples=50)
    assert (result.n, result.raw, result.disagreeing) == (2, 0.5, ["r1"])
    with pytest.raises(ValueError, match=r"more than one label for 'r0', 'r1'"):
        agreement(store.labels(), store.labels("bob"))


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (FIRST.drop(columns="label"), "first annotator have no column 'label'"),
        (FIRST.assign(label=[None, *"abcdefghi"]), "an empty label for '0'"),
        (FIRST.assign(id=[f"x{i}" for i in range(10)]), "no row in common"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(first, complaint):
    with pytest.raises(ValueError, match=complaint):
        agreement(first, SECOND)


def test_adjudication_decides_where_they_differ_and_keeps_both_sides():
    decisions = {"4": "no", "5": "yes", "6": "no"}
    final = adjudicate(FIRST, SECOND, decisions)
    assert final.columns.tolist() == ["id", "first", "second", "final"]
    assert final["first"].tolist() == FIRST["label"].tolist()
    assert final["second"].tolist() == SECOND["label"].tolist()
    agreed = final["first"] == final["second"]
    assert (final["final"] == final["first"])[agreed].all()
    assert dict(final[~agreed][["id", "final"]].values) == decisions


def test_two_who_agree_need_no_decision():
    assert adjudicate(FIRST, FIRST, {})["final"].tolist() == FIRST["label"].tolist()


def test_a_row_that_one_of_them_left_out_needs_a_decision():
    with pytest.raises(ValueError, match=r"No decision for '8', '9', where"):
        adjudicate(FIRST.head(8), FIRST, {})
    final = adjudicate(FIRST.head(8), FIRST, {"8": "yes", "9": "no"})
    assert final["final"].tolist()[-2:] == ["yes", "no"]
    assert final["first"].tolist()[-2:] == [None, None]


@pytest.mark.parametrize(
    ("decisions", "complaint"),
    [
        ({"5": "yes"}, "No decision for '4', '6'"),
        (
            {"4": "no", "5": "no", "6": "no", "1": "no"},
            "A decision for '1', where both",
        ),
        (
            {"4": "no", "5": "no", "6": "no", "z": "no"},
            "A decision for 'z', where both",
        ),
        (
            {"4": "no", "5": "nope", "6": "no"},
            "label decided for '5'; used: 'no', 'yes'",
        ),
    ],
)
def test_decisions_that_do_not_fit_are_named(decisions, complaint):
    with pytest.raises(ValueError, match=complaint):
        adjudicate(FIRST, SECOND, decisions)
