"""Soft labels of Latent-SFT: the latents of every training problem, written down once.

They lie in one safetensors file, row after row, with a digest of all that they depend
on: weights, masks, kind of latent, size of a piece. A file that another encoder wrote
is refused: a student would learn thoughts that its decoder does not know, and nothing
would show it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lrkit.data.problems import Question
from lrkit.latent.latent_sft import Labels, LatentSFTModel
from lrkit.latent.latent_sft_rows import ThoughtCollator, ThoughtRows

OFFSETS, KEYS, DIGEST = "offsets", "keys", "encoder"


def key_of(problem: Question) -> str:
    """What tells a problem from others: a digest of its question and its chain."""
    said = json.dumps([problem.question, list(problem.steps)])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SoftLabels:
    """Labels of many problems.

    Attributes:
        places: `key_of` a problem to its number.
        offsets: [problems + 1], where the latents of each of them begin.
        labels: of all latents, see `lrkit.latent.latent_sft.Labels`.
    """

    places: dict[str, int]
    offsets: torch.Tensor
    labels: Labels

    def __len__(self) -> int:
        return len(self.places)

    def of(self, problem: Question) -> Labels:
        """Of one problem: [its latents, ...].

        Raises:
            KeyError: for a problem that was not encoded.
        """
        place = self.places.get(key_of(problem))
        if place is None:
            raise KeyError(
                f"problem {problem.id!r} has no soft labels: encode the problems that "
                "the student is trained on, with the same chains."
            )
        begin, end = self.offsets[place : place + 2].tolist()
        return {name: part[begin:end] for name, part in self.labels.items()}


def encoder_digest(model: LatentSFTModel, rows: ThoughtRows) -> str:
    """16 hex digits that change with whatever changes a label."""
    c = model.config
    about = [c.kind, c.k, c.mixture_temperature, c.table, c.induction, c.end]
    digest = hashlib.sha256(json.dumps([*about, rows.piece]).encode())
    tables = {"table": model.decoder.get_input_embeddings().weight}
    if c.table == "output":
        tables["head"] = model.decoder.get_output_embeddings().weight
    for name, weight in sorted({**model.encoder.state_dict(), **tables}.items()):
        digest.update(name.encode())
        raw = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def encode_problems(
    model: LatentSFTModel,
    rows: ThoughtRows,
    problems: Sequence[Question],
    batch_size: int = 128,
) -> SoftLabels:
    """Run the encoder over problems; the same problem is encoded once.

    Args:
        model: trained; it is put into evaluation mode.
        rows: that it was trained on.
        problems: with steps; one without has no latents.
        batch_size: problems per batch.

    Raises:
        ValueError: for no problems.
    """
    if not problems:
        raise ValueError("there are no problems to encode.")
    model.eval()
    collate = ThoughtCollator(model.latent_id, rows.rows.tokenizer.pad_token_id)
    different = list({key_of(p): p for p in problems}.items())
    made = [rows.row(p) for _, p in different]
    # Problems of one length share a batch; their labels go back to their own places.
    order = sorted(range(len(made)), key=lambda i: len(made[i].pieces))
    found: dict[int, Labels] = {}
    for k in range(0, len(order), batch_size):
        which = order[k : k + batch_size]
        batch = collate([made[i] for i in which])
        inputs = (
            batch[name].to(model.device) for name in ("encoder_ids", "encoder_mask")
        )
        labels = model.encode(*inputs)
        counts = [len(made[i].pieces) for i in which]
        parts = {name: part.cpu().split(counts) for name, part in labels.items()}
        for n, i in enumerate(which):
            found[i] = {name: part[n] for name, part in parts.items()}
    counts = torch.tensor([0, *(len(row.pieces) for row in made)])
    return SoftLabels(
        places={key: i for i, (key, _) in enumerate(different)},
        offsets=counts.cumsum(0),
        labels={
            name: torch.cat([found[i][name] for i in range(len(made))])
            for name in found[0]
        },
    )


def save_labels(labels: SoftLabels, file: str | Path, digest: str) -> None:
    """Write a file; a kill leaves none or a whole one.

    Args:
        labels: of `encode_problems`.
        file: a safetensors file.
        digest: of `encoder_digest`.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    tensors = {name: part.contiguous() for name, part in labels.labels.items()}
    save_file(
        {**tensors, OFFSETS: labels.offsets},
        new,
        metadata={DIGEST: digest, KEYS: json.dumps(list(labels.places))},
    )
    os.replace(new, file)


def load_labels(file: str | Path, digest: str) -> SoftLabels:
    """Read a file that this encoder wrote.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where another encoder wrote it.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"there are no soft labels in {file.name}.")
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
        if about[DIGEST] != digest:
            raise ValueError(
                f"the soft labels in {file.name} are of encoder {about[DIGEST]}, not "
                f"of {digest}: encode the problems again (delete the file), or load "
                "the encoder that wrote it."
            )
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    offsets = tensors.pop(OFFSETS)
    places = {key: i for i, key in enumerate(json.loads(about[KEYS]))}
    return SoftLabels(places, offsets, tensors)


def soft_labels(
    model: LatentSFTModel,
    rows: ThoughtRows,
    problems: Sequence[Question],
    file: str | Path,
) -> SoftLabels:
    """Labels of problems: read, or made and written where there is no file.

    Args:
        model, rows, problems: see `encode_problems`.
        file: a safetensors file.

    Raises:
        ValueError: where another encoder wrote the file.
    """
    digest = encoder_digest(model, rows)
    if not Path(file).is_file():
        save_labels(encode_problems(model, rows, problems), file, digest)
    return load_labels(file, digest)
