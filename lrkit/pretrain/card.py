"""What the model card of `talk` says, all of it read from the run that made it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from lrkit.data.pretraining import documents
from lrkit.pretrain.corpus import BATCH_TOKENS, CONTEXT, CORPUS_SEED, VOCAB


def _log_rows(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def training_seconds(log: Path) -> float:
    """Seconds of training over all runs that a log records (resumed ones add up)."""
    total, last = 0.0, 0.0
    for row in _log_rows(log):
        if row["seconds"] < last:
            total += last
        last = row["seconds"]
    return round(total + last, 1)


def loss_curve(log: Path, points: int = 12) -> list[tuple[int, float]]:
    """About `points` pairs (step, training loss) of a log."""
    rows = {r["step"]: round(r["loss"], 4) for r in _log_rows(log) if "loss" in r}
    steps = sorted(rows)
    keep = steps[:: max(1, len(steps) // points)]
    return [(s, rows[s]) for s in keep]


def sample(model: LlamaForCausalLM, tokenizer) -> dict[str, str]:
    """What the base writes for an unseen document of its own kind (greedy)."""
    doc = next(documents(CORPUS_SEED + 2))
    prompt = tokenizer.apply_chat_template(
        doc[:1], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        out = model.generate(**ids, max_new_tokens=96, do_sample=False)
    written = tokenizer.decode(
        out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return {"prompt": doc[0]["content"], "written": written}


def card(facts: dict) -> str:
    """The model card, its numbers taken from the run that made the weights."""
    curve = "\n".join(
        f"| {s['stage']} | {step} | {loss:.3f} |"
        for s in facts["stages"]
        for step, loss in s["loss_curve"][::2]
    )
    stages = "\n".join(
        f"| {s['stage']} | {s['echoes']:.0%} | {s['replaced']:.0%} | "
        f"{s['documents']:,} | {s['tokens']:,} | {s['seconds']:.0f} | "
        f"{s['held_out_loss']:.3f} |"
        for s in facts["stages"]
    )
    total = sum(s["tokens"] for s in facts["stages"])
    seconds = sum(s["seconds"] for s in facts["stages"])
    quoted = "\n".join("> " + ln for ln in facts["sample"]["prompt"].splitlines())
    written = "\n".join("> " + ln for ln in facts["sample"]["written"].splitlines())
    return f"""# `talk`: the embedded base for conversations

A Llama-architecture causal language model with {facts["parameters"]:,} parameters
({facts["shape"]}, vocabulary {VOCAB}, untied output layer,
context {CONTEXT}), stored as bfloat16 safetensors. Byte-level BPE with
the ChatML tokens `<|im_start|>` and `<|im_end|>`; every byte has a token, so nothing
is unknown. It exists so that the workbook runs on a laptop without a network.

**Data.** {total:,} generated tokens, each read once (`lrkit/data/pretraining.py`):
support chats of the training split's scenarios and forms of the gold standard, of 64
further scenarios and of some 3,000 further forms, cut at random places, and what is to
be read in them:

- *commentaries*, message by message: what it does ("asks if it works", "says no") and
  how many problems are open after it; also of messages thrown together;
- *glances*, the same after a whole stretch of bare chat: what is open has to be read
  from the chat and not from earlier comments;
- *questions* with yes or no for an answer: is the trouble with this one thing over, did
  a step fail, does the agent claim a repair (`lrkit/data/questions.py`);
- *states*: which problem is gone and which is open; *notes*, with the customer's words;
- in the first stage *logs* of whole chats, and the next message;
- *echoes*, which repeat words thrown together at random.

In part of the chats content words are replaced by others, the same throughout a chat
and its answer. The text shares no scenario and no form with the validation,
calibration and test splits, and a test checks it. The workbook's question, whether the
customer says that *all* problems are resolved, is never asked in it. Yet "is the
trouble with the printer over?" comes close, and where a chat has one problem it is the
same thing: this base is *made* for the task, as far as its size allows. Results on it
are about what fine-tuning adds to a base that can follow a support chat, and say little
about one that has not read any.

**Training.** {len(facts["stages"])} stages, {seconds:.0f} s in all on 2 CPU cores:
AdamW, batches of about {BATCH_TOKENS:,} tokens, bf16 autocast where the CPU has it,
random seed 0, torch {facts["stages"][-1]["torch"]}. Made again by `make pretrain`,
which resumes from checkpoints; floating-point order may differ between machines, so the
weights will not be bit-equal. Held-out loss is on unseen documents of the stage's own
kinds, without replaced words, in nats per token that carries loss.

| stage | echoes | replaced | documents | tokens | seconds | held-out loss |
|---|---|---|---|---|---|---|
{stages}

Echoes are there so that quotes are copied from the chat and not recited; after them the
losses of the stage before are lost, and come back in the next. Copying in its turn is
mostly lost again in the last stage, which has no echoes and few notes.

| stage | step | training loss (nats per token) |
|---|---|---|
{curve}

**What it writes** (greedy, an unseen document of its own kind). After

{quoted}

it continues with

{written}

**Limits.** It knows a few thousand words, English support chats, and nothing else. What
it puts in quotation marks is often made up. It must not be used for anything outside
this workbook.

**Licence.** MIT, as the repository; text and weights were made by its code.
"""
