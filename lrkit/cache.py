"""Run folders named by what went into them, so that a result is never mistaken.

The name holds a hash of the code (comments and docstrings left out), the data and the
parameters. The same call from another notebook finds the same folder; a change of any
of them makes a new one.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lrkit.paths import build_dir


def code_of(module: str) -> str:
    """The module's syntax tree without docstrings: what it does, not what it says."""
    tree = ast.parse(Path(import_module(module).__file__).read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)


def fingerprint(
    params: Any, modules: Sequence[str] = (), files: Sequence[Path] = ()
) -> str:
    """12 hex digits that change with parameters, code or data."""
    h = hashlib.sha256()
    h.update(json.dumps(params, sort_keys=True, default=_plain).encode())
    for module in modules:
        h.update(code_of(module).encode())
    for file in files:
        h.update(Path(file).read_bytes())
    return h.hexdigest()[:12]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return str(value)


def run_folder(name: str, key: str) -> Path:
    """`build/runs/<name>-<key>`, made if missing."""
    folder = build_dir() / "runs" / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
