"""Rows of ProsQA: the reader, and whether generated problems resemble them."""

import copy
import json
import re
from collections import Counter
from functools import cache
from statistics import mean

import pytest
from graph_words import OPTIONS, cue, distance, drawn, edge, told, walks

from lrkit.data.conversations import BadRows
from lrkit.data.graphs import CONCEPTS, SPLITS
from lrkit.data.prosqa import check, prosqa
from lrkit.paths import public_data_dir

FOLDER = public_data_dir()
public = pytest.mark.skipif(
    FOLDER is None, reason="ProsQA is not here: LRKIT_PUBLIC_DATA is unset"
)


# Written for this test.
ROW = {
    "question": "Every nolpus is a divpus. Ida is a nolpus. Leo is a gekpus. "
    "Every nolpus is a gekpus. Leo is a banpus. Is Ida a banpus or gekpus?",
    "steps": ["Ida is a nolpus.", "Every nolpus is a gekpus."],
    "answer": "Ida is a gekpus.",
    "idx_to_symbol": ["Ida", "Leo", "nolpus", "gekpus", "banpus", "divpus"],
    "edges": [[0, 2], [1, 3], [2, 3], [1, 4], [2, 5]],
    "root": 0,
    "target": 3,
    "neg_target": 4,
}


def test_a_row_is_read_with_its_graph(tmp_path):
    path = tmp_path / "prosqa_valid.json"
    path.write_text(json.dumps([ROW, ROW]))
    found = prosqa(tmp_path, "validation")
    assert found == prosqa(path, "validation") and len(found) == 2
    second = found[1]
    assert second.id == "prosqa-validation-00002" and second.task == "prosqa"
    assert second.question == ROW["question"] and second.answer == ROW["answer"]
    assert second.steps == tuple(ROW["steps"]) and second.n_steps == 2
    made = dict(second.made_from)
    assert (made.pop("source"), made.pop("row")) == ("prosqa_valid.json", 2)
    assert made.pop("nodes") == ROW["idx_to_symbol"]
    assert made == {n: ROW[n] for n in ("edges", "root", "target", "neg_target")}


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"steps": ["Ida is a gekpus."]}, "steps: step 1, 'Ida is a gekpus.', is no"),
        ({"steps": ["Ida is a nolpus."]}, "steps: they do not lead from 'Ida' to 'gek"),
        ({"steps": ROW["steps"][::-1]}, "steps: they do not lead from 'Ida' to"),
        ({"steps": []}, "steps: they do not lead from 'Ida' to"),
        ({"steps": [3]}, "steps: str was expected, 3 is in it"),
        ({"answer": "Ida is a banpus."}, "answer: 'Ida is a banpus.', but the target"),
        ({"answer": " "}, "problem 'prosqa-test-00002' has an empty answer"),
        ({"root": 6}, "root: 6 is out of range, nodes are 0 to 5"),
        ({"root": "0"}, "root: int was expected, this is '0'"),
        ({"target": -1}, "target: -1 is out of range"),
        ({"target": 0}, "target: 'Ida' cannot be reached from 'Ida'"),
        ({"target": 4}, "target: 'banpus' cannot be reached from 'Ida'"),
        ({"neg_target": 5}, "neg_target: 'divpus' can be reached from 'Ida'"),
        ({"edges": [*ROW["edges"], [3, 2]]}, "edges: there is a cycle through '"),
        ({"edges": [*ROW["edges"], [3, 9]]}, r"edges: \[3, 9\] was found, two nodes"),
        ({"edges": [*ROW["edges"], [[3], 2]]}, r"edges: \[\[3\], 2\] was found, two"),
        ({"edges": ROW["edges"][:-1]}, "question: its sentences are not the edges"),
        ({"idx_to_symbol": ["Ida"] * 6}, "idx_to_symbol: 'Ida' is there more than"),
        (
            {"question": ROW["question"].replace(" or gekpus", " or divpus")},
            "question: it ends with 'Is Ida a banpus or divpus",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_number_its_field_and_a_reason(
    tmp_path, wrong, said
):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([ROW, copy.deepcopy(ROW) | wrong, ROW]))
    with pytest.raises(BadRows, match=r"t\.json: 1 problem") as bad:
        prosqa(path)
    assert re.match(f"row 2: {said}", bad.value.problems[0])


