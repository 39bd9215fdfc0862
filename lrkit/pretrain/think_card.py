"""The cards of the bases `think-*`, written from the record of their training."""

from __future__ import annotations

# What a card says of problems with numbers, and of graphs.
KINDS = {
    "numbers": {
        "tokens": """ in which every
number up to 999 is one token, with a blank before it or without""",
        "steps": "equations (`( 2 )<<2*3=6>>`)",
        "held out": """The operations of
validation and test problems are in none of these rows, nor any of the sentences,
lengths and numbers of splits out of distribution.""",
    },
    "graphs": {
        "tokens": "",
        "steps": "sentences (`( banpus )Every banpus is a dolpus.`)",
        "held out": """No graph of validation
and test is among them, however its nodes are named.""",
    },
}

# What a run read whose rows were as dense as can be.
DENSE = {
    "numbers": '; questions without their stories, such as "12, + 5, * 3 = ?"',
    "graphs": "; random walks through the graph in place of the chain",
}


def run_line(number: int, reading: dict) -> str:
    """What one run read, as an item of a list."""
    tasks = reading["tasks"]
    shares = {task: tasks.count(task) for task in dict.fromkeys(tasks)}
    said = ", ".join(f"{n} of {len(tasks)} {task}" for task, n in shares.items())
    what = tasks[0] if len(shares) == 1 else said
    extra = ""
    if reading["bare"]:
        graphs = all("graphs" in task for task in tasks)
        extra += DENSE["graphs" if graphs else "numbers"]
    if reading["whole"]:
        extra += f"; {100 * reading['whole']:.0f} % of the rows without any bracket"
    return f"{number}. {reading['rows']:,} rows: {what}{extra}"


def card(facts: dict) -> str:
    """The model card, its numbers taken from the run that made the weights."""
    curve = "\n".join(f"| {step} | {loss:.4f} |" for step, loss in facts["loss_curve"])
    names = list(next(iter(facts["chain_accuracy"].values())))
    table = "\n".join(
        f"| {task} | " + " | ".join(f"{100 * by[s]:.1f} %" for s in names) + " |"
        for task, by in facts["chain_accuracy"].items()
    )
    kind = KINDS["numbers" if facts["numbers"] else "graphs"]
    problems, rows = (
        sum(reading[what] for reading in facts["readings"])
        for what in ("problems", "rows")
    )
    runs = "\n".join(run_line(n, r) for n, r in enumerate(facts["readings"], 1))
    return f"""# `{facts["name"]}`: an embedded base that works problems out in steps

A GPT-2-architecture causal language model with {facts["parameters"]:,} parameters
({facts["shape"]}, vocabulary {facts["vocabulary"]},
context {facts["context"]}, input and output layers untied), stored as bfloat16
safetensors. Byte-level BPE{kind["tokens"]}.

**Data.** {problems:,} generated problems of the training splits of
`lrkit/data/problem_sets.py` ({" and ".join(facts["tasks"])}), each as
question, chain and answer. The first steps of a chain are results alone in brackets,
the others {kind["steps"]}: in half of the rows all steps are in
brackets, in the others any number but all. {rows:,} rows were read, in these runs:

{runs}

No row asks for an answer without its chain: whether a model can answer at once is what
the methods of the workbook try. {kind["held out"]}

**Training.** {facts["seconds"]:.0f} s on a CPU (threads: {facts["threads"]}), AdamW,
bf16 autocast where the CPU has it, loss on chain and answer, torch {facts["torch"]}.
Made again by `make pretrain`; floating-point order may differ between machines.

| step | training loss (nats per token) |
|---|---|
{curve}

**What it can do.** Right answers after a chain of its own (greedy), 300 problems each:

| task | {" | ".join(names)} |
|---|{"---|" * len(names)}
{table}

**Limits.** It knows these problems and nothing else. MIT licence, as the
repository.
"""
