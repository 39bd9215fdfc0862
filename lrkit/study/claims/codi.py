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
        "CODI, 100 steps: 85 % of the rows minus all of them, validation",
        "07", short_runs("accuracy_validation", "15 % less data", "as published"),
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
        "share of runs of 100 steps that a guard would have stopped, as published",
        "07", short_runs("diverged", "as published"), bound=0.05,
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

# Of the methods that the source builds on; the authors are named in the statement.
RELATIVES = (
    _claim(
        "2.3", "COCONUT (Hao et al.): latents beat fillers in their place",
        "COCONUT minus pause, test",
        "06", accuracy("COCONUT", "pause"),
    ),
    _claim(
        "2.3", "COCONUT (Hao et al.): the curriculum is needed",
        "COCONUT minus COCONUT at once, test",
        "06", accuracy("COCONUT", "COCONUT at once"),
    ),
    _claim(
        "beside it", "iCoT (Deng et al.): steps that are dropped go on inside",
        "step dropping minus No-CoT, test",
        "07", accuracy("step dropping", "No-CoT"),
    ),
    _claim(
        "beside it", "stepwise internalisation (Deng et al.) carries a chain inside",
        "stepwise internalisation minus No-CoT, test",
        "07", accuracy("stepwise internalisation", "No-CoT"),
    ),
    _claim(
        "beside it", "a reason behind the answer helps on problems, too",
        "answer, then chain minus No-CoT, test",
        "07", accuracy("answer, then chain", "No-CoT"),
    ),
    _claim(
        "beside it", "a distillation weight of 20, as the source has it, diverges more",
        "gamma 20 minus gamma 1, share of runs of 100 steps that diverge",
        "07", short_runs("diverged", "gamma 20", "as published"),
    ),
    _claim(
        "beside it", "PCCoT (Wu et al.): three parallel rounds lose nothing",
        "CODI, 3 rounds minus CODI, test; may lose 3 points",
        "07", accuracy("CODI, 3 rounds", "CODI"), bound=-0.03,
    ),
    _claim(
        "beside it", "SIM-CoT (Wei et al.): a target for each latent helps CODI",
        "SIM-CoT, results minus CODI, test",
        "07", accuracy("SIM-CoT, results", "CODI"),
    ),
    _claim(
        "beside it", "SIM-CoT: by its gradient, not by its presence",
        "SIM-CoT, results minus CODI read by a decoder without gradient, test",
        "07", accuracy("SIM-CoT, results", "CODI, read"),
    ),
)  # fmt: skip
