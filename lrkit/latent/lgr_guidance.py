"""Guidance of many questions: computed once, stored, and refused where it is stale.

It lies in one safetensors file, [questions, K, width], with the digest of the thinker
that made it. An executor that learns another thinker's vectors fails in silence, so a
file is read with the digest that is wanted or not at all.
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

from lrkit.latent.layout import collate
from lrkit.latent.lgr import ThinkerModel
from lrkit.latent.lgr_rows import ThinkerRows
from lrkit.latent.slot_config import SLOT

VECTORS, KEYS, DIGEST = "vectors", "keys", "thinker"


def key_of(question: str) -> str:
    """What tells a question from others: guidance knows nothing else."""
    return hashlib.sha256(question.encode()).hexdigest()[:16]


def thinker_digest(model: ThinkerModel, rows: ThinkerRows) -> str:
    """16 hex digits that change with whatever changes guidance.

    That is all weights, the shape of the base, the thoughts, and how text becomes ids.
    """
    probe = rows.encode("In 1998 Mia had 12 beads, +5; <<12+5=17>>\n")
    about = [model.config.base, model.config.specials, list(rows.thoughts), probe]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        raw = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Guidance:
    """Guidance of many questions.

    Attributes:
        places: `key_of` a question to its number.
        vectors: [questions, K, width], on the CPU.
        thinker: digest of the thinker that made it.
    """

    places: dict[str, int]
    vectors: torch.Tensor
    thinker: str

    def __len__(self) -> int:
        return len(self.places)

    def of(self, question: str) -> torch.Tensor:
        """[K, width] of one question.

        Raises:
            KeyError: for a question that the thinker was not asked.
        """
        place = self.places.get(key_of(question))
        if place is None:
            raise KeyError(
                f"no guidance is stored for {question[:60]!r}...: let the thinker read "
                "the problems that the executor is trained on."
            )
        return self.vectors[place]

    def check(self, thinker: str) -> Guidance:
        """Itself, if this thinker made it.

        Raises:
            ValueError: if another one did.
        """
        if self.thinker != thinker:
            raise ValueError(
                f"the guidance is of thinker {self.thinker}, not of {thinker}: compute "
                "it again (delete the file), or load the thinker that made it."
            )
        return self


@torch.no_grad()  # executors are trained on what this gives
def think(
    model: ThinkerModel,
    rows: ThinkerRows,
    questions: Sequence[str],
    batch_size: int = 128,
) -> torch.Tensor:
    """[questions, K, width], float32 on the CPU: one pass over each question.

    Args:
        model: trained; it is put into evaluation mode.
        rows: of the model.
        questions: texts.
        batch_size: questions per pass.
    """
    model.eval()
    asked = [rows.thinking(question) for question in questions]
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
    width = model.get_input_embeddings().embedding_dim
    found = torch.zeros(len(asked), len(rows.thoughts), width)
    for k in range(0, len(order), batch_size):
        which = order[k : k + batch_size]
        batch = collate(
            [asked[i] for i in which], model.id_of(SLOT), rows.tokenizer.pad_token_id
        )
        ids, mask = (batch[n].to(model.device) for n in ("input_ids", "attention_mask"))
        found[which] = model.guide(ids, mask).float().cpu()
    return found


def guidance_of(
    model: ThinkerModel,
    rows: ThinkerRows,
    questions: Sequence[str],
    batch_size: int = 128,
) -> Guidance:
    """Guidance of questions; the same question is read once.

    Args:
        model, rows, questions, batch_size: see `think`.

    Raises:
        ValueError: for no questions.
    """
    different = list({key_of(q): q for q in questions}.items())
    if not different:
        raise ValueError("there are no questions to be guided.")
    vectors = think(model, rows, [q for _, q in different], batch_size)
    places = {key: i for i, (key, _) in enumerate(different)}
    return Guidance(places, vectors, thinker_digest(model, rows))


def save_guidance(
    guidance: Guidance, file: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a file; a kill leaves none or a whole one.

    Args:
        guidance: of `guidance_of`.
        file: a safetensors file.
        dtype: of the stored vectors; half precision halves the file.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    save_file(
        {VECTORS: guidance.vectors.to(dtype).contiguous()},
        new,
        metadata={
            DIGEST: guidance.thinker,
            KEYS: json.dumps(list(guidance.places)),
        },
    )
    os.replace(new, file)


def load_guidance(file: str | Path, thinker: str) -> Guidance:
    """Read a file that this thinker wrote.

    Args:
        file: of `save_guidance`.
        thinker: its digest, see `thinker_digest`.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where another thinker wrote it.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"there is no guidance in {file.name}.")
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
        vectors = stored.get_tensor(VECTORS).float()
    places = {key: i for i, key in enumerate(json.loads(about[KEYS]))}
    return Guidance(places, vectors, about[DIGEST]).check(thinker)


def stored_guidance(
    model: ThinkerModel,
    rows: ThinkerRows,
    questions: Sequence[str],
    file: str | Path,
) -> Guidance:
    """Guidance of questions: read, or made and written where there is no file; what a
    file of this thinker lacks is added to it.

    Args:
        model, rows, questions: see `think`.
        file: a safetensors file.

    Raises:
        ValueError: where another thinker wrote the file.
    """
    if not Path(file).is_file():
        save_guidance(guidance_of(model, rows, questions), file)
    known = load_guidance(file, thinker_digest(model, rows))
    missing = [q for q in questions if key_of(q) not in known.places]
    if missing:
        more = guidance_of(model, rows, missing)
        keys = [*known.places, *more.places]
        places = {key: i for i, key in enumerate(keys)}
        vectors = torch.cat([known.vectors, more.vectors])
        known = Guidance(places, vectors, known.thinker)
        save_guidance(known, file)
    return known
