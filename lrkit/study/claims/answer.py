"""Claims of "Latent Reasoning: Teaching Small LLMs to Think Without Thinking"."""

from __future__ import annotations

from functools import partial

from lrkit.study.claims.claim import Claim
from lrkit.study.claims.evidence_answer import (
    labels,
    one_token_over_chain,
    probed,
    surer_is_righter,
)

_claim = partial(Claim, 0)
REASON = "label + reason"

CLAIMS = (
    _claim(
        "Results", "98.2 % accuracy, GPT-4 with a chain about 99 %",
        "its conversations are not public and GPT-4 is no local model; on data of our "
        "own see notebook 02",
        "02",
    ),
    _claim(
        "The insight", "reasons behind the label teach the answer token",
        "label + reason minus label only, test",
        "02", labels(REASON, "label only"),
    ),
    _claim(
        "Why this works", "the first token commits to what the reason says",
        "label + reason minus the same with reasons of other rows, test",
        "02", labels(REASON, "label + shuffled reason"),
    ),
    _claim(
        "Why this works", "the reasoning is in the answer position",
        "kind of evidence, read by a linear probe: label + reason minus label only",
        "02", probed(REASON, "label only"),
    ),
    _claim(
        "Lessons learned 1", "answer first works better than reason first",
        "label + reason (one token) minus reason + label (decoded), test",
        "02", labels(REASON, "reason + label"),
    ),
    _claim(
        "Lessons learned 2", "1,500 rows with reasons beat 10,000 labels",
        "882 rows with reasons minus 10,000 labels, test",
        "02", labels(REASON, "10,000 labels"),
    ),
    _claim(
        "Lessons learned 3", "without the variants of a token accuracy drops by 5 %",
        "shown live, on the base's own tokenizer, which has one variant of each word "
        "that matters; the source's tokenizer needs a model of its size",
        "03",
    ),
    _claim(
        "Lessons learned 4", "low confidence is where the hard cases are",
        "accuracy of the surer half minus that of the other half, test",
        "04", surer_is_righter(REASON),
    ),
    _claim(
        "Fine-tuning", "NEFTune generalizes better",
        "label + reason with noise minus without, test",
        "02", labels(f"{REASON}, NEFTune", REASON),
    ),
    _claim(
        "Results", "100 times the speed (by its latencies 25), row by row",
        "one token over a chain of 128 tokens, rows alone, random model of 100 M; "
        "from the least to the most of its repeats",
        "03", one_token_over_chain(128, "alone"), bound=25.0, unit="times",
    ),
    _claim(
        "Results", "the same, where the chain is batched, too",
        "one token over a chain of 128 tokens in the same batch; from the least to the "
        "most of its repeats",
        "03", one_token_over_chain(128, "same batch"), bound=25.0, unit="times",
    ),
)  # fmt: skip
