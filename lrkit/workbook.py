"""The workbook as a whole: run its notebooks in order, once each, and keep them clean.

This file sees notebooks as files: which code they hold, whether a run of them still
counts, what it cost, what may be committed. It knows nothing of what they teach.

- A *key* is a hash of all that a run depends on: code cells, parameters, the package,
  data, recorded results, weights. Prose, stored outputs and budgets are not part of it.
- A notebook is *finished* in a profile when `build/<profile>/<name>.done.json` holds
  the present key. That file is written last, so a killed run never looks finished.
- A *defect* is a sentence that says why a notebook must not be committed as it is.

    python -m lrkit.workbook run --profile cpu [NAME ...]   execute what is not finished
    python -m lrkit.workbook smoke      execute on smoke, compare the tagged outputs
    python -m lrkit.workbook store      copy the outputs of the cpu run into notebooks/
    python -m lrkit.workbook budget     write what that run cost into notebooks/
    python -m lrkit.workbook clean      strip the metadata that a run leaves behind
    python -m lrkit.workbook check      list the defects of the committed notebooks
"""

import argparse
import ast
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lrkit.profiles import PROFILES

Json = dict[str, Any]  # a notebook, a cell, an output or a record as its file has it

STORED_PROFILE = "cpu"  # the profile whose outputs are committed
CHECKED_TAG = "nbval-check-output"
BUDGET_TAG = "budget-card"
INPUTS = (
    "lrkit/**/*.py",
    "lrkit/data/banks/**/*.yaml",
    "data/**/*.csv",
    "data/**/*.jsonl",
    "results/**/*",
    "models/*/config.json",
)
WEIGHTS = "models/*/*.safetensors"  # by size: hashing them costs seconds a notebook
VERSIONED = ("torch", "transformers", "trl", "peft", "bitsandbytes", "scikit-learn")
STRIPPED = (
    "metadata.papermill cell.metadata.papermill cell.metadata.execution"
    " metadata.widgets"
)
NBVAL = (
    "--nbval-lax --nbval-current-env --nbval-cell-timeout 300"
    " --nbval-kernel-startup-timeout 180"
    " --nbval-sanitize-with tests/nbval.cfg --dist loadscope -n 2"
)
QUIET_KERNEL = ["--IPKernelApp.log_level=50"]  # advice about TCP, dying words
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
MAX_BYTES, MAX_CODE_CELLS, MAX_LINE = 400_000, 30, 88


class WorkbookError(Exception):
    """A sentence for the person at the terminal; the command ends with status 1."""


# ---------------------------------------------------------------- notebooks as files


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
        """sha256 over all that the outputs of this notebook may depend on."""
        sources = [text(cell["source"]) for cell in code_cells(read(self.path))]
        digest = hashlib.sha256(json.dumps([sources, self.parameters()]).encode())
        files = {p for pattern in (*INPUTS, WEIGHTS) for p in self.root.glob(pattern)}
        for file in sorted(p for p in files if p.is_file()):
            name = file.relative_to(self.root)
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


# --------------------------------------------------------------------------- running


class _Watch(threading.Thread):
    """Samples the memory of all processes below this one, and says it still runs."""

    def __init__(self, line: str) -> None:
        super().__init__(daemon=True)
        self.line, self.peak_bytes = line, 0
        self.start_time, self.over = time.monotonic(), threading.Event()

    def __enter__(self) -> "_Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def seconds(self) -> float:
        return time.monotonic() - self.start_time

    def run(self) -> None:
        minutes = 0
        while not self.over.wait(0.2):
            memory = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    memory += process.memory_info().rss
                except psutil.Error:  # it ended between the listing and the question
                    continue
            self.peak_bytes = max(self.peak_bytes, memory)
            if self.seconds() // 60 > minutes:
                minutes += 1
                print(f"{self.line}  running  {minutes} min so far", flush=True)


