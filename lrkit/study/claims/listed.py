"""All claims, in the order of the sources and of the workbook."""

from __future__ import annotations

from lrkit.study.claims import (
    answer,
    codi,
    guidance,
    latent_sft,
    lrt,
    stopping,
    vectors,
)

CLAIMS = (
    *answer.CLAIMS, *guidance.CLAIMS, *vectors.CLAIMS, *lrt.REDUNDANCY, *lrt.NETWORK,
    *latent_sft.CLAIMS, *codi.CLAIMS, *stopping.CLAIMS, *codi.RELATIVES, *codi.OURS,
    *stopping.OURS, *guidance.OURS, *vectors.OURS,
)  # fmt: skip
