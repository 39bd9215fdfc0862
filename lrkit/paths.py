"""Where things lie: the checkout, found by a marker and never by "..".

Notebooks run in their own folder under JupyterLab, in the shell's folder under
papermill, and in a clone under Colab; all of them ask here.
"""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The checkout: `LRKIT_ROOT`, or the nearest folder above with our marker.

    Raises:
        FileNotFoundError: when neither the working folder nor this package lies
            inside a checkout.
    """
    if "LRKIT_ROOT" in os.environ:
        return Path(os.environ["LRKIT_ROOT"])
    for start in (Path.cwd(), Path(__file__).resolve()):
        for folder in (start, *start.parents):
            if (folder / "data" / "gold_standard.csv").is_file() and (
                folder / "notebooks"
            ).is_dir():
                return folder
    raise FileNotFoundError(
        "no checkout of the workbook found above this folder: run inside a clone, or "
        "set LRKIT_ROOT to one."
    )


def data_dir() -> Path:
    """The gold standard and its companions."""
    return root() / "data"


def results_dir() -> Path:
    """Recorded results (committed)."""
    return root() / "results"


def build_dir() -> Path:
    """Whatever can be made again: run caches, executed notebooks (not committed)."""
    folder = root() / "build"
    folder.mkdir(exist_ok=True)
    return folder


def public_data_dir() -> Path | None:
    """Third-party data to check against (`LRKIT_PUBLIC_DATA`), or None."""
    value = os.environ.get("LRKIT_PUBLIC_DATA")
    return Path(value) if value else None
