"""Claims of "Latent-Guided Reasoning" on what guidance holds."""

from __future__ import annotations

from functools import partial

from lrkit.study.claims.claim import Claim
from lrkit.study.claims.evidence_vectors import informed, probed, purer, selective
from lrkit.study.vector_arms import BASE_STATE, THINKER, UNTAUGHT

_claim = partial(Claim, 1, notebook="13")

CLAIMS = (
    _claim(
        "key findings", "guidance clusters by strategy",
        "share of the 10 nearest guidance vectors with the same operations, minus "
        "that of permuted labels, test",
        evidence=purer(THINKER, "operators"), unit="share",
    ),
    _claim(
        "key findings", "the clusters are of plans and not of surface features",
        "that share minus the one of the last state of the question in the base as "
        "it comes",
        evidence=purer(THINKER, "operators", BASE_STATE), unit="share",
    ),
    _claim(
        "probes", "the number of steps can be read linearly from guidance",
        "probe minus its control task, test",
        evidence=selective(THINKER, "n_steps"),
    ),
    _claim(
        "probes", "the number of steps is worked out by the thinker",
        "probe on guidance minus probe on the last state of the question in the "
        "base as it comes",
        evidence=probed(THINKER, BASE_STATE, "n_steps"),
    ),
    _claim(
        "probes", "the operators can be read linearly from guidance",
        "probe minus its control task, test",
        evidence=selective(THINKER, "operators"),
    ),
    _claim(
        "probes", "the operators are worked out by the thinker",
        "probe on guidance minus probe on the last state of the question in the "
        "base as it comes",
        evidence=probed(THINKER, BASE_STATE, "operators"),
    ),
    _claim(
        "method", "reconstruction makes guidance hold the plan",
        "probe for the operators, with reconstruction minus without",
        evidence=probed(THINKER, UNTAUGHT, "operators"),
    ),
    _claim(
        "method", "reconstruction makes guidance hold what the chain is made of",
        "probe for the start number, with reconstruction minus without",
        evidence=probed(THINKER, UNTAUGHT, "start"),
    ),
    _claim(
        "method", "guidance holds the result of the second step",
        "probe minus its control task, test",
        evidence=selective(THINKER, "result 2"),
    ),
    _claim(
        "method", "unlike latents without supervised thoughts, it holds the chain",
        "probe for the result of the second step, thinker minus COCONUT",
        evidence=probed(THINKER, "COCONUT", "result 2"),
    ),
    _claim(
        "method", "guidance captures about 3.1 nats of the chain",
        "InfoNCE with batches of 128 (ceiling 4.85 nats); batches of 22 end at 3.09",
        evidence=informed(THINKER, 128), bound=3.1, unit="nats",
    ),
    _claim(
        "method", "I(R; H | Q) is at least H(R|Q) minus the reconstruction loss",
        "guidance is computed from the question alone, so that I(R; H | Q) is 0 "
        "whatever is trained",
    ),
)  # fmt: skip

# Whatever is computed from a question has nats of its chain, thought or not.
OURS = (
    Claim(
        6, "beside the method", "guidance holds more nats than a question not thought "
        "about",
        "InfoNCE with batches of 128, guidance minus the last state of the question in "
        "the base as it comes",
        "13", informed(THINKER, 128, BASE_STATE), unit="nats",
    ),
)  # fmt: skip
