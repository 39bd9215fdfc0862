"""Finding the checkpoint that a killed training goes on from."""

from __future__ import annotations

from pathlib import Path


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint whose writing was finished: its state is written last."""
    done = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    newest = max(done, key=lambda c: int(c.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)
