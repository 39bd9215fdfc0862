"""Claims of "Learning When to Stop" on adaptive length (sections 3.3 and 4)."""

from __future__ import annotations

from functools import partial

from lrkit.study.adaptive_tables import errors_by_length, follows_steps
from lrkit.study.claims.claim import Claim
from lrkit.study.claims.evidence import (
    accuracy,
    adaptive_accuracy,
    adaptive_control,
    adaptive_longest,
    adaptive_tokens,
    adaptive_trend,
)

_claim = partial(Claim, 4, notebook="08")
_ours = partial(Claim, 6, notebook="08")
SPARE, SPARE_RL = "latents to spare", "latents to spare + RL"


def _of_rl(
    start: str, says: str, cost: str, claim: partial = _claim, where: str = "Table 1"
) -> tuple[Claim, Claim]:
    after = f"{start} + RL"
    return (
        claim(
            where, says, f"tokens of {after} over {start}, less 1, test",
            evidence=adaptive_tokens(after, start), above=False, unit="share",
        ),
        claim(
            where, cost, f"{after} minus {start}, test; may lose 2 points",
            evidence=adaptive_accuracy(after, start), bound=-0.02,
        ),
    )  # fmt: skip


CLAIMS = (
    *_of_rl(
        "Latent-6", "RL removes 52.9 % of Latent-6's tokens",
        "RL costs Latent-6 no accuracy (+0.4)",
    ),
    _claim(
        "Table 1", "RL removes 62.0 % of Latent-6-by-1's tokens",
        "this start does not learn clock arithmetic in 600 steps, see the table: there "
        "is no thought to shorten",
    ),
    _claim(
        "Table 1", "RL costs Latent-6-by-1 little (3.3)",
        "nor an accuracy to lose",
    ),
    _claim(
        "Table 1", "latent reasoning beats No-CoT (by 24.9)",
        "CODI with six latents minus No-CoT, test (notebook 06)",
        evidence=accuracy("CODI", "No-CoT"),
    ),
    _claim(
        "Table 1", "it stays behind CoT (by 5.7)",
        "CODI with six latents minus CoT, test (notebook 06)",
        evidence=accuracy("CODI", "CoT"), above=False,
    ),
    _claim(
        "4", "a model with RL never thinks longer than the longest before",
        "longest thought after minus before, latents to spare, test; 1 would be longer",
        evidence=adaptive_longest(SPARE_RL, SPARE), above=False, bound=1.0,
        unit="latents",
    ),
    _claim(
        "4, figures 2 and 3", "errors become more frequent with length",
        "slope of errors over latents, latents to spare + RL, test",
        evidence=adaptive_trend(SPARE_RL, errors_by_length),
    ),
    _claim(
        "4", "the model thinks more about harder questions",
        "rank correlation of latents and steps, latents to spare + RL, test",
        evidence=adaptive_trend(SPARE_RL, follows_steps), unit="correlation",
    ),
    _claim(
        "3.3", "the penalty alone still trades accuracy for length",
        "without the length reward minus with it, test",
        evidence=adaptive_accuracy(f"{SPARE_RL}, no length reward", SPARE_RL),
        above=False,
    ),
)  # fmt: skip

# What the source does not ask.
OURS = (
    *_of_rl(
        SPARE, "RL removes tokens where any number from the steps on was trained",
        "and that costs no accuracy", _ours, "beside Table 1",
    ),
    _ours(
        "beside 4", "a stop head beats its own lengths dealt out at random",
        "the head minus random stops of the same distribution, validation",
        evidence=adaptive_control(SPARE_RL, "random"),
    ),
    _ours(
        "beside 4", "and always thinking its mean length",
        "the head minus always the mean, validation",
        evidence=adaptive_control(SPARE_RL, "mean"),
    ),
)  # fmt: skip
