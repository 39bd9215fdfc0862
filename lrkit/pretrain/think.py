"""The embedded bases `think-*`: they work problems out in steps.

Trained on questions, chains and answers of the training splits of
`lrkit.data.problem_sets`, and never on answering at once: that is for the methods to
try. Numbers are single tokens. `make pretrain` runs this; a killed run goes on from its
last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Trainer,
)

from lrkit.data.chains import in_brackets
from lrkit.data.graphs import GraphProblem, sentence
from lrkit.data.problem_sets import GRAPHS, SPLITS, endless
from lrkit.data.problems import TASKS, Problem, Question
from lrkit.latent.chain_rows import CUE, ChainRows
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.training import RowCollator, RunSettings, run, trainer_for
from lrkit.paths import build_dir, root
from lrkit.pretrain.think_card import card

SPECIAL = ("<|endoftext|>", "<|pad|>")
NUMBERS = range(1000)
VOCAB, CONTEXT = 2560, 384  # at most; words of graphs are fewer
SEED = 30_000
N_PROBLEMS = 200_000


@dataclass(frozen=True)
class Reading:
    """What a base reads in one run.

    Attributes:
        tasks: in turn; one that is named twice comes twice as often.
        run: of the training.
        whole: share of rows whose steps are all written as equations or sentences. The
            others have some of them, or all, as results alone: see `ChainRows.mixed`.
        bare: whether what is read is as dense as can be, many more steps in the same
            time: questions without their stories, see `without_story`, or walks through
            graphs, see `with_walks`.
    """

    tasks: tuple[str, ...]
    run: RunSettings
    whole: float = 0.0
    bare: bool = False


@dataclass(frozen=True)
class Shape:
    """Sizes of one base; planning in a single pass needs depth.

    Attributes:
        name: of its folder.
        layers, width, heads, mlp: of the network.
        readings: what it reads, one run after another.
        spoken: tasks that its tokenizer is made for.
    """

    name: str
    layers: int
    width: int
    heads: int
    mlp: int
    readings: tuple[Reading, ...]
    spoken: tuple[str, ...] = tuple(TASKS)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it is to know."""
        return tuple(dict.fromkeys(t for r in self.readings for t in r.tasks))


SHAPES = {
    shape.name: shape
    for shape in (
        # Clock arithmetic alone: a million parameters know it after minutes.
        Shape(
            "think-narrow", 3, 128, 4, 320,
            (Reading(("clock",), RunSettings(1500, 64, 1, 3e-3, cpu_bf16=True)),),
        ),
        Shape(
            # After the first reading sums of two digits are still unknown: so bare
            # equations follow, and then stories again.
            "think-wide", 4, 192, 6, 480,
            (
                Reading(
                    ("clock", "words"), RunSettings(4000, 32, 1, 2e-3, cpu_bf16=True)
                ),
                Reading(
                    ("words",), RunSettings(1200, 128, 1, 2e-3, cpu_bf16=True),
                    whole=1.0, bare=True,
                ),
                Reading(
                    ("words", "words", "words", "words", "words", "clock"),
                    RunSettings(2400, 32, 1, 2e-3, cpu_bf16=True), whole=0.85,
                ),
            ),
        ),
        Shape(
            "think-graphs", 4, 128, 4, 320,
            (
                # Who reads chains alone learns their form and no edge of a graph: after
                # 160,000 of them 1 in 7 written edges was there.
                Reading(
                    ("small graphs",), RunSettings(1500, 64, 1, 2e-3, cpu_bf16=True),
                    whole=1.0, bare=True,
                ),
                Reading(
                    ("small graphs",), RunSettings(1500, 64, 1, 2e-3, cpu_bf16=True)
                ),
            ),
            spoken=("small graphs",),
        ),
    )
}  # fmt: skip


