"""A file of decisions that survives a kill: one JSON line each, no message text."""

from __future__ import annotations

import json
import math
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Two lines that are equal in these are one decision, and are written once.
_SAME = ["id", "sha256", "first", "second", "threshold", "min_label_mass", "route",
         "label"]  # fmt: skip


class DecisionLog:
    """JSON lines, one per decision, each flushed before `append` returns.

    A last line that a kill has torn is cut off. No message text is in them. Without a
    path, `lines` are kept in memory only.

    Raises:
        ValueError: for a damaged line before the last, by file and line.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        raw = path.read_bytes() if path and path.exists() else b""
        *whole, torn = raw.split(b"\n")
        for number, line in enumerate(whole, 1):
            try:
                self.lines.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                raise ValueError(
                    f"{path}, line {number} is no JSON object: the file is damaged. "
                    "Delete this line, or start with another log."
                ) from None
        if torn:  # or the next line would be glued to what the kill left of this one
            with path.open("r+b") as file:
                file.truncate(len(raw) - len(torn))
        self._decided = {tuple(line.get(k) for k in _SAME) for line in self.lines}

    def append(self, line: dict[str, Any]) -> None:
        """Write one line, unless this decision is there; NaN and infinity as null."""
        numbers = {k: v for k, v in line.items() if isinstance(v, float)}
        line = line | {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        line |= {"time": datetime.now(UTC).isoformat(), "id": str(line["id"])}
        same = tuple(line[k] for k in _SAME)
        with self._lock:
            if same in self._decided and line["route"] != "raise":
                return
            self.lines.append(line)
            self._decided.add(same)
            if self.path:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line, allow_nan=False) + "\n")
