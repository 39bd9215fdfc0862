"""Exercises: stubs fail their visible checks, solutions pass; and what a notebook
writes out is what the package holds."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

import lrkit
from lrkit.paths import root

NOTEBOOKS = sorted((root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
WITH_EXERCISES = [
    n
    for n in NOTEBOOKS
    if (root() / "notebooks" / "solutions" / f"{n.stem}.py").is_file()
]


def cells(path: Path, tag: str) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    return [c.source for c in notebook.cells if tag in c.metadata.get("tags", [])]


def context(path: Path) -> dict:
    """Names that the checks of a notebook use, made without running the notebook."""
    import numpy as np
    import torch

    from lrkit.answer.prompts import PromptBuilder
    from lrkit.data.conversations import gold_standard
    from lrkit.models import load_tokenizer

    builder = PromptBuilder(load_tokenizer("talk"), style="short", max_tokens=768)
    return {
        "np": np,
        "torch": torch,
        "test": gold_standard("test"),
        "builder": builder,
        "completion": builder.completion("no", "it still beeps"),
    }


def run_exercises(path: Path, solutions: dict) -> list[str]:
    """Outputs of all check cells after stubs (and solutions, if any)."""
    space = context(path)
    stubs, checks = cells(path, "exercise"), cells(path, "exercise-check")
    assert len(stubs) == len(checks) >= 2, "every exercise needs a stub and a check"
    outputs = []
    for stub, check in zip(stubs, checks, strict=True):
        exec(stub, space)
        space.update(solutions)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(check, space)
        outputs.append(printed.getvalue())
    return outputs


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda p: p.stem)
def test_stubs_do_not_pass_their_checks(path):
    assert all("not started" in out for out in run_exercises(path, {}))


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda p: p.stem)
def test_solutions_pass_the_visible_checks(path):
    space: dict = {}
    source = path.parent / "solutions" / f"{path.stem}.py"
    exec(source.read_text(encoding="utf-8"), space)
    for output in run_exercises(path, space):
        assert output.strip() == "solved."


def test_every_notebook_after_the_map_has_exercises():
    assert [n.stem for n in NOTEBOOKS[1:]] == [n.stem for n in WITH_EXERCISES]


def without_docstring(node: ast.FunctionDef) -> str:
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return ast.dump(ast.Module(body=body, type_ignores=[])) + ast.dump(node.args)


def package_functions() -> dict[str, str]:
    found = {}
    folder = Path(lrkit.__file__).parent
    for file in folder.rglob("*.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, without_docstring(node))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_functions_written_out_in_a_notebook_equal_the_package(path):
    package = package_functions()
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "exercise" in tags:
            continue
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.FunctionDef) and node.name in package:
                assert without_docstring(node) == package[node.name], node.name


def test_the_teaching_functions_are_written_out_once():
    written = {}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                for node in ast.parse(cell.source).body:
                    if isinstance(node, ast.FunctionDef):
                        written.setdefault(node.name, []).append(path.stem)
    for name in (
        "shuffled_reasons",
        "answer_weighted_loss",
        "surface_variants",
        "left_pad",
    ):
        assert len(written.get(name, [])) == 1, name


def test_attempt_never_raises(capsys):
    exercise = import_module("lrkit.exercise")

    def wrong():
        raise KeyError("x")

    assert exercise.attempt(wrong) is False
    assert "KeyError" in capsys.readouterr().out
    assert exercise.attempt(lambda: None) is True
    assert inspect.signature(exercise.attempt).return_annotation == "bool"
