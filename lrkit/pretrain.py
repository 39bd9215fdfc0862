"""Make the embedded base `talk` again: tokenizer, corpus, training, model card.

`make pretrain` runs this. It is resumable (a killed run goes on from its last
checkpoint) and deterministic up to floating-point order. Nothing here knows about the
classification task.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from lrkit.data.pretraining import documents
from lrkit.models import fast_bf16
from lrkit.paths import build_dir, root

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Words that a user's labels need as single tokens; no chat contains them alone.
LABEL_WORDS = (
    "yes no Yes No YES NO true false True False billing technical general "
    "positive negative 0 1 2 3 4 5 6 7 8 9"
)
VOCAB, WIDTH, LAYERS, HEADS, MLP, CONTEXT = 3072, 256, 4, 4, 512, 768
BATCH_TOKENS = 6144
CORPUS_SEED = 20_000


@dataclass(frozen=True)
class Stage:
    """One training run of the recipe: its text, its size, its peak rate.

    Attributes:
        name: folder of its checkpoints and final weights.
        echoes: share of echoes among its documents, see `lrkit.data.pretraining`.
        tokens: size of its corpus, read once.
        learning_rate: peak of the cosine.
        whole: share of its echoes that repeat a whole chat.
    """

    name: str
    echoes: float
    tokens: int
    learning_rate: float
    whole: float = 0.6


# Chats first. Then echoes, until the model copies from its context instead of reciting.
# Then both, so that notes are made by copying.
STAGES = (
    Stage("1-chats", 0.0, 12_000_000, 2e-3),
    Stage("2-echoes", 1.0, 2_500_000, 2e-3, whole=1.0),
    Stage("3-both", 0.15, 3_600_000, 1.5e-3),
)


def train_tokenizer(n_documents: int = 12_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE (every byte has a token, nothing is unknown) with ChatML."""
    words = (LABEL_WORDS + "\n") * 400
    texts = (
        "\n".join(m["content"] for m in doc)
        for doc in islice(documents(CORPUS_SEED - 1), n_documents)
    )
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def lines():
        yield from words.split("\n")
        yield from (w for w in LABEL_WORDS.split() for _ in range(400))
        yield from texts

    tok.train_from_iterator(lines(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tok,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>", "<|endoftext|>"],
        chat_template=CHATML,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True)
class Corpus:
    """Documents laid end to end.

    Attributes:
        ids: uint16 token ids of all documents.
        ends: where each document ends.
        skipped: leading tokens of each document without loss: the prompt of an echo,
            whose words are random and would drown what is to be learned.
    """

    ids: np.ndarray
    ends: np.ndarray
    skipped: np.ndarray


def corpus(
    tokenizer,
    n_tokens: int,
    seed: int = CORPUS_SEED,
    echoes: float = 0.0,
    whole: float = 0.6,
) -> Corpus:
    """Documents of `n_tokens` tokens in all; those beyond the context are left out."""
    parts, skipped, have = [], [], 0
    stream = documents(seed, echoes, whole)
    while have < n_tokens:
        docs = list(islice(stream, 2000))
        prompts, whole = (
            tokenizer(
                [
                    tokenizer.apply_chat_template(
                        doc[:k], tokenize=False, add_generation_prompt=k == 1
                    )
                    for doc in docs
                ],
                add_special_tokens=False,
            )["input_ids"]
            for k in (1, 2)
        )
        for doc, prompt, ids in zip(docs, prompts, whole, strict=True):
            if len(ids) <= CONTEXT:
                parts.append(np.asarray(ids, dtype=np.uint16))
                skipped.append(len(prompt) * doc[0]["content"].startswith("Repeat"))
                have += len(ids)
    ends = np.cumsum([len(p) for p in parts])
    return Corpus(np.concatenate(parts), ends, np.array(skipped))


class LengthBatches(torch.utils.data.Dataset):
    """Batches of whole documents of similar length, about `BATCH_TOKENS` each.

    A document is never cut and never sees another one; sorting within large pools
    keeps padding at a few per cent.
    """

    def __init__(self, text: Corpus, pad_id: int, seed: int = 0):
        self.text, self.pad_id = text, pad_id
        starts = np.concatenate([[0], text.ends[:-1]])
        self.spans = np.stack([starts, text.ends], axis=1)
        lengths = text.ends - starts
        rng = np.random.default_rng(seed)
        self.batches: list[np.ndarray] = []
        n_pools = max(1, len(lengths) // 8000)
        for pool in np.array_split(np.arange(len(lengths)), n_pools):
            order = pool[np.argsort(lengths[pool], kind="stable")]
            batch: list[int] = []
            made = []
            for i in order:
                if batch and (len(batch) + 1) * lengths[i] > BATCH_TOKENS:
                    made.append(np.array(batch))
                    batch = []
                batch.append(int(i))
            made.append(np.array(batch))
            rng.shuffle(made)
            self.batches += made

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        batch = self.batches[i]
        spans = self.spans[batch]
        width = int((spans[:, 1] - spans[:, 0]).max())
        ids = np.full((len(spans), width), self.pad_id, dtype=np.int64)
        labels = np.full((len(spans), width), -100, dtype=np.int64)
        for row, (k, (a, b)) in enumerate(zip(batch, spans, strict=True)):
            ids[row, : b - a] = self.text.ids[a:b]
            skip = self.text.skipped[k]
            labels[row, skip : b - a] = self.text.ids[a + skip : b]
        # Right padding under a causal mask: no real position ever sees a pad.
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}


def only_batch(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The one item of a list: items of `LengthBatches` are batches already."""
    return items[0]


class LogFile(TrainerCallback):
    """Append each logged row as JSON, so that the loss curve survives a kill."""

    def __init__(self, path: Path):
        self.path, self.start = path, time.time()

    def on_log(self, args, state, control, logs=None, **_):
        """Write one row: step, seconds of this run, and what the trainer logged."""
        row = {"step": state.global_step, "seconds": time.time() - self.start}
        with self.path.open("a") as f:
            f.write(json.dumps(row | (logs or {})) + "\n")


def build_model(tokenizer) -> LlamaForCausalLM:
    """A Llama of about 4 M parameters, untied, so that lm_head can take a LoRA."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        intermediate_size=MLP,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def train_stage(
    model: LlamaForCausalLM, tokenizer, stage: Stage, seed: int, work: Path, steps: int
) -> dict:
    """Run one stage into `work/<stage>/final`; a finished one is only read again.

    Returns:
        What the card says of it: tokens, documents, seconds, losses.
    """
    folder = work / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    facts_file = folder / "facts.json"
    if facts_file.is_file():
        return json.loads(facts_file.read_text())
    text = corpus(tokenizer, stage.tokens, seed, stage.echoes, stage.whole)
    held_out = corpus(tokenizer, 200_000, CORPUS_SEED + 99, 0.0)
    pad = tokenizer.pad_token_id
    args = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=1,
        max_steps=steps,
        per_device_train_batch_size=1,  # an item is a batch of about 6,000 tokens
        per_device_eval_batch_size=1,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=100,
        weight_decay=0.05,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        bf16=fast_bf16(),
        use_cpu=not torch.cuda.is_available(),
        logging_steps=25,
        save_strategy="steps",
        save_steps=100,
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        dataloader_num_workers=0,
    )
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=LengthBatches(text, pad, seed),
        eval_dataset=LengthBatches(held_out, pad),
        data_collator=only_batch,
        callbacks=[LogFile(folder / "log.jsonl")],
    )
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder / "checkpoints"))
    facts = {
        "stage": stage.name,
        "echoes": stage.echoes,
        "tokens": len(text.ids),
        "documents": len(text.ends),
        "held_out_loss": trainer.evaluate()["eval_loss"],
        "seconds": training_seconds(folder / "log.jsonl"),
        "loss_curve": loss_curve(folder / "log.jsonl"),
        "torch": torch.__version__,
    }
    trainer.model.save_pretrained(folder / "final")
    facts_file.write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def pretrain(out: Path, work: Path, stages=STAGES, max_steps: int = -1) -> list[dict]:
    """Train `talk` into `out`; returns what the card says of each stage.

    Args:
        out: folder for safetensors, tokenizer and card.
        work: folder of tokenizer, checkpoints and stages; kept for resuming.
        stages: the recipe.
        max_steps: stop each stage earlier (for tests).
    """
    work.mkdir(parents=True, exist_ok=True)
    set_seed(0)
    if not (work / "tokenizer").is_dir():
        train_tokenizer().save_pretrained(work / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    model, facts = build_model(tokenizer), []
    for k, stage in enumerate(stages):
        facts.append(
            train_stage(model, tokenizer, stage, CORPUS_SEED + k, work, max_steps)
        )
        model = LlamaForCausalLM.from_pretrained(work / stage.name / "final")
    publish(model, tokenizer, facts, out)
    return facts


def publish(model: LlamaForCausalLM, tokenizer, facts: list[dict], out: Path) -> None:
    """Write weights (bfloat16), tokenizer, facts and card."""
    model = model.eval().to(torch.float32).cpu()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.save_pretrained(out)
    written = sample(model, tokenizer)
    model.to(torch.bfloat16).save_pretrained(out)
    record = {
        "parameters": model.num_parameters(),
        "stages": facts,
        "sample": written,
    }
    (out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "README.md").write_text(card(record))


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
        f"| {s['stage']} | {s['echoes']:.0%} | {s['documents']:,} | {s['tokens']:,} | "
        f"{s['seconds']:.0f} | {s['held_out_loss']:.3f} |"
        for s in facts["stages"]
    )
    total = sum(s["tokens"] for s in facts["stages"])
    seconds = sum(s["seconds"] for s in facts["stages"])
    quoted = "\n".join("> " + ln for ln in facts["sample"]["prompt"].splitlines())
    written = "\n".join("> " + ln for ln in facts["sample"]["written"].splitlines())
    return f"""# `talk`: the embedded base for conversations

A Llama-architecture causal language model with {facts["parameters"]:,} parameters
({LAYERS} layers, width {WIDTH}, {HEADS} heads, MLP {MLP}, vocabulary {VOCAB}, untied
output layer, context {CONTEXT}), stored as bfloat16 safetensors. Byte-level BPE with
the ChatML tokens `<|im_start|>` and `<|im_end|>`; every byte has a token, so nothing
is unknown. It exists so that the workbook runs on a laptop without a network.

**Data.** {total:,} generated tokens, each read once: support chats of the gold
standard's *training* scenarios and forms and of further scenarios of their own, cut at
random places, followed by a note that says of each problem what the customer said of
it, or by the next message; and *echoes*, which ask for a message, often of words thrown
together at random, to be repeated (`lrkit/data/pretraining.py`). The text shares no
scenario and no form with the validation, calibration and test splits, and a test checks
it. The workbook's question is never asked and never answered in it, but the notes do
track which problem is gone and which is open: the base has learned to follow a chat,
and results on it say little about a base that has not.

**Training.** Three stages, {seconds:.0f} s in all on 2 CPU cores: AdamW, a cosine each,
batches of about {BATCH_TOKENS:,} tokens, bf16 autocast where the CPU has it, random
seed 0, torch {facts["stages"][-1]["torch"]}. Made again by `make pretrain`, which
resumes from checkpoints; floating-point order may differ between machines, so the
weights will not be bit-equal. Held-out loss is on 200,000 tokens of chats and notes
without echoes, in nats per token.

| stage | echoes | documents | tokens | seconds | held-out loss |
|---|---|---|---|---|---|
{stages}

The echoes are there because the chats alone taught the model to recite: after stage 1
not one quote in its notes on unseen chats was copied from the chat.

| stage | step | training loss (nats per token) |
|---|---|---|
{curve}

**What it writes** (greedy, an unseen document of its own kind). After

{quoted}

it continues with

{written}

**Limits.** It knows a few thousand words, English support chats, and nothing else. It
must not be used for anything outside this workbook.

**Licence.** MIT, as the repository; text and weights were made by its code.
"""


def _last_checkpoint(folder: Path) -> str | None:
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None


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


def main() -> None:
    """The command line of `make pretrain`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=root() / "models" / "talk")
    parser.add_argument("--work", type=Path, default=None)
    args = parser.parse_args()
    facts = pretrain(args.out, args.work or build_dir() / "pretrain-talk")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
