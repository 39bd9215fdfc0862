"""Claims of "Latent Reasoning Tuning" on redundant chains."""

from __future__ import annotations

from functools import partial

from lrkit.study.claims.claim import Claim
from lrkit.study.claims.evidence import damaged

_claim = partial(Claim, 2, notebook="09")
OWN, PLANTED, NONE = "own chains of the base", "redundant", "none planted"
NEVER = f"{PLANTED}, trained on whole chains"

REDUNDANCY = (
    _claim(
        "preliminary study", "half of the tokens gone costs about 2 points",
        "chains of the base's own, in which nothing is said twice: half of the tokens "
        "gone minus whole; may lose 3 points",
        evidence=damaged(OWN, "tokens", 0.5, (OWN, "tokens", 0.0)), bound=-0.03,
    ),
    _claim(
        "preliminary study", "half of the steps gone costs about 3 points",
        "the same with steps",
        evidence=damaged(OWN, "steps", 0.5, (OWN, "steps", 0.0)), bound=-0.03,
    ),
    _claim(
        "preliminary study", "what such a curve shows is redundancy",
        "half of the steps gone: chains with redundant sentences minus chains without, "
        "question hidden",
        evidence=damaged(PLANTED, "steps", 0.5, (NONE, "steps", 0.5)),
    ),
    _claim(
        "preliminary study", "models sift noisy chains by nature",
        "half of the tokens gone: a reader that has seen whole chains alone minus one "
        "that was trained on damaged ones; may lose 3 points",
        evidence=damaged(
            NEVER, "tokens", 0.5, (PLANTED, "tokens", 0.5)
        ),
        bound=-0.03,
    ),
    _claim(
        "preliminary study", "and not an answer that still stands in the text",
        "redundant chains: mentions of the answer removed minus a chain of another "
        "question",
        evidence=damaged(
            PLANTED, "steps, answer removed", 0.0,
            (PLANTED, "another question's chain", 0.0),
        ),
    ),
)  # fmt: skip