def pretraining_problems(
    tasks: Sequence[str] = tuple(TASKS), seed: int = SEED
) -> Iterator[Question]:
    """Training problems of tasks in turn, without end; one that is named twice has
    twice as many."""
    streams = {task: endless(task, "train", seed) for task in tasks}
    while True:
        yield from (next(streams[task]) for task in tasks)


def without_story(problem: Problem) -> Problem:
    """A generated problem in signs: "12, + 5, * 3 = ?" asks for (12 + 5) * 3."""
    made = problem.made_from
    done = [f"{operation} {number}" for operation, number in made["operations"]]
    return replace(problem, question=f"{', '.join([str(made['start']), *done])} = ?")


def with_walks(problem: GraphProblem, n: int = 12) -> GraphProblem:
    """A problem on a graph whose chain are n edges: random walks, one after another,
    each from any node until it cannot go on. The answer is where the last one stands.

    They are always the same ones of a problem.
    """
    rng = random.Random(problem.id)
    nodes, edges = (problem.made_from[what] for what in ("nodes", "edges"))
    ways: dict[int, list[int]] = {}
    for start, end in edges:
        ways.setdefault(start, []).append(end)
    walked, at = [], None
    while len(walked) < n:
        at = rng.choice(sorted(ways)) if at not in ways else at
        walked.append((at, rng.choice(ways[at])))
        at = walked[-1][1]
    steps = tuple(sentence(nodes, edge) for edge in walked)
    return replace(problem, steps=steps, answer=nodes[at])


def train_tokenizer(
    tasks: Sequence[str] = tuple(TASKS), n_problems: int = 6000
) -> PreTrainedTokenizerFast:
    """Byte-level BPE; every byte has a token, so that nothing is unknown.

    For tasks with numbers every one up to 999 is one token, behind a letter or a sign
    as well as with the blank before it.
    """
    some = list(islice(pretraining_problems(tasks, SEED - 1), n_problems))
    numbers = () if set(tasks) <= set(GRAPHS) else NUMBERS
    tok = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r" ?\d+"), behavior="isolated")
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def texts() -> Iterator[str]:
        for number in numbers:
            yield " ".join([str(number)] * 3000)
            yield "=".join([str(number)] * 3000)
        for p in some:
            yield f"{p.question}\n{' '.join(p.steps)}\n{CUE} {p.answer}"
            yield in_brackets(p.steps)

    tok.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tok,
        eos_token=SPECIAL[0],
        pad_token=SPECIAL[1],
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """A GPT-2 of a shape, with learned positions and an output layer of its own.

    A step that is taken without being written has to find its operation by counting.
    Absolute positions make that easy; with rotary ones a base of this size was seen to
    learn it for one length of the question after another. COCONUT and CODI were made on
    GPT-2, too. Its tied output layer is left out.
    """
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=CONTEXT,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_inner=shape.mlp,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def pretrain(shape: Shape, out: Path, work: Path, max_steps: int | None = None) -> dict:
    """Train one base into `out`; returns what its card says.

    Args:
        shape: sizes and run.
        out: folder for safetensors, tokenizer, record and card.
        work: folder of tokenizer and checkpoints; kept for resuming.
        max_steps: stop earlier (for tests).
    """
    work.mkdir(parents=True, exist_ok=True)
    spoken = work / "-".join(["tokenizer", *shape.spoken]).replace(" ", "-")
    if not spoken.is_dir():
        train_tokenizer(shape.spoken).save_pretrained(spoken)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(spoken)
    torch.manual_seed(SEED)
    model = SlotModel.wrap(build(shape, tokenizer))
    # On a CPU, in bf16, its backward pass takes 0.6 of the time of the fused one.
    model.base.set_attn_implementation("eager")
    rows = ChainRows.of(model, tokenizer, CONTEXT)
    log: list[list[dict]] = []
    read: list[dict] = []
    for k, reading in enumerate(shape.readings):
        settings = reading.run
        if max_steps is not None:
            settings = RunSettings(max_steps, warmup=0)
        size = settings.steps * settings.batch_size
        some = pretraining_problems(reading.tasks, SEED + 2 * k)
        dense = with_walks if set(reading.tasks) <= set(GRAPHS) else without_story
        some = map(dense, some) if reading.bare else some
        problems = list(islice(some, min(N_PROBLEMS, size)))
        folder = work / (shape.name if k == 0 else f"{shape.name}-{k + 1}")
        trainer = trainer_for(
            model, problems, partial(ChainRows.mixed, rows, whole=reading.whole),
            RowCollator.of(model, tokenizer.pad_token_id), settings, folder,
        )  # fmt: skip
        log.append(_log_of(trainer, folder))
        read.append(
            {"tasks": list(reading.tasks), "problems": len(problems), "rows": size,
             "whole": reading.whole, "bare": reading.bare}
        )  # fmt: skip
    facts = {
        "name": shape.name,
        "parameters": model.base.num_parameters(),
        "shape": f"{shape.layers} layers, width {shape.width}, {shape.heads} heads, "
        f"MLP {shape.mlp}",
        "vocabulary": len(tokenizer),
        "context": CONTEXT,
        "numbers": not set(shape.spoken) <= set(GRAPHS),
        "readings": read,
        "seconds": round(sum(part[-1]["train_runtime"] for part in log), 1),
        "loss_curve": _curve(log, [r.run.steps for r in shape.readings]),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "tasks": list(shape.tasks),
        "chain_accuracy": chain_accuracy(model, rows, shape.tasks),
    }
    publish(model.base, tokenizer, facts, out)
    return facts


