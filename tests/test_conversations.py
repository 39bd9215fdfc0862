"""Bad input is refused before anything is trained, with file, row, column and reason.

The sentences are tested word by word where a reader needs the words: a message that
names no row sends somebody through a thousand of them.
"""

import codecs
import csv
import io
import json

import pandas as pd
import pytest

from lrkit.data.conversations import BadRows, check_rows, read_rows

CHAT = (
    'Customer: It\'s off, she said "off".\nSupport Agent: And now?\nCustomer: naïve ✓'
)
ROWS = [
    {"id": "a1", "running_message": CHAT, "label": "no", "reason": "'naïve' is no yes"},
    {"id": "a2", "running_message": "Customer: NA", "label": "yes", "reason": "None"},
    {"id": "003", "running_message": "Customer: 1.0", "label": "no", "reason": "null"},
]


def as_csv(rows) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_jsonl(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


WRITERS = {"csv": as_csv, "jsonl": as_jsonl, "ndjson": as_jsonl}


@pytest.fixture(params=WRITERS)
def save(request, tmp_path):
    """Writes rows in one of the formats; gives the path."""

    def write(rows):
        path = tmp_path / f"chats.{request.param}"
        path.write_text(WRITERS[request.param](rows), "utf-8")
        return path

    return write


def changed(row: int, **values) -> list[dict]:
    """`ROWS` with one row changed; the first row is row 1."""
    return [{**r, **values} if n == row else r for n, r in enumerate(ROWS, 1)]


def refusal(path, **options) -> str:
    """What is said of a file that is refused; the file itself stays as it was."""
    before = path.read_bytes()
    with pytest.raises(BadRows) as refused:
        read_rows(path, **options)
    assert path.read_bytes() == before
    assert path.name in str(refused.value)
    assert "nothing was used" in str(refused.value)
    return str(refused.value)


# --- good files -----------------------------------------------------------------------


def test_good_rows_come_back_as_they_were_written(save):
    """Line breaks, quotes, accents, leading zeros, words like NA: all of it is text."""
    read = read_rows(save(ROWS), need_reason=True)
    assert read.to_dict("records") == ROWS


def test_further_columns_are_kept(save):
    rows = [{**row, "split": "train"} for row in ROWS]
    assert list(read_rows(save(rows)).split) == ["train"] * 3


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, save):
    path = save(ROWS)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert read_rows(path).to_dict("records") == ROWS


def test_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "chats.csv"
    path.write_bytes(b"id,running_message,label\r\n1,Customer: hi,no\r\n")
    assert read_rows(path).to_dict("records") == [
        {"id": "1", "running_message": "Customer: hi", "label": "no"}
    ]


