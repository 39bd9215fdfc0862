"""Public sets of grade-school problems, read into `Problem` rows.

GSM8K (Cobbe et al. 2021, arXiv:2110.14168), GSM8K-Aug (the equations-only text of Deng
et al. 2023, arXiv:2311.01460, on which COCONUT and CODI were trained, too) and SVAMP
(Patel et al. 2021, arXiv:2103.07191). Nothing of them is part of this repository: name
a file, a folder, or an id of the hub with the revision that you mean.

A set is taken whole or not at all: every row that is not as expected is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import pandas as pd

from lrkit.data.chains import parse_steps
from lrkit.data.conversations import BadRows, read_table, text_of
from lrkit.data.problems import STEP, Problem

Row = Mapping[str, str]
NUMBER = re.compile(r"-?\d+(\.\d+)?")
# The innermost bracket of SVAMP's equations, "( 76.0 - 25.0 )".
BRACKET = re.compile(r"\( *([\d./-]+) +([-+*/]) +([\d./-]+) *\)")
CALCULATE: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


def _file(source: str | Path, names: list[str]) -> Path | None:
    """The local file that is meant, None for an id of the hub."""
    path = Path(source).expanduser()
    if path.is_dir():
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(
                f"{source} has no {' or '.join(dict.fromkeys(names))}; name the file."
            )
        return found[0]
    if path.is_file():
        return path
    if path.suffix or str(source).startswith((".", "/", "~")):
        raise FileNotFoundError(f"{source} is not there.")
    return None


def _hub_rows(name: str, config: str | None, **which: str | None) -> list[Row]:
    """The rows of a data set of the hub; `which` has its split and its revision."""
    from datasets import load_dataset

    if which["revision"] is None:
        raise ValueError(
            f"{name}: name the revision of a data set of the hub (a commit), so that "
            "the same rows come tomorrow."
        )
    return [_as_text(row) for row in load_dataset(name, config, **which)]


def _as_text(row: Mapping) -> Row:
    """The same row, every value as `text_of` writes it."""
    return {column: text_of(value) for column, value in row.items()}


def _lines(path: Path) -> list[Row]:
    """The rows of a text file `question||steps #### answer`; a line ends at "\\n"."""
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as e:
        wrong = [f"byte {e.start}: not UTF-8 ({e.reason}); save the file as UTF-8"]
        raise BadRows(path.name, wrong) from None
    return [{"line": line} for line in lines]


def _read(
    source: str | Path,
    names: list[str],
    split: str,
    revision: str | None,
    config: str | None = None,
) -> tuple[str, list[Row]]:
    """What to call the source, and its rows as text; `names` are files of a folder."""
    path = _file(source, names)
    if path is None:
        name = str(source)
        return name, _hub_rows(name, config, split=split, revision=revision)
    if path.suffix == ".txt":
        return path.name, _lines(path)
    if path.suffix == ".parquet":
        rows = pd.read_parquet(path).to_dict("records")
        return path.name, [_as_text(row) for row in rows]
    return path.name, read_table(path).to_dict("records")


def _problems(
    source: str, rows: list[Row], task: str, split: str, read: Callable[[Row], Mapping]
) -> list[Problem]:
    """A problem for every row; `read` gives its fields, a ValueError says why not."""
    problems, wrong = [], []
    for n, row in enumerate(rows, 1):
        place = {"id": f"{task}-{split}-{n:05d}", "task": task, "split": split}
        try:
            fields = dict(read(row))
            more = {"source": source, "row": n} | fields.pop("made_from", {})
            problems.append(Problem(**place, **fields, made_from=more))
        except KeyError as missing:
            columns = ", ".join(map(repr, row))
            wrong.append(f"row {n}: column {missing} is missing; found {columns}")
        except ValueError as why:
            wrong.append(f"row {n}: {why}")
    if wrong:
        raise BadRows(source, wrong)
    return problems


def _number(text: str) -> str:
    """A number without its commas."""
    plain = text.strip().replace(",", "")
    if not NUMBER.fullmatch(plain):
        raise ValueError(f"a number was expected as the answer, this is {text!r:.60}")
    return plain


def _parts(text: str, mark: str, form: str) -> tuple[str, str]:
    """What stands before and behind a mark."""
    before, found, after = text.rpartition(mark)
    if not found:
        raise ValueError(f"{form!r} was expected, but {mark!r} is not in {text!r:.60}")
    return before.strip(), after.strip()


def _gsm8k_row(row: Row) -> Mapping:
    solution, answer = _parts(row["answer"], "####", "solution #### answer")
    steps = parse_steps(solution)
    if solution.count("<<") != len(steps):
        raise ValueError(
            "equations such as '<<12+5=17>>' were expected, but there are "
            f"{solution.count('<<')} '<<' and {len(steps)} of these"
        )
    return {
        "question": row["question"],
        "steps": tuple(steps),
        "answer": _number(answer),
        "made_from": {"solution": solution},
    }


def _aug_row(row: Row) -> Mapping:
    if "line" in row:
        form = "question||steps #### answer"
        question, rest = _parts(row["line"], "||", form)
        equations, answer = _parts(rest, "####", form)
    else:
        question, answer = row["question"], row["answer"]
        equations = row["steps"] if "steps" in row else row["cot"]
    if more := STEP.sub("", equations).strip():
        raise ValueError(f"equations in << >> were expected, but there is {more!r:.60}")
    return {
        "question": question,
        "steps": tuple(parse_steps(equations)),
        "answer": answer.strip().replace(",", ""),
    }


def _binary_steps(equation: str) -> tuple[str, ...]:
    """A bracketed equation as steps of one operation each, the innermost first.

    A bare number has none. Results that are not whole stay fractions, so that every
    step is true: <<55/15=11/3>> <<60*11/3=220>>.
    """
    steps, rest = [], equation
    while found := BRACKET.search(rest):
        a, b = Fraction(found[1]), Fraction(found[3])
        if found[2] == "/" and not b:
            raise ValueError(f"the equation {equation!r} divides by 0")
        value = CALCULATE[found[2]](a, b)
        steps.append(f"<<{a}{found[2]}{b}={value}>>")
        rest = rest[: found.start()] + str(value) + rest[found.end() :]
    if not re.fullmatch(r"-?\d+(\.\d+|/\d+)?", rest.strip()):
        raise ValueError(f"'( a + b )' was expected as the equation, not {equation!r}")
    return tuple(steps)


def _svamp_row(row: Row) -> Mapping:
    return {
        "question": f"{row['Body'].strip()} {row['Question'].strip()}",
        "steps": _binary_steps(row["Equation"]),
        "answer": _number(row["Answer"]).removesuffix(".0"),
        "made_from": {"id": row["ID"], "type": row["Type"]},
    }


def gsm8k(
    source: str | Path, split: str = "train", revision: str | None = None
) -> list[Problem]:
    """GSM8K: the equations of the written solution, in the form they have in it.

    Args:
        source: a JSON-lines or Parquet file; a folder with `train.jsonl` or
            `test.jsonl`; a hub id such as "openai/gsm8k", its configuration "main".
        split: "train" or "test"; of a file only what its problems are called.
        revision: commit of the hub's data set, required there.

    Returns:
        Problems; `made_from["solution"]` is the text with the equations. A solution
        without any gives no steps (95 problems of train, 18 of test).

    Raises:
        BadRows: every row with something missing, and what was expected of it.
        FileNotFoundError: for a file that is not there.
        ValueError: for a hub id without a revision.
    """
    found = _read(source, [f"{split}.jsonl"], split, revision, config="main")
    return _problems(*found, "gsm8k", split, _gsm8k_row)


def gsm8k_aug(
    source: str | Path, split: str = "train", revision: str | None = None
) -> list[Problem]:
    """GSM8K-Aug: equations only.

    Args:
        source: a text file (.txt) with lines `question||steps #### answer`; a folder
            with `train.txt`, `valid.txt` or `test.txt`; a table or a hub id with the
            columns `question`, `steps` or `cot`, and `answer`.
        split: "train", "validation" or "test"; of a file only a name.
        revision: as in `gsm8k`.

    Returns:
        Problems. Answers lose their commas and are else left as they are: a language
        model wrote them.

    Raises:
        BadRows, FileNotFoundError, ValueError: as in `gsm8k`.
    """
    short = {"validation": "valid"}.get(split, split)
    found = _read(source, [f"{split}.txt", f"{short}.txt"], split, revision)
    return _problems(*found, "gsm8k_aug", split, _aug_row)


def svamp(
    source: str | Path, split: str = "test", revision: str | None = None
) -> list[Problem]:
    """SVAMP: body and question joined by a blank, the equation as one or two steps.

    The steps are what the equation says, the answer is what the set says: in one of the
    1,000 public rows ("chal-680") they differ. One ("chal-555") has a bare number for
    an equation, and so no steps.

    Args:
        source: `SVAMP.json` or another table with its columns `ID`, `Body`, `Question`,
            `Equation`, `Answer`, `Type`; a folder with `SVAMP.json`; a hub id.
        split: a split of the hub's data set; of a file, which has none, only a name.
        revision: as in `gsm8k`.

    Returns:
        Problems; `made_from` has the set's own "id" and "type".

    Raises:
        BadRows, FileNotFoundError, ValueError: as in `gsm8k`.
    """
    found = _read(source, ["SVAMP.json"], split, revision)
    return _problems(*found, "svamp", split, _svamp_row)
