"""What may be committed: outputs of a finished run, its cost, and no defects."""

import ast
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import nbformat
from PIL import Image  # matplotlib brings it

from lrkit.workbook.pages import (
    CHECKED_TAG,
    Json,
    Page,
    WorkbookError,
    code_cells,
    notebooks,
    read,
    tags,
    text,
)

BUDGET_TAG = "budget-card"
STRIPPED = (
    "metadata.papermill cell.metadata.papermill cell.metadata.execution"
    " metadata.widgets"
)
MAX_BYTES, MAX_CODE_CELLS, MAX_LINE = 400_000, 30, 88


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
                _in_few_colors(output.get("data", {}))
        stored.metadata.language_info = executed.metadata.language_info
        nbformat.write(stored, path)


def _without_widget(data: Json) -> None:
    """A stored page cannot show a live widget: leave a line that says so."""
    views = [kind for kind in data if "widget" in kind]
    for kind in views:
        del data[kind]
    if views:
        data["text/plain"] = "(a widget: it appears when the cell is run)"


def _in_few_colors(data: Json) -> None:
    """A figure in a palette of 128 colours looks the same at a third of the size."""
    if "image/png" not in data:
        return
    picture = Image.open(BytesIO(b64decode(text(data["image/png"]))))
    smaller = BytesIO()
    few = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(smaller, "PNG", optimize=True)
    data["image/png"] = b64encode(smaller.getvalue()).decode() + "\n"


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
