"""Could any latents make a frozen base answer right? A positive control.

Free vectors, a few for each question, are fitted to the right answer by gradient. If
that fails, no network can write a thought that this base could read, and a null result
of one says nothing. If it succeeds it shows a reader, and no reasoning: whoever fits
vectors knows the answer, and can fit a wrong one as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import IGNORED, collate
from lrkit.latent.lrt import FrozenSlotModel
from lrkit.latent.lrt_methods import answered
from lrkit.latent.passes import Passes
from lrkit.latent.slots import SLOT, mean_loss


@dataclass(frozen=True)
class FittedLatents:
    """Vectors that were fitted, a row of each for a question.

    Attributes:
        latents: [questions, n, width].
        correct: [questions], whether every token of the answer, end token included, is
            then the likeliest one behind the cue.
    """

    latents: torch.Tensor
    correct: torch.Tensor


def fitted_latents(
    model: FrozenSlotModel,
    rows: ChainRows,
    problems: Sequence[Question],
    n_latents: int,
    steps: int = 60,
    learning_rate: float = 0.02,
    seed: int = 0,
) -> FittedLatents:
    """Fit latents to the answers of problems; no weight of the model moves.

    Args:
        model: its base is what reads; what it has beside it is not used.
        rows: how its questions are encoded.
        problems: with the answers that are wanted, all in one batch.
        n_latents: of each question.
        steps: of Adam; 0: the latents stay as they begin, rows of the base's table
            drawn at random.
        learning_rate: of Adam.
        seed: random seed of the beginning.
    """
    table = model.get_input_embeddings().weight.detach()
    drawn = torch.randint(
        len(table), (len(problems), n_latents),
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    latents = table[drawn.to(table.device)].float().requires_grad_()
    batch = collate(
        [answered(rows, p, rows.latent(p, n_latents)) for p in problems],
        model.id_of(SLOT),
        rows.tokenizer.pad_token_id,
    )
    ids, mask, labels = (
        batch[name].to(table.device)
        for name in ("input_ids", "attention_mask", "labels")
    )
    model.eval()
    before = int((ids == model.id_of(SLOT)).any(0).nonzero()[0])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.base.config)
    run = Passes(model.base, mask, positions, cache, False, before, 0)
    with torch.no_grad():  # of the question, once and for all
        run.forward(model.embed(ids[:, :before]))
        rest = model.embed(ids[:, before + n_latents :])
    head, wanted = model.base.get_output_embeddings(), labels[:, before + n_latents :]

    def scores() -> torch.Tensor:
        """[questions, columns of the rest, vocabulary], each of the next token's."""
        hidden = run.aside(torch.cat([latents.to(rest.dtype), rest], 1))
        return head(hidden[:, n_latents - 1 : -1]).float()

    optimizer = torch.optim.Adam([latents], lr=learning_rate)
    for _ in range(steps):
        loss = mean_loss(scores(), wanted)
        (latents.grad,) = torch.autograd.grad(loss * len(problems), latents)
        optimizer.step()
    with torch.no_grad():
        hit = scores().argmax(-1) == wanted
    correct = (hit | (wanted == IGNORED)).all(1)
    return FittedLatents(latents.detach(), correct.cpu())