def duration(seconds: float | None) -> str:
    """'40 s', '7 min', or that nothing is known."""
    if seconds is None:
        return "unknown"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _failure(error: Exception, output: Path) -> str:
    """Where a notebook stopped and why: the cell, its source, the end of the trace."""
    if isinstance(error, PapermillExecutionError):
        where, source = f"in cell In [{error.exec_count}]", error.source
        trace = ANSI.sub("", "\n".join(error.traceback)).splitlines()[-25:]
        what = f"{error.ename}: {error.evalue}"
    else:
        cells = code_cells(read(output))
        begun = [c for c in cells if c["metadata"]["papermill"]["start_time"]]
        where, trace = f"in code cell {len(begun)}", []
        source = text(begun[-1]["source"])
        what = "The kernel died there; too little memory is the usual reason."
    shown = [f"    | {row}" for row in source.splitlines()[:20]]
    kept = f"The notebook as far as it went: {output}"
    return "\n".join([f"FAILED {where}: {what}", *shown, *trace, kept])


def execute(page: Page, line: str) -> None:
    """Run one notebook to `build/<profile>/` and record that it finished.

    Raises:
        WorkbookError: with the notebook, the cell and the error.
    """
    parameters, key = page.injected(), page.key()
    expected = duration(page.expected_seconds())
    print(f"{line}  running  (expected {expected})", flush=True)
    page.output.parent.mkdir(parents=True, exist_ok=True)
    page.record_file.unlink(missing_ok=True)
    with _Watch(line) as watch:
        try:
            papermill.execute_notebook(
                page.path.resolve(),
                page.output.resolve(),
                parameters=parameters,
                kernel_name="python3",
                cwd=page.path.parent.resolve(),
                progress_bar=False,
                extra_arguments=QUIET_KERNEL,
                start_timeout=180,
            )
        except (PapermillExecutionError, DeadKernelError) as error:
            raise WorkbookError(f"{line}  {_failure(error, page.output)}") from None
    record = {
        "key": key,
        "seconds": round(watch.seconds(), 1),
        "peak_bytes": watch.peak_bytes,
        "cores": os.cpu_count(),
        "seeds": list(PROFILES[page.profile].seeds),
        "versions": versions(),
    }
    part = page.record_file.with_suffix(".part")  # never half a record, however killed
    part.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    part.replace(page.record_file)
    print(f"{line}  finished in {duration(record['seconds'])}", flush=True)


def run(root: Path, profile: str, names: Sequence[str] = ()) -> None:
    """Execute, in order, every notebook that is not finished in this profile."""
    every = notebooks(root)
    for path in notebooks(root, names):
        line, page = _line(path, every), Page(root, path, profile)
        if record := page.finished():
            print(f"{line}  finished before (took {duration(record['seconds'])})")
        else:
            execute(page, line)


def _line(path: Path, every: list[Path]) -> str:
    return f"[{every.index(path) + 1}/{len(every)}] {path.stem}"


