"""How much do vectors know of a chain, in nats: what can be bounded, and what cannot.

Latent-Guided Reasoning (ICLR 2026, https://openreview.net/forum?id=jqGWLxbghD) states

    I(R; H | Q) >= H(R|Q) - L_recon

for chain R, guidance H and question Q. It is the variational bound of Barber and Agakov
(2003): whoever writes R from H and Q with a loss of L_recon nats leaves at most that
much open. Three things about it:

* it needs a reconstruction that sees Q. The loss of the source does not; then the bound
  is I(R; H) >= H(R) - L_recon, about another quantity;
* H is computed from Q and nothing else, so that I(R; H | Q) is zero, whatever was
  trained, and the right side cannot be above zero. A value above zero says that H(R|Q)
  was overestimated;
* H(R|Q) is not known. A language model's loss on R given Q is at least as large: with
  it the difference is no bound any more. It says by how much H makes the chain easier
  *for these models*, which is worth knowing (information that a family of models can
  use, Xu et al., arXiv 2002.10689) and is no mutual information.

For generated problems H(R) is known (`clock_entropy`), so that the unconditional bound
is one. Every number here is of whole chains: nats summed over tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import brentq

from lrkit.data import clock
from lrkit.data.problems import SHORT, Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import IGNORED, SlotRow, collate
from lrkit.latent.lgr import ThinkerModel
from lrkit.latent.lgr_guidance import think
from lrkit.latent.lgr_rows import ThinkerRows
from lrkit.latent.slots import SLOT, SlotModel
from lrkit.study.stats import Estimate, paired_difference


@torch.inference_mode()
def row_nats(
    model: SlotModel,
    rows: Sequence[SlotRow],
    latents: torch.Tensor | None = None,
    pad_id: int = 0,
    batch_size: int = 64,
) -> np.ndarray:
    """[rows]: - log P of the supervised tokens of each row, summed, in nats.

    Args:
        model: it is put into evaluation mode.
        rows: each with as many slots as the others where latents are given.
        latents: [rows, slots, width], written into the slots.
        pad_id: for padding.
        batch_size: rows per pass.
    """
    model.eval()
    found = []
    for k in range(0, len(rows), batch_size):
        batch = collate(rows[k : k + batch_size], model.id_of(SLOT), pad_id)
        batch = {name: part.to(model.device) for name, part in batch.items()}
        labels = batch.pop("labels")
        given = None if latents is None else latents[k : k + batch_size]
        given = None if given is None else given.to(model.device)
        logits = model(**batch, latents=given, use_cache=False).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[:, 1:], reduction="none",
            ignore_index=IGNORED,
        )  # fmt: skip
        found.append(losses.sum(1).cpu())
    return torch.cat(found).numpy()


def reconstruction_nats(
    model: ThinkerModel,
    rows: ThinkerRows,
    problems: Sequence[Question],
    change: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> np.ndarray:
    """[problems]: L_recon of whole chains, in nats.

    Args:
        model: a thinker.
        rows: of the thinker.
        problems: with steps.
        change: of the guidance [problems, K, width] before it is read, such as that of
            another question: the control.
    """
    guidance = think(model, rows, [p.question for p in problems])
    if change is not None:
        guidance = change(guidance)
    with torch.inference_mode():
        written = model.map(guidance.to(model.device))
    made = [rows.reconstruction(p) for p in problems]
    return row_nats(model, made, written, rows.tokenizer.pad_token_id)


def chain_nats(
    model: SlotModel, rows: ChainRows, problems: Sequence[Question]
) -> np.ndarray:
    """[problems]: loss of whole chains behind their questions, in nats: at least
    H(R|Q), in the mean over many problems.

    Args:
        model: writes chains, such as that of CoT SFT.
        rows: of the model.
        problems: with steps.
    """
    chains = [rows.steps(p.steps) for p in problems]
    made = [
        SlotRow(rows.question(p.question), 0, chain, len(chain))
        for p, chain in zip(problems, chains, strict=True)
    ]
    return row_nats(model, made, None, rows.tokenizer.pad_token_id)


def information_bound(
    entropy: float | np.ndarray, recon: np.ndarray, seed: int = 0
) -> Estimate:
    """Entropy minus L_recon, mean over problems with its interval, in nats.

    Args:
        entropy: H(R), where it is known: then the result is a lower bound of I(R; H).
            [problems] losses of a language model: then it is no bound, see the
            module's docstring.
        recon: [problems] of `reconstruction_nats`.
        seed: random seed of the bootstrap.
    """
    recon = np.asarray(recon, float)
    return paired_difference(np.broadcast_to(entropy, recon.shape), recon, seed=seed)


def clock_entropy(n_hours: int = 10, share: float = 1.0) -> float:
    """H(R) of clock problems of 1 to 5 steps, in nats.

    Lengths, starts, operations and numbers are drawn uniformly, one after another, and
    a chain tells all of them.

    Args:
        n_hours: n.
        share: of all chains, those that a split may use (0.8 in training, 0.1 in
            validation and test): drawn by a hash, so that ln(share) is added. Of
            chains of one step there are few, and for them it is approximate.
    """
    ways = [len(clock.operands(op, n_hours, False)) for op in clock.OPERATIONS]
    step = math.log(len(ways)) + float(np.mean(np.log(ways)))
    return (
        math.log(len(SHORT))
        + math.log(n_hours)
        + float(np.mean(SHORT)) * step
        + math.log(share)
    )


def fano_floor(open_nats: float, n_classes: int) -> float:
    """The least share of errors that anyone makes who is left with this uncertainty.

    Fano: H(X|Y) <= h(e) + e * ln(n - 1), h the entropy of an error, all in nats.

    Args:
        open_nats: H(X|Y). For a uniform X it is ln(n) - I(X; Y); with a *lower* bound
            of I in its place the result is no floor any more.
        n_classes: n, values of X; 2 or more.

    Returns:
        e, from 0 to (n - 1) / n.

    Raises:
        ValueError: for fewer than two classes, or an uncertainty that n values cannot
            have.
    """
    most = math.log(n_classes) if n_classes > 1 else 0.0
    if n_classes < 2 or not -1e-9 <= open_nats <= most + 1e-9:
        raise ValueError(
            f"{n_classes} classes, 2 or more, leave 0 to {most:.3f} nats open, not "
            f"{open_nats}."
        )

    def left(e: float) -> float:
        h = -sum(p * math.log(p) for p in (e, 1 - e) if p > 0)
        return h + e * math.log(n_classes - 1) - open_nats

    if open_nats <= 0:
        return 0.0
    top = (n_classes - 1) / n_classes
    return top if left(top) <= 0 else float(brentq(left, 0.0, top))
