"""What a thinker of Latent-Guided Reasoning writes back from its K vectors.

Reconstruction is a loss in training (`lrkit.latent.lgr`). Here it is decoded, so that
it can be read: a chain from the vectors alone, or from those of another question. Its
equations are worked out while it is written: a right chain says that the vectors hold
start and operations, not that the thinker knew the results.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from lrkit.data.chains import parse_steps
from lrkit.data.problems import Question
from lrkit.latent.layout import collate
from lrkit.latent.lgr import ThinkerModel
from lrkit.latent.lgr_guidance import think
from lrkit.latent.slots import SLOT
from lrkit.latent.solvers import SlotSolver
from lrkit.study.information import reconstruction_nats

LONGEST = 64  # tokens of a chain
LINE_BREAK = "\n"
EQUATION = re.compile(r"<<(\d+)([+*-])(\d+)=(\d+)>>")
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}

Change = Callable[[torch.Tensor], torch.Tensor]


@torch.inference_mode()
def written_back(
    thinker: SlotSolver,
    problems: Sequence[Question],
    change: Change | None = None,
    max_new_tokens: int = LONGEST,
) -> list[str]:
    """The chains that the thinker writes from its guidance, greedily.

    Args:
        thinker: of `lrkit.latent.lgr_methods.thinker`.
        problems: whose questions it reads; their steps are not looked at.
        change: of the guidance [problems, K, width] before it is read.
        max_new_tokens: longest chain.
    """
    model, rows = thinker.model.eval(), thinker.rows
    guidance = think(model, rows, [p.question for p in problems])
    guidance = guidance if change is None else change(guidance)
    asked = [rows.reconstruction(replace(p, steps=())) for p in problems]
    pad, end = rows.tokenizer.pad_token_id, rows.encode(LINE_BREAK)[-1]
    chains: list[str] = []
    for k in range(0, len(asked), thinker.batch_size):
        which = slice(k, k + thinker.batch_size)
        batch = collate(asked[which], model.id_of(SLOT), pad)
        ids, mask = (batch[n].to(model.device) for n in ("input_ids", "attention_mask"))
        written = model.map(guidance[which].to(model.device))
        new = _decoded(model, ids, mask, written, end, max_new_tokens).tolist()
        cut = [row[: row.index(end)] if end in row else row for row in new]
        chains += rows.tokenizer.batch_decode(cut, skip_special_tokens=True)
    return chains


def _decoded(
    model: ThinkerModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    latents: torch.Tensor,
    end: int,
    most: int,
) -> torch.Tensor:
    """[batch, new tokens]; the library's `generate` does not hand latents to a thinker.

    All rows end in the same column, so that what is written stands behind each.
    """
    out = model(ids, mask, latents=latents, logits_to_keep=1, use_cache=True)
    new = [out.logits[:, -1].argmax(-1)]
    ended = new[0] == end
    while len(new) < most and not ended.all():
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        out = model(
            new[-1][:, None], mask, past_key_values=out.past_key_values,
            logits_to_keep=1, use_cache=True,
        )  # fmt: skip
        new.append(out.logits[:, -1].argmax(-1))
        ended |= new[-1] == end
    return torch.stack(new, 1)


def true_share(text: str, n_hours: int) -> float:
    """Share of the equations in a text that hold on a clock, whatever was asked; 0 for
    a text without equations.

    Args:
        text: with equations of `lrkit.data.clock`.
        n_hours: n, the modulus.
    """
    found = [EQUATION.fullmatch(step) for step in parse_steps(text)]
    held = [
        SIGNS[m[2]](int(m[1]), int(m[3])) % n_hours == int(m[4]) for m in found if m
    ]
    return sum(held) / max(len(found), 1)


def nats_by_vectors_kept(
    thinker: SlotSolver, problems: Sequence[Question]
) -> list[np.ndarray]:
    """L_recon of whole chains in nats, [problems] each, where the first 0, 1, ... K
    vectors are a question's own and the others those of another question."""

    def keep(n: int) -> Change:
        def change(guidance: torch.Tensor) -> torch.Tensor:
            other = guidance.roll(1, 0)
            return torch.cat([guidance[:, :n], other[:, n:]], 1)

        return change

    return [
        reconstruction_nats(thinker.model, thinker.rows, problems, keep(n))
        for n in range(thinker.n_latents + 1)
    ]
