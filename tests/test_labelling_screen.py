"""What the annotator shows: text and never markup, blind, and rows it refuses."""

import math
from html.parser import HTMLParser

import ipywidgets as widgets
import pandas as pd
import pytest
from labelling_store import ROWS

from lrkit.data.annotator import Annotator


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