def test_blank_lines_between_json_rows_are_no_rows(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text(as_jsonl(ROWS).replace("\n", "\n\n"), "utf-8")
    assert read_rows(path).to_dict("records") == ROWS


def test_reasons_are_needed_only_where_they_are_trained(save):
    assert len(read_rows(save(changed(2, reason="")))) == 3
    assert len(read_rows(save([{k: r[k] for k in list(r)[:3]} for r in ROWS]))) == 3


def test_other_labels_can_be_asked_for(save):
    path = save([{**row, "label": "maybe"} for row in ROWS])
    assert len(read_rows(path, labels=("maybe",))) == 3
    assert "'maybe' is not one of 'yes', 'no'" in refusal(path)


def test_checking_gives_the_same_table_and_edits_nothing():
    table = pd.DataFrame(ROWS)
    before = table.copy()
    assert check_rows(table, need_reason=True) is table
    pd.testing.assert_frame_equal(table, before)


# --- bad rows -------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["Yes", "", "yes ", "resolved", "1"])
def test_an_unknown_label_is_refused(save, label):
    said = refusal(save(changed(2, label=label)))
    assert f"row 2 (id 'a2'), column 'label': {label!r} is not one of" in said
    assert "'yes', 'no'" in said


@pytest.mark.parametrize("empty", ["", "   ", "\n\t"])
@pytest.mark.parametrize("column", ["running_message", "reason"])
def test_an_empty_message_or_reason_is_refused(save, column, empty):
    said = refusal(save(changed(3, **{column: empty})), need_reason=True)
    assert f"row 3 (id '003'), column '{column}': empty" in said


def test_an_empty_id_is_refused(save):
    assert "row 1 (id ''), column 'id': empty" in refusal(save(changed(1, id="")))


def test_an_id_used_twice_is_refused_with_both_rows(save):
    said = refusal(save(changed(3, id="a1")))
    assert "row 3 (id 'a1'), column 'id': already used in row 1" in said


@pytest.mark.parametrize("column", ["id", "running_message", "label", "reason"])
def test_a_missing_column_is_refused_with_those_that_were_found(save, column):
    rows = [{k: v for k, v in row.items() if k != column} for row in ROWS]
    said = refusal(save(rows), need_reason=True)
    assert f"column '{column}' is missing; found" in said
    assert all(repr(name) in said for name in rows[0])


def test_several_missing_columns_are_named_together(save):
    said = refusal(save([{"id": "1", "text": "hello"}]))
    assert "'running_message' is missing" in said
    assert "'label' is missing" in said


def test_every_defect_is_named_in_one_message(save):
    rows = [
        {"id": "a", "running_message": " ", "label": "nope", "reason": ""},
        {"id": "b", "running_message": "Customer: ok", "label": "no", "reason": "ok"},
        {"id": "b", "running_message": "Customer: ok", "label": "", "reason": "ok"},
    ]
    said = refusal(save(rows), need_reason=True)
    assert "5 problem(s)" in said
    for row, column in [
        (1, "running_message"),
        (1, "label"),
        (1, "reason"),
        (3, "id"),
        (3, "label"),
    ]:
        assert f"  row {row} (id '{rows[row - 1]['id']}'), column '{column}': " in said


def test_of_very_many_defects_the_first_are_shown_and_all_are_counted():
    rows = pd.DataFrame(
        [{"id": str(n), "running_message": "x", "label": "?"} for n in range(100)]
    )
    with pytest.raises(BadRows) as refused:
        check_rows(rows, source="table.csv")
    assert len(refused.value.problems) == 100
    said = str(refused.value)
    assert "table.csv: 100 problem(s)" in said
    assert "row 20 " in said and "row 21 " not in said
    assert "... and 80 more" in said


# --- bad files ------------------------------------------------------------------------


def test_text_that_is_not_utf8_is_refused_with_the_line_and_the_byte(save):
    path = save(changed(2, running_message="Customer: caf\N{LATIN SMALL LETTER E}"))
    path.write_bytes(path.read_bytes().replace(b"cafe", b"caf\xe9"))
    line = path.read_bytes().split(b"caf\xe9")[0].count(b"\n") + 1
    said = refusal(path)
    assert f"line {line}: byte 0xe9" in said
    assert "not UTF-8; save the file as UTF-8" in said


def test_utf16_is_refused_as_not_utf8(tmp_path):
    path = tmp_path / "chats.csv"
    path.write_bytes(as_csv(ROWS).encode("utf-16"))
    assert "not UTF-8" in refusal(path)


def test_a_broken_json_line_is_refused_with_its_number(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text(as_jsonl(ROWS) + '{"id": "a4", "running_mess\n', "utf-8")
    assert "line 4: not JSON" in refusal(path)


def test_a_json_row_without_a_value_is_a_row_with_an_empty_one(tmp_path):
    path = tmp_path / "chats.jsonl"
    rows = [ROWS[0], {**ROWS[1], "running_message": None}, {"id": "z", "label": "no"}]
    path.write_text(as_jsonl(rows), "utf-8")
    said = refusal(path)
    assert "row 2 (id 'a2'), column 'running_message': empty" in said
    assert "row 3 (id 'z'), column 'running_message': empty" in said


@pytest.mark.parametrize("cells", ["1,hello", "1,hello,yes,no", "1,hello,yes,"])
def test_a_csv_row_of_another_length_is_refused_even_where_all_are(tmp_path, cells):
    path = tmp_path / "chats.csv"
    path.write_text(f"id,running_message,label\n{cells}\n{cells}\n")
    said = refusal(path)
    for row in (1, 2):
        assert f"row {row} (line {row + 1}): {cells.count(',') + 1} cells" in said


def test_a_stray_quote_swallows_no_row(tmp_path):
    path = tmp_path / "chats.csv"
    path.write_text('id,running_message,label\n1,"hello,yes\n2,"hi",no\n3,x,no\n')
    assert "line 3: not a CSV table" in refusal(path)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "chats.csv"
    path.write_text("id,running_message,label,label\n1,hello,yes,no\n")
    assert "column 'label' is there 2 times" in refusal(path)


@pytest.mark.parametrize("text", ["", "\n", "id,running_message,label\n"])
def test_a_file_without_rows_is_refused(tmp_path, text):
    path = tmp_path / "chats.csv"
    path.write_text(text)
    assert "no row" in refusal(path)


@pytest.mark.parametrize("line", ["5", "[1, 2]", '"text"', "null"])
def test_json_that_is_no_object_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "chats.jsonl"
    path.write_text(f"{as_jsonl(ROWS)}{line}\n{{", "utf-8")
    said = refusal(path)
    assert f"line 4: a JSON object was expected, this is {line!r}" in said
    assert "line 5: not JSON" in said


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x1e"])
def test_unusual_line_separators_are_text(save, mark):
    rows = changed(1, running_message=f"Customer: one{mark}two")
    assert read_rows(save(rows)).to_dict("records") == rows


def test_a_missing_id_turns_no_other_id_into_a_fraction(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text(
        '{"id": 1, "running_message": "x", "label": "?"}\n{"label": "no"}\n'
    )
    assert "row 1 (id '1'), column 'label'" in refusal(path)


def test_missing_values_of_a_table_are_empty():
    table = pd.DataFrame([{"id": "1", "running_message": None, "label": "yes"}])
    with pytest.raises(
        BadRows, match=r"row 1 \(id '1'\), column 'running_message': empty"
    ):
        check_rows(table)


def test_semicolons_instead_of_commas_are_seen_in_the_message(tmp_path):
    path = tmp_path / "chats.csv"
    path.write_text("id;running_message;label\n1;hello;yes\n")
    assert "found 'id;running_message;label'" in refusal(path)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_rows(tmp_path / "nowhere.csv")
