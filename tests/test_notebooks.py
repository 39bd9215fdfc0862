"""Every committed notebook keeps the contract, and every setting it passes exists."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import peft
import pytest
import transformers
import trl
from nbval.plugin import get_sanitize_patterns

from lrkit.workbook import committed, pages

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SETTINGS = {
    "SFTConfig": trl.SFTConfig,
    "GRPOConfig": trl.GRPOConfig,
    "LoraConfig": peft.LoraConfig,
    "BitsAndBytesConfig": transformers.BitsAndBytesConfig,
    "TrainingArguments": transformers.TrainingArguments,
}
MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)


def stems(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=stems)
def test_a_committed_notebook_has_no_defects(path):
    assert committed.defects(path) == []


def test_all_notebooks_share_one_bootstrap_cell():
    assert committed.bootstrap_defects(NOTEBOOKS) == []


def test_the_numbers_of_the_notebooks_run_without_gaps_from_the_map_on():
    assert [path.stem for path in NOTEBOOKS[:1]] == ["00_start_here"]
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert numbers == list(range(len(NOTEBOOKS)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=stems)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu", "study"])
def test_every_profile_sets_only_parameters_that_the_notebook_declares(path, profile):
    changed = pages.Page(ROOT, path, profile).injected()
    assert (changed == {}) == (profile == pages.STORED_PROFILE)


def test_every_rule_of_the_nbval_file_is_live():
    """A blank line between `regex:` and `replace:` would silently switch one off."""
    rules = (ROOT / "tests" / "nbval.cfg").read_text("utf-8")
    live = get_sanitize_patterns(rules)
    assert len(live) == len(re.findall("^regex:", rules, re.MULTILINE)) > 0
    for pattern, _ in live:
        re.compile(pattern)


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of each piece of Python: modules, and notebooks' code cells."""
    for path in sorted((ROOT / "lrkit").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        cells = pages.code_cells(json.loads(path.read_text("utf-8")))
        for number, cell in enumerate(cells, start=1):
            source = pages.text(cell["source"])
            if not source.startswith("%%"):
                name = f"{path.relative_to(ROOT).as_posix()} code cell {number}"
                yield name, MAGIC.sub(r"\1pass", source)


def unknown_settings(name: str, source: str) -> list[str]:
    """Calls of a settings class with a keyword that the installed one does not have."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", None))
        if called not in SETTINGS:
            continue
        known = inspect.signature(SETTINGS[called]).parameters
        # BitsAndBytesConfig swallows what it does not know: **kwargs names nothing.
        named = {key for key, x in known.items() if x.kind is not x.VAR_KEYWORD}
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in named:
                found.append(f"{name} line {node.lineno}: {called}({keyword.arg}=...)")
    return found


def test_every_setting_that_is_passed_exists_in_the_installed_library():
    found = [x for name, source in sources() for x in unknown_settings(name, source)]
    assert found == []


@pytest.mark.parametrize("called", SETTINGS)
def test_a_setting_that_does_not_exist_is_found(called):
    source = f"import trl\nx = trl.{called}(no_such_setting=1, **more)"
    expected = f"a.py line 2: {called}(no_such_setting=...)"
    assert unknown_settings("a.py", source) == [expected]


def test_settings_that_do_exist_are_not_reported():
    source = (
        "SFTConfig(completion_only_loss=True, gradient_checkpointing=False)"
        "\nGRPOConfig(beta=0.0)\nLoraConfig(r=4)\nTrainingArguments(max_steps=1)"
        "\nBitsAndBytesConfig(load_in_4bit=True)\nother(no_such_setting=1)"
    )
    assert unknown_settings("a.py", source) == []
