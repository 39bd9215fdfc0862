"""All claims, in the order of the sources and of the workbook."""

from __future__ import annotations

from lrkit.study.claims import answer, codi, lrt, stopping

CLAIMS = (
    *answer.CLAIMS, *lrt.REDUNDANCY, *codi.CLAIMS, *codi.RELATIVES, *stopping.CLAIMS,
)  # fmt: skip
