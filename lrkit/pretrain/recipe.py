"""The stages of `talk`'s training, each resumable, and the model they leave."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from lrkit.checkpoints import last_checkpoint
from lrkit.data.pretraining import KINDS, documents
from lrkit.models import fast_bf16
from lrkit.pretrain.card import card, loss_curve, sample, training_seconds
from lrkit.pretrain.corpus import (
    CONTEXT,
    CORPUS_SEED,
    VOCAB,
    Corpus,
    LengthBatches,
    corpus,
    only_batch,
    train_tokenizer,
)

WIDTH, LAYERS, HEADS, MLP = 256, 4, 4, 512


@dataclass(frozen=True)
class Stage:
    """One training run of the recipe: its text, its size, its peak rate.

    Attributes:
        name: folder of its checkpoints and final weights.
        tokens: size of its corpus, read once.
        learning_rate: peak of the cosine.
        echoes: share of echoes among its documents, see `lrkit.data.pretraining`.
        whole: share of its echoes that repeat a whole chat.
        replaced: share of its chats with other content words.
        answers_only: whether the loss is on the answers alone. Random words of a prompt
            would drown what is to be learned.
        scheduler: how the rate goes on after its warm-up.
        kinds: shares of the answers, see `lrkit.data.pretraining.documents`.
    """

    name: str
    tokens: int
    learning_rate: float
    echoes: float = 0.0
    whole: float = 0.6
    replaced: float = 0.0
    answers_only: bool = True
    scheduler: str = "cosine"
    kinds: Mapping[str, float] = field(default_factory=lambda: KINDS)

    def corpus(self, tokenizer, seed: int) -> Corpus:
        """The stage's documents as token ids."""
        stream = documents(seed, self.echoes, self.whole, self.replaced, self.kinds)
        return corpus(tokenizer, stream, self.tokens, self.answers_only)


READING = {"unrelated": 0.3, "commentary": 0.3, "states": 0.25, "note": 0.15}
ASKING = {"questions": 0.6, "glances": 0.38, "note": 0.02}

# Chats first. Then echoes, until the model copies from its context instead of reciting.
# Then what is to be read in chats, with the reading written beside every message: what
# it does, what is gone, what is open. At last the same from bare chats, and answers;
# notes are rare there, because their many hard tokens would drown the few that count.
STAGES = (
    Stage("1-chats", 3_500_000, 2e-3, answers_only=False),
    Stage(
        "2-echoes",
        2_980_000,
        2e-3,
        echoes=1.0,
        whole=1.0,
        scheduler="constant_with_warmup",  # copying begins late, and all of a sudden
    ),
    Stage(
        "3-reading",
        5_000_000,
        2e-3,
        echoes=0.03,
        replaced=0.8,
        scheduler="constant_with_warmup",  # the next stage goes on from it
        kinds=READING,
    ),
    Stage("4-asking", 9_200_000, 2e-3, kinds=ASKING),
)

HELD_OUT_TOKENS = 200_000  # what the losses in the card are measured on


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
    text = stage.corpus(tokenizer, seed)
    unseen = replace(stage, tokens=HELD_OUT_TOKENS, replaced=0.0)
    held_out = unseen.corpus(tokenizer, CORPUS_SEED + 99)
    pad = tokenizer.pad_token_id
    args = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=1,
        max_steps=steps,
        per_device_train_batch_size=1,  # an item is a batch of about 6,000 tokens
        per_device_eval_batch_size=1,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.scheduler,
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
    trainer.train(resume_from_checkpoint=last_checkpoint(folder / "checkpoints"))
    facts = {
        "stage": stage.name,
        "echoes": stage.echoes,
        "replaced": stage.replaced,
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
        "shape": f"{LAYERS} layers, width {WIDTH}, {HEADS} heads, MLP {MLP}",
        "stages": facts,
        "sample": written,
    }
    (out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "README.md").write_text(card(record))
