"""Laws of the loaders: every row of the public files, refusals that name the row."""

import json
import re

import pandas as pd
import pytest

from lrkit.data.chains import parse_steps, step_value, terse
from lrkit.data.conversations import BadRows
from lrkit.data.gsm import gsm8k, gsm8k_aug, svamp
from lrkit.paths import public_data_dir

FOLDER = public_data_dir()
public = pytest.mark.skipif(
    FOLDER is None, reason="the public sets are not here: LRKIT_PUBLIC_DATA is unset"
)
# Written for this test.
SUMS = [
    {
        "question": f"A train has {n} cars with 20 seats each. How many seats?",
        "answer": f"There are {n}*20 = <<{n}*20={n * 20}>>{n * 20}.\n#### {n * 20:,}",
    }
    for n in range(3, 103)
]


def lines_of_json(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- rows of our own ------------------------------------------------------------------


def test_a_row_of_gsm8k_has_its_equations_and_an_answer_without_commas(tmp_path):
    found = gsm8k(lines_of_json(tmp_path / "test.jsonl", SUMS), "test")
    assert found == gsm8k(tmp_path, "test")
    last = found[-1]
    assert last.question == SUMS[-1]["question"] and last.answer == "2040"
    assert last.steps == ("<<102*20=2040>>",) and last.n_steps == 1
    assert last.id == "gsm8k-test-00100" and last.made_from["row"] == 100
    assert last.made_from["source"] == "test.jsonl"
    assert last.made_from["solution"] == SUMS[-1]["answer"].split("\n")[0]


def test_equations_only_come_from_text_and_from_tables_alike(tmp_path):
    rows = [(r["question"], *r["answer"].split("\n#### ")) for r in SUMS]
    rows = [(q, parse_steps(solution), answer) for q, solution, answer in rows]
    text = "".join(f"{q}||{' '.join(s)} #### {a}\n" for q, s, a in rows)
    (tmp_path / "valid.txt").write_text(text)
    pd.DataFrame(rows, columns=["question", "steps", "answer"]).to_parquet(
        tmp_path / "table.parquet"
    )
    cot = [{"question": q, "cot": " ".join(s), "answer": a} for q, s, a in rows]
    lines_of_json(tmp_path / "table.jsonl", cot)
    found = gsm8k_aug(tmp_path, "validation")
    for name in ("table.parquet", "table.jsonl"):
        again = gsm8k_aug(tmp_path / name, "validation")
        for one, other in zip(found, again, strict=True):
            assert (one.id, one.question, one.steps, one.answer) == (
                other.id, other.question, other.steps, other.answer
            )  # fmt: skip
    assert found[-1].steps == ("<<102*20=2040>>",) and found[-1].answer == "2040"


def test_the_hub_is_asked_for_one_revision_and_never_for_any(monkeypatch):
    import datasets

    asked = {}

    def load_dataset(*names, **which):
        asked.update(which, names=names)
        return datasets.Dataset.from_list(SUMS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = gsm8k("openai/gsm8k", "test", revision="abc123")
    assert asked == {
        "names": ("openai/gsm8k", "main"), "split": "test", "revision": "abc123"
    }  # fmt: skip
    assert len(found) == len(SUMS) and found[0].steps == ("<<3*20=60>>",)
    for load in (gsm8k, gsm8k_aug, svamp):
        with pytest.raises(ValueError, match="name the revision"):
            load("somebody/something")


def test_a_bracketed_equation_becomes_steps_of_one_operation(tmp_path):
    def steps(equation):
        row = {"ID": "1", "Body": "b", "Question": "q", "Type": "t", "Answer": 1.0}
        path = tmp_path / "t.json"
        path.write_text(json.dumps([row | {"Equation": equation}]))
        return svamp(path)[0].steps

    assert steps("( 76.0 - 25.0 )") == ("<<76-25=51>>",)
    assert steps("( ( 8.0 - 3.0 ) * 2.0 )") == ("<<8-3=5>>", "<<5*2=10>>")
    assert steps("( 9.0 - ( 2.0 + 3.0 ) )") == ("<<2+3=5>>", "<<9-5=4>>")
    assert steps("( 60.0 * ( 55.0 / 15.0 ) )") == ("<<55/15=11/3>>", "<<60*11/3=220>>")
    assert steps("8.0") == ()
    for wrong, said in (("( 1.0 / 0.0 )", "divides by 0"), ("76 - 25", "was expected")):
        with pytest.raises(BadRows, match=f"row 1: .*{said}"):
            steps(wrong)


@pytest.mark.parametrize(
    "row, said",
    [
        (
            {"question": "q", "answer": "no mark"},
            r"row 2: .*'####' is not in 'no mark'",
        ),
        ({"question": "q", "answer": "#### some"}, "row 2: a number was expected"),
        ({"question": " ", "answer": "#### 3"}, "row 2: .*empty question"),
        ({"question": "q", "answer": "<<1+1>>2 #### 2"}, "row 2: equations such as"),
    ],
)
def test_a_bad_row_of_gsm8k_is_named(tmp_path, row, said):
    path = lines_of_json(tmp_path / "t.jsonl", [SUMS[0], row, SUMS[1]])
    with pytest.raises(BadRows, match=r"t\.jsonl: 1 problem") as bad:
        gsm8k(path)
    assert re.match(said, bad.value.problems[0])


@pytest.mark.parametrize(
    "line, said",
    [
        ("question <<1+1=2>> #### 2", r"row 2: .*'\|\|' is not in"),
        ("question||<<1+1=2>> 2", "row 2: .*'####' is not in"),
        ("question||<<1+1=2>> so #### 2", "row 2: equations .* but there is 'so'"),
        ("question||<<1+1=2>> #### ", "row 2: .*empty answer"),
    ],
)
def test_a_bad_line_of_equations_is_named(tmp_path, line, said):
    (tmp_path / "t.txt").write_text(f"q||<<1+1=2>> #### 2\n{line}\nq|| #### 2\n")
    with pytest.raises(BadRows, match=r"t\.txt: 1 problem") as bad:
        gsm8k_aug(tmp_path / "t.txt")
    assert re.match(said, bad.value.problems[0])


def test_missing_columns_and_files_are_named(tmp_path):
    path = lines_of_json(tmp_path / "t.jsonl", [{"q": "1", "answer": "#### 1"}])
    with pytest.raises(BadRows, match="column 'question' is missing; found 'q', 'ans"):
        gsm8k(path)
    with pytest.raises(FileNotFoundError, match=r"has no test\.jsonl"):
        gsm8k(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="is not there"):
        gsm8k_aug(tmp_path / "nothing.txt")
    (tmp_path / "t.txt").write_bytes(b"caf\xe9||<<1+1=2>> #### 2\n")
    with pytest.raises(BadRows, match="byte 3: not UTF-8"):
        gsm8k_aug(tmp_path / "t.txt")


# --- the public files -----------------------------------------------------------------


@public
@pytest.mark.public_data
def test_every_row_of_gsm8k_is_read():
    for split, n, without in (("train", 7473, 95), ("test", 1319, 18)):
        found = gsm8k(FOLDER / "gsm8k", split)
        assert len({p.id for p in found}) == n
        assert sum(p.n_steps == 0 for p in found) == without
        assert all(re.fullmatch(r"-?\d+", p.answer) for p in found)


@public
@pytest.mark.public_data
def test_the_equations_of_gsm8k_are_those_of_the_file_of_equations():
    written = gsm8k(FOLDER / "gsm8k", "test")
    short = gsm8k_aug(FOLDER / "gsm8k_icot", "test")
    lines = (FOLDER / "gsm8k_icot" / "test.txt").read_text("utf-8").splitlines()
    for one, other, line in zip(written, short, lines, strict=True):
        equations = line.split("||")[1].split("####")[0].strip()
        assert terse(one) == terse(other) == equations
        assert (one.question, one.answer) == (other.question, other.answer)
    assert len(gsm8k_aug(FOLDER / "gsm8k_icot", "validation")) == 500


@public
@pytest.mark.public_data
def test_every_row_of_svamp_is_read_and_its_steps_lead_to_its_answer():
    found = svamp(FOLDER / "svamp")
    assert len(found) == 1000 and all(p.n_steps <= 2 for p in found)
    odd = [p for p in found if not p.steps or step_value(p.steps[-1]) != p.answer]
    assert [p.made_from["id"] for p in odd] == ["chal-555", "chal-680"]
    raw = json.loads((FOLDER / "svamp" / "SVAMP.json").read_text())
    for problem, row in zip(found, raw, strict=True):
        assert problem.question == f"{row['Body'].strip()} {row['Question'].strip()}"
        assert float(problem.answer) == row["Answer"]
