"""Claims of "Latent Reasoning in LLMs as a Vocabulary-Space Superposition"."""

from __future__ import annotations

from functools import partial

from lrkit.study.claims.claim import Claim
from lrkit.study.claims.evidence import accuracy, found_words, shorter

_claim = partial(Claim, 3, notebook="11")
SFT, STEP = "Latent-SFT", "Latent-SFT, a latent a step"
STATES = "Latent-SFT, hidden states, a latent a step"
HERE = "latent_sft_arms"

CLAIMS = (
    _claim(
        "abstract", "Latent-SFT matches explicit SFT on GSM8k",
        "a latent for two tokens minus CoT SFT, test; may lose 5 points",
        evidence=accuracy(SFT, "CoT", folder=HERE, other="latent_arms"), bound=-0.05,
    ),
    _claim(
        "abstract", "the same, with a latent for each step",
        "a latent a step minus CoT SFT, test; may lose 5 points",
        evidence=accuracy(STEP, "CoT", folder=HERE, other="latent_arms"), bound=-0.05,
    ),
    _claim(
        "abstract", "chains become up to 4 times shorter",
        "tokens of CoT over latents and tokens of a latent a step, answer included",
        evidence=shorter(STEP, "CoT", HERE, "latent_arms"), bound=4.0, unit="times",
    ),
    _claim(
        "abstract", "mixtures of words surpass hidden states",
        "mixtures minus hidden states, a latent a step each, test",
        evidence=accuracy(STEP, STATES, folder=HERE),
    ),
    _claim(
        "abstract", "a latent holds the words of its own segment",
        "ECR@1 minus that of latents of other questions, a latent a step, validation",
        evidence=found_words(STEP, 1), unit="share",
    ),
    _claim(
        "method", "the induction mask is needed",
        "a latent for two tokens minus the same without the mask, test",
        evidence=accuracy(SFT, f"{SFT}, no induction mask", folder=HERE),
    ),
    _claim(
        "method", "the supervision mask is needed",
        "a latent for two tokens minus the same without the mask, test",
        evidence=accuracy(SFT, f"{SFT}, no supervision mask", folder=HERE),
    ),
    _claim(
        "results", "it outperforms earlier latent methods",
        "a latent a step minus COCONUT, test",
        evidence=accuracy(STEP, "COCONUT", folder=HERE, other="latent_arms"),
    ),
    _claim(
        "results", "the same on Math500 and AIME24",
        "beyond a base of a million parameters",
    ),
)  # fmt: skip
