"""CODI's released weights (zen-E/CODI-gpt2, zen-E/CODI-llama3.2-1b-Instruct).

The names follow zhenyi4/codi: `src/model.py` (class `CODI`: `codi`, `prj`, the ids of
pad, bot and eot), `train.py` (the ranks and targets of LoRA, `save_model`), `test.py`
(how the file is read and a question asked), `scripts/test_gpt2.sh` (alpha 32, 6
latents). What the file looks like:

    codi.base_model.model.*     the base under PEFT: all of its weights, and beside each
                                target `base_layer`, `lora_A.default`, `lora_B.default`
    ....wte / embed_tokens      V + 3 rows: the vocabulary, pad, bot, eot
    ....lm_head.weight          the same table again
    prj.1, prj.3, prj.ln        linear, linear, LayerNorm of the projection

The base is in bfloat16 and the rest in float32: for GPT-2 these tensors make 406 MB,
the size that others report of the published file.

LoRA is kept beside the base, not merged. Its rank and targets are read from the file;
its alpha is in no file, only in the scripts. The prompt is the question alone, then
bot; the thought is followed by eot, and the model writes "The answer is: 7". The answer
is the last number.

InternLM/SIM-CoT's release (internlm/SIM_COT-GPT2-CODI) has the same names and a
`decoder` beside them that only its training needs: it is left over.

Known differences to the authors' evaluation: there, padding is attended to in the
latent steps and shifts their positions, so that a row depends on its batch; what is
computed here is what it computes for a batch of one. There, pad and bot could be
written as words; here they cannot.

Not found out: which base the Llama checkpoint goes with (its name says Instruct, the
script of its evaluation the base model; both have the same sizes, and the weights are
in the file, so that only the end token differs), and whether every file has the copy of
the table: it may be there or not.
"""

from __future__ import annotations

import re

from peft import LoraConfig, TaskType, get_peft_model

from lrkit.latent.codi import CodiModel
from lrkit.latent.released.checkpoint import Checkpoint
from lrkit.latent.released.key_map import KeyMap, Part, renamed
from lrkit.latent.released.prompts import beginning, final_number, prompt_rows
from lrkit.latent.released.release import Released
from lrkit.latent.released.strict import load_mapped
from lrkit.latent.released.tables import (
    BUFFERS,
    NO_SLOT_ROW,
    UNREAD,
    base_map,
    slot_specials,
)
from lrkit.latent.solvers import SlotSolver

SOURCE = "zhenyi4/codi, src/model.py"
ADDED = ("<pad>", "<bot>", "<eot>")
LORA = re.compile(r"codi\.base_model\.model\.(.+)\.lora_A\.default\.weight")
LEFT = (
    (r"decoder\..+", "SIM-CoT's step decoder, which only its training needs"),
    *BUFFERS,
)


def lora_config(checkpoint: Checkpoint, alpha: int) -> LoraConfig | None:
    """LoRA as its tensors say it is; None for a checkpoint without.

    Raises:
        ValueError: for ranks that differ.
    """
    found = {
        match[1]: len(tensor)
        for name, tensor in checkpoint.tensors.items()
        if (match := LORA.fullmatch(name))
    }
    if not found:
        return None
    if len(set(found.values())) != 1:
        raise ValueError(f"LoRA has ranks {sorted(set(found.values()))}, not one.")
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=next(iter(found.values())),
        lora_alpha=alpha,
        target_modules=sorted({name.rpartition(".")[2] for name in found}),
        lora_dropout=0.1,
        fan_in_fan_out=checkpoint.config.model_type == "gpt2",  # its Conv1D
    )


def map_spec(checkpoint: Checkpoint) -> dict:
    """The projection as its tensors say it is, see `lrkit.latent.maps`."""
    first = checkpoint.tensors.get("prj.1.weight")
    if first is None:
        return {"kind": "identity"}
    norm = "prj.ln.weight" in checkpoint.tensors
    return {"kind": "mlp", "inner": len(first), "norm": norm}


def key_map(model: CodiModel) -> KeyMap:
    """The names of the file for a model of its sizes."""
    v, n = model.first_special, len(ADDED)
    base = base_map(
        model,
        "codi.",
        added=[Part("rows.weight", (v, v + n))],
        added_out=[Part("", (v, v + n), why=UNREAD)],
    )
    projection = (
        renamed(r"prj\.([13])\.(weight|bias)", r"map.\1.\2"),
        renamed(r"prj\.ln\.(weight|bias)", r"map.4.\1"),
    )
    rules = (*projection, *base.rules)
    return KeyMap(SOURCE, rules, base.twins, LEFT, (NO_SLOT_ROW,))


def release(
    checkpoint: Checkpoint,
    n_latents: int = 6,
    batch_size: int = 128,
    max_new_tokens: int = 256,
    lora_alpha: int = 32,
) -> Released:
    """CODI with its solver.

    Args:
        checkpoint: opened.
        n_latents: of every question.
        batch_size: questions at a time.
        max_new_tokens: longest answer.
        lora_alpha: of the authors' scripts.

    Raises:
        ValueError: for a file that is not CODI's.
    """
    vocabulary = checkpoint.vocabulary("codi.", len(ADDED))
    base = checkpoint.empty_base(vocabulary)
    if lora := lora_config(checkpoint, lora_alpha):
        base = get_peft_model(base, lora)
    model = checkpoint.wrap(
        CodiModel, base, specials=slot_specials(*ADDED), map=map_spec(checkpoint)
    )
    report = load_mapped(model, checkpoint.tensors, key_map(model))
    model = checkpoint.ready(model, vocabulary)
    rows = prompt_rows(
        model,
        checkpoint.tokenizer,
        context=checkpoint.context(),
        first=beginning(checkpoint.tokenizer),
        tidy=True,
    )
    solver = SlotSolver(
        model, rows, n_latents, writes_chain=True, batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    return Released("codi", solver, final_number, report)
