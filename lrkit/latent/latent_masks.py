"""The two attention masks of Latent-SFT (arXiv 2510.15522), and their positions.

A row is text with latents among it. Everything here is made from two tensors [...,
columns]: `is_latent`, where the latents stand, and `attention_mask`, 1 where a row has
a column at all. So padding is what the caller says, and never an id: a tokenizer whose
padding is its end token is no problem.

*Induction* (encoder). Each latent reads the text before it; nobody reads a latent:

    question s1 s2 L1 s3 s4 L2

*Supervision* (decoder). Text behind a latent has to be said from that latent, so the
latent has to hold it; what follows the last latent, the end of thinking and the answer,
reads the question and all latents:

    question L1 s3 s4 L2 s5 s6 L3 end answer

The masks are boolean [..., rows, columns], true where the row may read the column;
`additive` makes them what models of transformers take (eager or sdpa attention; flash
attention takes none).
"""

from __future__ import annotations

import torch


def causal_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Every column reads itself and all before it; padding is not read and reads
    nothing.

    Args:
        attention_mask: [..., columns].
    """
    real = attention_mask.bool()
    n = real.shape[-1]
    before = torch.ones(n, n, dtype=torch.bool, device=real.device).tril()
    return before & real[..., None, :] & real[..., :, None]


def induction_mask(
    is_latent: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """The Latent Token Induction Mask: latents are read by themselves alone.

    So a latent depends on the question and on all text before it, and the states of the
    text are those that it has without latents.

    Args:
        is_latent: [..., columns], where the encoder's latents stand.
        attention_mask: [..., columns].
    """
    n = is_latent.shape[-1]
    itself = torch.eye(n, dtype=torch.bool, device=is_latent.device)
    return causal_mask(attention_mask) & (~is_latent.bool()[..., None, :] | itself)


def supervision_mask(
    is_latent: torch.Tensor, attention_mask: torch.Tensor, strict: bool = True
) -> torch.Tensor:
    """The Latent Token Supervision Mask.

    | row | reads |
    |---|---|
    | question | itself, causally |
    | latent i | the question, latents 1 to i |
    | text behind latent i | latent i, its own segment |
    | what follows the last latent | the question, all latents, its own segment |

    Text behind another latent is never read. Not strict, text also reads the question
    and earlier latents.

    Args:
        is_latent: [..., columns], where the decoder's latents stand.
        attention_mask: [..., columns].
        strict: as in the source's code; False: as its text defines the conditions of a
            segment. Strict, the question reaches the text through its latent alone.
    """
    number, n_latents = _numbers(is_latent, attention_mask)
    latent = is_latent.bool()
    same_segment = number[..., :, None] == number[..., None, :]
    question_or_latent = (number == 0) | latent
    amid = ~latent & (number > 0) & (number < n_latents)
    closed = amid if strict else torch.zeros_like(amid)
    reads = same_segment | (question_or_latent[..., None, :] & ~closed[..., :, None])
    return causal_mask(attention_mask) & reads


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[batch, 1, rows, columns]: 0 where a column may be read, the dtype's least value
    elsewhere.

    Not -inf: a row of padding may read nothing, and a softmax over nothing is NaN.

    Args:
        allowed: [batch, rows, columns].
        dtype: that attention is computed in, see `attention_dtype`.
    """
    least = torch.finfo(dtype).min
    zeros = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return zeros.masked_fill(~allowed, least)[:, None]


def attention_dtype(vectors: torch.Tensor) -> torch.dtype:
    """What attention over these vectors is computed in: their own dtype, or that of
    autocast. The least number of float32 would become -inf in a lower one.
    """
    kind = vectors.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return vectors.dtype


def induction_positions(
    is_latent: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """[..., columns]: text is counted as if no latents lay between, and a latent stands
    where the next token of text would (our reading: the source's table leaves it open).

    With `induction_mask` the states of the text are then those of the plain chain.
    """
    real = attention_mask.bool()
    text = (real & ~is_latent.bool()).long()
    before = text.cumsum(-1) - text
    return before * real


def supervision_positions(
    is_latent: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """[..., columns]: two tracks. Latents are counted behind the question as if no text
    lay between, and text goes on from the latent before it:

        P0 P1 think L1 a b L2 c d L3 end A
         0  1     2  3 4 5  4 5 6  5   6 7

    So latents stand where they will stand when no text is there.
    """
    real = attention_mask.bool()
    number, _ = _numbers(is_latent, attention_mask)
    latent = is_latent.bool() & real
    n_question = (real & (number == 0)).sum(-1, keepdim=True)
    counted = real.long().cumsum(-1)
    # The column of the segment's latent is the last one at which a latent was seen.
    at_latent = (counted * latent).cummax(-1).values
    within = torch.where(number == 0, counted - 1, counted - at_latent)
    track = torch.where(number == 0, 0, n_question + number - 1)
    return (track + within) * real


def _numbers(
    is_latent: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many latents stand at or before each column, and in the whole row."""
    number = (is_latent.bool() & attention_mask.bool()).long().cumsum(-1)
    return number, number[..., -1:]