def smoke(root: Path) -> None:
    """Execute the workbook on `smoke`, then let nbval compare the tagged outputs.

    Two notebooks run at a time. nbval runs only those that have a tagged output: that
    the others run through is already known from the first pass.
    """
    every = notebooks(root)
    prepared = root / "build" / "nbval"
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir(parents=True)
    for path in every:
        parameters = Page(root, path, "smoke").injected()  # a wrong name stops us here
        if any(CHECKED_TAG in tags(cell) for cell in code_cells(read(path))):
            papermill.execute_notebook(
                path,
                prepared / path.name,
                parameters=parameters,
                kernel_name="python3",
                prepare_only=True,
                progress_bar=False,
            )

    def run_one(path: Path) -> bool:
        command = [sys.executable, "-m", "lrkit.workbook", "--root", str(root), "run"]
        ran = subprocess.run(
            [*command, "--profile", "smoke", path.stem],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(ran.stdout, end="", flush=True)
        return ran.returncode == 0

    pool = ThreadPoolExecutor(2)
    try:
        good = list(pool.map(run_one, every))
    finally:
        pool.shutdown(cancel_futures=True)
    if failed := [p.stem for p, ok in zip(every, good, strict=True) if not ok]:
        raise WorkbookError(f"Failed on smoke: {', '.join(failed)} (see above).")
    if any(prepared.iterdir()):
        command = [sys.executable, "-m", "pytest", "-q", *NBVAL.split(), "build/nbval"]
        if subprocess.run(command, cwd=root).returncode:
            raise WorkbookError("nbval: a stored output is not what the code gives.")


# -------------------------------------------------------------- what is committed


def store(root: Path, profile: str) -> None:
    """Copy outputs and execution counts of the finished run into `notebooks/`."""
    for path in notebooks(root):
        page = Page(root, path, profile)
        page.finished_or_raise()
        if page.injected():
            raise WorkbookError(
                f"'{profile}' is not the default of {path.name}: only a run of a "
                "notebook as it stands can be stored in it."
            )
        stored = nbformat.read(path, as_version=4)
        executed = nbformat.read(page.output, as_version=4)
        for cell, ran in zip(code_cells(stored), code_cells(executed), strict=True):
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
            for output in cell.outputs:
                _without_widget(output.get("data", {}))
        stored.metadata.language_info = executed.metadata.language_info
        nbformat.write(stored, path)


def _without_widget(data: Json) -> None:
    """A stored page cannot show a live widget: leave a line that says so."""
    views = [kind for kind in data if "widget" in kind]
    for kind in views:
        del data[kind]
    if views:
        data["text/plain"] = "(a widget: it appears when the cell is run)"


def budget(root: Path, profile: str) -> None:
    """Write what the finished run cost into the metadata and card of each notebook.

    The card is the markdown cell tagged `budget-card`, made after the title if missing.
    """
    for path in notebooks(root):
        record = Page(root, path, profile).finished_or_raise()
        notebook = nbformat.read(path, as_version=4)
        budgets = notebook.metadata.setdefault("lrkit", {}).setdefault("budget", {})
        budgets[profile] = record
        cards = [cell for cell in notebook.cells if BUDGET_TAG in tags(cell)]
        if not cards:
            cards = [nbformat.v4.new_markdown_cell(metadata={"tags": [BUDGET_TAG]})]
            notebook.cells.insert(1, cards[0])
        cards[0].source = budget_card(budgets)
        nbformat.write(notebook, path)


def budget_card(budgets: dict[str, Json]) -> str:
    """The markdown of a budget card: no dates, so that equal runs give equal cards."""
    rows, notes = ["| profile | minutes | peak memory |", "|---|---:|---:|"], []
    for profile, record in sorted(budgets.items()):
        minutes = max(record["seconds"] / 60, 0.1)  # no reader needs it finer
        memory = record["peak_bytes"] / 1e9
        rows.append(f"| `{profile}` | {minutes:.1f} | {memory:.1f} GB |")
        named = ", ".join(f"{name} {x}" for name, x in record["versions"].items())
        seeds = ", ".join(map(str, record["seeds"]))
        notes.append(
            f"Measured on `{profile}`, top to bottom, {record['cores']} cores: {named}"
            f"; random seed {seeds}; sources and parameters `{record['key'][:12]}`."
        )
    return "\n".join([*rows, "", *notes])


def clean(root: Path) -> None:
    """Strip what a run leaves in the metadata; outputs, counts and ids stay.

    Outputs without their counts would make nbval fail hard.
    """
    kept = ["--keep-output", "--keep-count", "--keep-id", "--extra-keys", STRIPPED]
    files = [str(path) for path in notebooks(root)]
    subprocess.run([sys.executable, "-m", "nbstripout", *kept, *files], check=True)


def _foreign_path(checkout: Path) -> re.Pattern[str]:
    """Finds an absolute path of somebody's machine; the paths of URLs do not count."""
    own = [str(p) for p in (checkout, Path.home(), sys.prefix) if len(str(p)) > 1]
    starts = "|".join(map(re.escape, ["/home", "/root", "/tmp", "/Users", *own]))
    return re.compile(rf"(?<![\w.:/-])(?:{starts})(?:/|\b)|\b[CD]:\\")


def _shown(cell: Json) -> str:
    """All that a reader sees as text in one cell; pictures are left out."""
    shown = [text(cell["source"])]
    for output in cell.get("outputs", []):
        shown.append(text(output.get("text", "")))
        data = output.get("data", {}).items()
        shown += [text(x) for kind, x in data if kind.startswith("text/")]
    return "\n".join(shown)


def _is_plain(statement: ast.stmt) -> bool:
    """Whether it is `NAME = literal`: papermill can replace nothing else."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or not statement.value:
        return False
    try:
        ast.literal_eval(statement.value)
    except (TypeError, ValueError):
        return False
    return True


def _code_cell_defects(number: int, cell: Json) -> list[str]:
    found, outputs = [], cell["outputs"]
    if any(output["output_type"] == "error" for output in outputs):
        found.append("stores an error")
    if any("widget" in kind for o in outputs for kind in o.get("data", {})):
        found.append("stores a widget, which breaks the page on GitHub")
    if CHECKED_TAG in tags(cell) and not outputs:
        found.append(f"is tagged {CHECKED_TAG} but stores no output")
    longest = max(map(len, text(cell["source"]).splitlines()), default=0)
    if longest > MAX_LINE:
        found.append(f"has a line of {longest} characters (at most {MAX_LINE})")
    return [f"code cell {number} {defect}" for defect in found]


def defects(path: Path) -> list[str]:
    """Why this notebook must not be committed as it is: sentences, [] when clean."""
    notebook, found = read(path), []
    metadata, cells = notebook["metadata"], code_cells(notebook)
    if (size := path.stat().st_size) >= MAX_BYTES:
        found.append(f"has {size:,} bytes (fewer than {MAX_BYTES:,})")
    if (notebook["nbformat"], notebook["nbformat_minor"]) != (4, 5):
        found.append("is not in notebook format 4.5")
    if not all(cell.get("id") for cell in notebook["cells"]):
        found.append("has cells without ids")
    if (kernel := metadata.get("kernelspec", {}).get("name")) != "python3":
        found.append(f"names the kernel {kernel!r} instead of 'python3'")
    if "widgets" in metadata:
        found.append("stores widget state")
    if len(cells) > MAX_CODE_CELLS:
        found.append(f"has {len(cells)} code cells (at most {MAX_CODE_CELLS})")
    tagged = [cell for cell in cells if "parameters" in tags(cell)]
    if len(tagged) != 1:
        found.append(f"has {len(tagged)} code cells tagged 'parameters' instead of one")
    for cell in tagged:
        if not all(map(_is_plain, ast.parse(text(cell["source"])).body)):
            found.append("computes in its parameters cell: only NAME = literal there")
    counts = enumerate([cell["execution_count"] for cell in cells], start=1)
    if wrong := [(number, count) for number, count in counts if number != count]:
        found.append(
            f"code cell {wrong[0][0]} has execution count {wrong[0][1]}: run the "
            "notebook from top to bottom"
        )
    for number, cell in enumerate(cells, start=1):
        found += _code_cell_defects(number, cell)
    foreign = _foreign_path(path.resolve().parent.parent)
    for number, cell in enumerate(notebook["cells"], start=1):
        if match := foreign.search(_shown(cell)):
            found.append(f"cell {number} shows an absolute path ({match[0]})")
    return [f"{path.name}: {defect}." for defect in found]


def bootstrap_defects(paths: Sequence[Path]) -> list[str]:
    """Notebooks whose first code cell differs from that of the first notebook."""
    first = {path: text(code_cells(read(path))[0]["source"]) for path in paths}
    return [
        f"{path.name}: its bootstrap (first code) cell is not that of {paths[0].name}."
        for path in paths
        if first[path] != first[paths[0]]
    ]


def check(root: Path) -> None:
    """Raise one WorkbookError that lists every defect, one per line."""
    paths = notebooks(root)
    found = [defect for path in paths for defect in defects(path)]
    if found := found + bootstrap_defects(paths):
        raise WorkbookError("\n".join(found))
    print(f"{len(paths)} notebooks are clean.")


# ---------------------------------------------------------------------- command line


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done; 1: a sentence on the terminal says what is wrong; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.workbook")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (run, smoke, store, budget, clean, check):
        summary = (command.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(command.__name__, help=summary)
        sub.set_defaults(function=command)
        if command in (run, store, budget):
            sub.add_argument("--profile", default=STORED_PROFILE)
        if command is run:
            sub.add_argument("names", nargs="*", help="such as 03 or 03_one_token")
    options = vars(parser.parse_args(arguments))
    name, function = options.pop("command"), options.pop("function")
    try:
        function(**options)
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"\n{name} was interrupted. What had finished is kept: the same command "
            "goes on from there.",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    # A terminated run, like one stopped by Ctrl-C, takes its kernel with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
