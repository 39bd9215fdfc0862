"""Claims of "Learning When to Stop" on CODI and its relatives (sections 2, 3, A)."""

from __future__ import annotations

from functools import partial

from lrkit.study.claims.claim import Claim
from lrkit.study.claims.evidence import accuracy, frontier, short_runs

_claim = partial(Claim, 4)

CLAIMS = (
    _claim(
        "2.2", "latent states implement a breadth-first search",
        "share of probability on the frontier of a graph after k latents: COCONUT "
        "minus pause",
        "07", frontier("COCONUT", "pause"),
    ),
    _claim(
        "2.2", "a latent can hold what a filler cannot",
        "graphs, accuracy: COCONUT minus pause",
        "07", accuracy("COCONUT", "pause", folder="graph_arms"),
    ),
    _claim(
        "2.3", "CODI outperforms COCONUT on all tasks",
        "accuracy: CODI minus COCONUT, test",
        "06", accuracy("CODI", "COCONUT"),
    ),
    _claim(
        "2.3", "the states of one token before the answer teach the student",
        "CODI minus CODI without distillation, test",
        "06", accuracy("CODI", "CODI, no distillation"),
    ),
    _claim(
        "3.2", "15 % less data cost 3 to 5 points",
        "CODI, short runs: 85 % of 2,000 rows minus all of them, validation",
        "07", short_runs("accuracy_validation", "15 % less data", "CODI"),
        above=False,
    ),
    _claim(
        "A", "the last step has to be removed",
        "CODI minus CODI with the last step kept, test",
        "07", accuracy("CODI", "CODI, last step kept"),
    ),
    _claim(
        "A", "negative answers disturb the distillation",
        "clock arithmetic has no negative answers",
        "07",
    ),
    _claim(
        "A", "training often diverges and does not come back",
        "share of short runs that a guard would have stopped, at the study's rate",
        "07", short_runs("diverged", "CODI"), bound=0.05,
    ),
    _claim(
        "A", "so it does at GPT-2's rate in the CODI paper, 3e-3",
        "share of short runs that a guard would have stopped, rate 3e-3",
        "07", short_runs("diverged", "rate 3e-3"), bound=0.05,
    ),
    _claim(
        "A.3, figure 6", "Meaned Reasoning Loss is worse than CODI",
        "meaned minus CODI, test",
        "07", accuracy("meaned", "CODI"), above=False,
    ),
    _claim(
        "A.3, figure 6", "Intermediate Block Loss makes CODI worse",
        "CODI in the middle block minus CODI, test",
        "07", accuracy("CODI, middle block", "CODI"), above=False,
    ),
    _claim(
        "A.3, figure 6", "Intermediate Block Loss makes the meaned loss worse",
        "meaned in the middle block minus meaned, test",
        "07", accuracy("meaned, middle block", "meaned"), above=False,
    ),
    _claim(
        "A.3, figure 6", "meaned + CODI is worse than CODI",
        "meaned + CODI minus CODI, test",
        "07", accuracy("meaned + CODI", "CODI"), above=False,
    ),
    _claim(
        "A.3, figure 6", "meaned + CODI is better than meaned",
        "meaned + CODI minus meaned, test",
        "07", accuracy("meaned + CODI", "meaned"),
    ),
    _claim(
        "A.3", "Meaned Reasoning Loss has some value (42.6 % over 26.5 %)",
        "meaned minus No-CoT, test",
        "07", accuracy("meaned", "No-CoT"),
    ),
)  # fmt: skip

# The authors of these are named in the statement.
_relative = partial(Claim, 5)
RELATIVES = (
    _relative(
        "2412.06769", "COCONUT (Hao et al.): latents beat fillers in their place",
        "COCONUT minus pause, test",
        "06", accuracy("COCONUT", "pause"),
    ),
    _relative(
        "2412.06769", "COCONUT (Hao et al.): the curriculum is needed",
        "COCONUT minus COCONUT at once, test",
        "06", accuracy("COCONUT", "COCONUT at once"),
    ),
    _relative(
        "2405.14838", "iCoT (Deng et al.): steps that are dropped go on inside",
        "step dropping minus No-CoT, test",
        "07", accuracy("step dropping", "No-CoT"),
    ),
    _relative(
        "2405.14838", "stepwise internalisation (Deng et al.) carries a chain inside",
        "stepwise internalisation minus No-CoT, test",
        "07", accuracy("stepwise internalisation", "No-CoT"),
    ),
    _relative(
        "2506.18582", "PCCoT (Wu et al.): three parallel rounds lose nothing",
        "CODI, 3 rounds minus CODI, test; may lose 3 points",
        "07", accuracy("CODI, 3 rounds", "CODI"), bound=-0.03,
    ),
    _relative(
        "2509.20317", "SIM-CoT (Wei et al.): a target for each latent helps CODI",
        "SIM-CoT, results minus CODI, test",
        "07", accuracy("SIM-CoT, results", "CODI"),
    ),
    _relative(
        "2509.20317", "SIM-CoT: by its gradient, not by its presence",
        "SIM-CoT, results minus CODI read by a decoder without gradient, test",
        "07", accuracy("SIM-CoT, results", "CODI, read"),
    ),
)  # fmt: skip

_ours = partial(Claim, 6)
OURS = (
    _ours(
        "beside it", "a reason behind the answer helps on problems, too",
        "answer, then chain minus No-CoT, test",
        "07", accuracy("answer, then chain", "No-CoT"),
    ),
    _ours(
        "beside it", "a distillation weight of 20 keeps short runs from learning",
        "gamma 20 minus gamma 1, short runs, validation",
        "07", short_runs("accuracy_validation", "gamma 20", "CODI"), above=False,
    ),
    _ours(
        "beside it", "CODI fails by its rate, without a sign in the loss",
        "rate 3e-3 minus 1e-3, share of short runs that learn one-step problems",
        "07", short_runs("learned", "rate 3e-3", "CODI"), above=False,
    ),
)  # fmt: skip
