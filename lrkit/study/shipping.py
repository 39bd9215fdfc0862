"""Adapters that are too long to train in a notebook: copied into `models/`."""

from __future__ import annotations

import json
from pathlib import Path

from lrkit.answer.classifier import OneTokenClassifier


def ship(model: OneTokenClassifier, folder: Path, card: str) -> None:
    """Save a classifier with a card, and without what only its training needs.

    Args:
        model: trained, with an adapter.
        folder: where it goes.
        card: the text of its README, with the names of the model's `card_` in braces.
    """
    model.save(folder)
    for name in ("run.json", "log.json", "README.md"):
        (folder / name).unlink(missing_ok=True)
    config = folder / "adapter_config.json"
    # PEFT writes down where the base lay on the machine that trained.
    about = json.loads(config.read_text())
    about["base_model_name_or_path"] = model.card_["base"]
    config.write_text(json.dumps(about, indent=2) + "\n")
    (folder / "README.md").write_text(card.format(**model.card_))