def test_missing_fields_and_files_are_named(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{k: v for k, v in ROW.items() if k != "edges"}, 3]))
    with pytest.raises(BadRows) as bad:
        prosqa(path)
    assert bad.value.problems[0].startswith("row 1: edges: it is missing; found quest")
    assert bad.value.problems[1] == "row 2: an object was expected, this is 3"
    for text, said in (("{", "not JSON in UTF-8"), ("[]", "a list of rows was exp")):
        path.write_text(text)
        with pytest.raises(BadRows, match=said):
            prosqa(path)
    with pytest.raises(FileNotFoundError, match=r"prosqa_test\.json is not there"):
        prosqa(tmp_path)
    with pytest.raises(ValueError, match="no split 'dev'"):
        prosqa(tmp_path, "dev")


@pytest.mark.parametrize("which", OPTIONS)
def test_generated_problems_pass_the_check_of_rows_from_outside(which):
    for problem in drawn(which):
        check(problem)


@cache
def real():
    return {split: prosqa(FOLDER / "prosqa", split) for split in SPLITS[1:]}


def numbers(problem):
    """What real and generated rows are compared by."""
    edges, root, ends = told(problem.question)
    nodes = problem.made_from["nodes"]
    target = edge(problem.steps[-1])[1]
    (other,) = set(ends) - {target}
    persons = [name for name in nodes if name.istitle()]
    (own,) = {*nodes[:2]} - {root}
    parents = Counter(end for _, end in edges)
    return {
        **{f"{n} steps": problem.n_steps == n for n in (3, 4, 5, 6)},
        "steps": problem.n_steps,
        "nodes": len(nodes),
        "sentences": len(edges),
        "persons": len(persons),
        "share of persons": len(persons) / len(nodes),
        "leaves": len(set(nodes) - {start for start, _ in edges}),
        "edges of the root": sum(start == root for start, _ in edges),
        "reached from the root": len(set().union(*walks(edges, root)[1:])),
        "steps to neg_target": distance(edges, own, other),
        "parents of target": parents[target],
        "parents of neg_target": parents[other],
        "cue": cue(problem),
    }


def means(problems):
    rows = [numbers(problem) for problem in problems]
    return {name: mean(row[name] for row in rows) for name in rows[0]}


@public
@pytest.mark.public_data
def test_every_row_of_prosqa_is_read():
    assert [len(real()[split]) for split in ("validation", "test")] == [300, 500]
    rows = [problem for rows in real().values() for problem in rows]
    assert len({problem.id for problem in rows}) == 800
    for problem in rows:
        edges, root, _ = told(problem.question)
        target = edge(problem.steps[-1])[1]
        assert distance(edges, root, target) == problem.n_steps in range(3, 7)


@public
@pytest.mark.public_data
def test_our_concepts_are_not_those_of_prosqa():
    rows = [problem for rows in real().values() for problem in rows]
    names = {name for problem in rows for name in problem.made_from["nodes"]}
    assert len(names) == 55 and not names & set(CONCEPTS)


# By how much the means of 500 generated rows may differ from those of the 800 real
# ones: a little more than the largest difference that eight seeds had. The real means
# are 3.77 steps, 22.8 nodes, 36.0 sentences, 2.56 persons, and 0.66 for the cue.
TOLERANCES = {
    "3 steps": 0.06,
    "4 steps": 0.06,
    "5 steps": 0.04,
    "6 steps": 0.02,
    "steps": 0.09,
    "nodes": 0.4,
    "sentences": 0.6,
    "persons": 0.17,
    "share of persons": 0.01,
    "leaves": 0.25,
    "edges of the root": 0.15,
    "reached from the root": 0.4,
    "steps to neg_target": 0.13,
    "parents of target": 0.11,
    "parents of neg_target": 0.13,
    "cue": 0.04,
}


@public
@pytest.mark.public_data
def test_generated_rows_resemble_the_real_ones():
    rows = [problem for rows in real().values() for problem in rows]
    ours, theirs = means(drawn("default", n=500)), means(rows)
    assert set(TOLERANCES) == set(theirs)
    far = {
        name: (ours[name], theirs[name])
        for name, tolerance in TOLERANCES.items()
        if abs(ours[name] - theirs[name]) > tolerance
    }
    assert not far
