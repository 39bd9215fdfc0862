"""Refusing what was trained over a base with other weights than the one at hand."""

from __future__ import annotations

from pathlib import Path

from lrkit.models import weights_digest


def check_base(what: str, folder: Path, base: str, wanted: str) -> None:
    """Raise unless the base has the weights that something was trained over.

    Args:
        what: what lies in the folder, such as "the adapter".
        folder: where it lies.
        base: name of the base, as for `lrkit.models.load_model`.
        wanted: `lrkit.models.weights_digest` of that training.

    Raises:
        ValueError: when the weights differ.
    """
    found = weights_digest(base)
    if found != wanted:
        raise ValueError(
            f"{what} in {folder} was trained on another {base!r} "
            f"(weights {wanted or 'of the hub'}, here {found or 'of the hub'}): "
            "put the base of that training there, or train again."
        )
