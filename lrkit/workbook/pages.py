"""Notebooks as files: which code they hold, and whether a run of them still counts."""

import ast
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import papermill
import yaml

Json = dict[str, Any]  # a notebook, a cell, an output or a record as its file has it

STORED_PROFILE = "cpu"  # the profile whose outputs are committed
CHECKED_TAG = "nbval-check-output"
INPUTS = (
    "lrkit/**/*.py",
    "lrkit/data/banks/**/*.yaml",
    "data/**/*.csv",
    "data/**/*.jsonl",
    "results/**/*",
    "models/*/config.json",
)
KEPT = Path("lrkit/workbook/committed.py")
WEIGHTS = "models/*/*.safetensors"  # by size: hashing them costs seconds a notebook
VERSIONED = ("torch", "transformers", "trl", "peft", "bitsandbytes", "scikit-learn")


class WorkbookError(Exception):
    """A sentence for the person at the terminal; the command ends with status 1."""


def notebooks(root: Path, names: Sequence[str] = ()) -> list[Path]:
    """The notebooks in reading order, or those whose file name starts with a name."""
    found = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise WorkbookError(f"There is no notebooks/NN_*.ipynb in {root.resolve()}.")
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            known = ", ".join(path.stem for path in found)
            raise WorkbookError(f"No notebook starts with '{name}'; there are {known}.")
    return [path for path in found if not names or path.name.startswith(tuple(names))]


def read(path: Path) -> Json:
    """The notebook's JSON, untouched: nbformat.read would quietly repair it."""
    return json.loads(path.read_text("utf-8"))


def text(source: str | list[str]) -> str:
    """A cell's or an output's text, which files hold whole or as a list of lines."""
    return source if isinstance(source, str) else "".join(source)


def code_cells(notebook: Json) -> list[Json]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def tags(cell: Json) -> list[str]:
    return cell["metadata"].get("tags", [])


def versions() -> dict[str, str]:
    """The versions that a budget card names, Python's first."""
    packages = {name: version(name) for name in VERSIONED}
    return {"Python": platform.python_version(), **packages}


@dataclass(frozen=True)
class Page:
    """One notebook in one profile, with the files that its run leaves in build/."""

    root: Path
    path: Path
    profile: str

    @property
    def output(self) -> Path:
        return self.root / "build" / self.profile / self.path.name

    @property
    def record_file(self) -> Path:
        return self.output.with_suffix(".done.json")

    def parameters(self) -> Json:
        """What `params/<profile>.yaml` asks for: YAML keeps the types that -p loses."""
        path = self.root / "params" / f"{self.profile}.yaml"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
            raise WorkbookError(f"No profile '{self.profile}'; params/ has {known}.")
        return yaml.safe_load(path.read_text("utf-8"))

    def defaults(self) -> Json:
        """Name -> value of the parameters cell, as papermill reads it."""
        found = {}
        for name, parameter in papermill.inspect_notebook(self.path).items():
            try:
                found[name] = ast.literal_eval(parameter["default"])
            except (SyntaxError, ValueError):  # `check` reports it; here it may differ
                found[name] = parameter["default"]
        return found

    def injected(self) -> Json:
        """The parameters that differ from the notebook's own defaults.

        Only these are injected: the default profile then runs the notebook as it
        stands, and its execution counts are those of the committed file.

        Raises:
            WorkbookError: a parameter that the notebook does not declare. (papermill
                only warns, and runs with the default.)
        """
        wanted, defaults = self.parameters(), self.defaults()
        for name in wanted.keys() - defaults.keys():
            raise WorkbookError(
                f"{self.path.name} has no parameter '{name}': its cell tagged "
                f"'parameters' declares {', '.join(defaults) or 'none'}. Correct the "
                f"name there or in params/{self.profile}.yaml."
            )
        return {name: x for name, x in wanted.items() if defaults[name] != x}

    def key(self) -> str:
        """sha256 over all that the outputs of this notebook may depend on.

        How they are kept and checked (`lrkit/workbook/committed.py`) is not part of it.
        """
        sources = [text(cell["source"]) for cell in code_cells(read(self.path))]
        digest = hashlib.sha256(json.dumps([sources, self.parameters()]).encode())
        files = {p for pattern in (*INPUTS, WEIGHTS) for p in self.root.glob(pattern)}
        for file in sorted(p for p in files if p.is_file()):
            name = file.relative_to(self.root)
            if name == KEPT:
                continue
            digest.update(f"\n{name.as_posix()} {file.stat().st_size} ".encode())
            if not name.match(WEIGHTS):
                digest.update(file.read_bytes())
        return digest.hexdigest()

    def record(self) -> Json:
        """What the last complete run left, whatever its key; {} if there is none."""
        if not self.record_file.exists() or not self.output.exists():
            return {}
        return json.loads(self.record_file.read_text("utf-8"))

    def finished(self) -> Json:
        """The record of a run that still counts (same key, same versions), else {}."""
        record = self.record()
        valid = record and record["versions"] == versions()
        return record if valid and record["key"] == self.key() else {}

    def finished_or_raise(self) -> Json:
        if record := self.finished():
            return record
        raise WorkbookError(
            f"{self.path.name} has no finished run of its present code on "
            f"'{self.profile}': `make run-all PROFILE={self.profile}` comes first."
        )

    def expected_seconds(self) -> float | None:
        """From the notebook's own budget, else from the last run here."""
        budgets = read(self.path)["metadata"].get("lrkit", {}).get("budget", {})
        return budgets.get(self.profile, self.record()).get("seconds")
