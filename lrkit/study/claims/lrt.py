"""Claims of "Latent Reasoning Tuning", on redundant chains and on its network."""

from __future__ import annotations

from functools import partial

from lrkit.study.claims.claim import Claim
from lrkit.study.claims.evidence import accuracy, damaged

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

_tuned = partial(Claim, 2, notebook="10")
_gain = partial(accuracy, folder="lrt_arms")
START, AFTER = "half the words, short", "half the words, short + GRPO"

NETWORK = (
    _tuned(
        "results", "LRT beats the mode without thinking (by 2.7 points at 512 tokens)",
        "LRT minus the frozen base without thinking, test",
        evidence=_gain("LRT", "no thinking"),
    ),
    _tuned(
        "method", "the network reads the question",
        "LRT minus constant soft prompts in the same slots, test",
        evidence=_gain("LRT", "soft prompt"),
    ),
    _tuned(
        "results", "LRT beats other efficient ways of the same size",
        "LRT minus a LoRA of equal size that answers at once, test",
        evidence=_gain("LRT", "LoRA No-CoT"),
    ),
    _tuned(
        "results", "LRT beats the thinking mode at a small budget",
        "LRT minus the base whose chain is closed after 4 tokens, test",
        evidence=_gain("LRT", "thinking, 4 tokens"),
    ),
    _tuned(
        "ablation", "more latents are better (64 to 256: 42.5 to 48.4 %)",
        "LRT with 32 latents minus LRT with 1, test",
        evidence=_gain("LRT, latents: 32", "LRT, latents: 1"),
    ),
    _tuned(
        "ablation", "RL gains about 9 points in the domain",
        "with GRPO minus without, questions in the words of training",
        evidence=_gain(AFTER, START, split="trained words"),
    ),
    _tuned(
        "ablation", "RL gains about 4.3 points outside of it",
        "with GRPO minus without, questions in other words",
        evidence=_gain(AFTER, START, split="other words"),
    ),
    _tuned(
        "ablation", "larger bases gain more from more latents",
        "on the wider base, 16 latents minus 1, test",
        evidence=_gain("LRT, wide base, latents: 16", "LRT, wide base, latents: 1"),
    ),
)  # fmt: skip