def _log_of(trainer: Trainer, folder: Path) -> list[dict]:
    """The log of a run, made now or long ago."""
    file = folder / "log.json"
    if file.is_file():  # the run has ended: its last checkpoint is only loaded
        run(trainer)
        return json.loads(file.read_text())
    log = run(trainer)
    file.write_text(json.dumps(log) + "\n")
    return log


def _curve(logs: Sequence[list[dict]], steps: Sequence[int]) -> list[list[float]]:
    """Some 120 [step, loss] of all runs, counted through."""
    found, before = [], 0
    for log, n in zip(logs, steps, strict=True):
        found += [[before + r["step"], round(r["loss"], 4)] for r in log if "loss" in r]
        before += n
    return found[:: max(1, sum(steps) // 120)]


def chain_accuracy(
    model: SlotModel, rows: ChainRows, tasks: Sequence[str], n: int = 300
) -> dict[str, dict[str, float]]:
    """Share of right answers after a chain of its own, by task and split."""
    solver = SlotSolver(model, rows, writes_chain=True)
    found: dict[str, dict[str, float]] = {}
    for task in tasks:
        for split in SPLITS[:1] if task in GRAPHS else (SPLITS[0], *SPLITS[2:]):
            some = list(islice(endless(task, split, SEED + 1), n))
            solved = solver.solve([p.question for p in some])
            right = [s.answer == p.answer for s, p in zip(solved, some, strict=True)]
            found.setdefault(task, {})[split] = round(sum(right) / n, 3)
    return found


def publish(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, facts: dict, out: Path
) -> None:
    """Write weights (bfloat16), tokenizer, record and card."""
    model = model.eval().to(torch.float32).cpu()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.save_pretrained(out)
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "pretraining.json").write_text(json.dumps(facts, indent=1) + "\n")
    (out / "README.md").write_text(card(facts))


def main() -> None:
    """Make the bases; print what their cards say."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.pretrain.think")
    parser.add_argument("--out", type=Path, default=root() / "models")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--only", choices=list(SHAPES), nargs="*", default=list(SHAPES))
    args = parser.parse_args()
    for name in args.only:
        work = args.work or build_dir() / "pretrain-think"
        facts = pretrain(SHAPES[name], args.out / name, work)
        print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
