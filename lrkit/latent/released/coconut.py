"""COCONUT's weights as its code saves them; the authors have published none.

"Unfortunately we don't have the plan to release the trained models"
(facebookresearch/coconut, issue 37). Others trained with this code and published what
it saves, such as connordilgren/gpt2-gsm8k-coconut (file `checkpoint_33`),
connordilgren/gpt2-prosqa-coconut (`checkpoint_40`) and
bmarti44/coconut-curriculum-checkpoints (`coconut/checkpoint_best`), all of them over
openai-community/gpt2.

The names follow facebookresearch/coconut: `coconut.py` (class `Coconut`:
`base_causallm`, and `embedding`, which is its table once more), `run.py` (the order in
which the three tokens are added, `torch.save`, `weights_only=True`), `dataset.py` (the
rows). What the file looks like, a pickle without a suffix:

    base_causallm.*             the base, all of its weights
    ....wte / embed_tokens      V + 3 rows: <|start-latent|>, <|end-latent|>, <|latent|>
    ....lm_head.weight          the same table again where it is tied
    embedding.weight            and once more

There is no projection: a latent is the last hidden state as it is. The prompt is the
question and a line break, then start; behind the latents comes end, and the model
writes the steps that are left, "### " and the answer, which is what stands behind the
last "#". Latents: 6 (`args/gsm_coconut.yaml`: 3 stages of 2;
`args/prosqa_coconut.yaml`: 6 of 1), the same number for every question
(`pad_latent_to_max`).

Not found out: whether a file saved under FSDP ever has names with another prefix (the
code that reads it knows none), and what the pause models of the third repository need:
they have the same names, and this loader would run them as COCONUT.
"""

from __future__ import annotations

from lrkit.latent.released.checkpoint import Checkpoint
from lrkit.latent.released.key_map import KeyMap, Part
from lrkit.latent.released.prompts import (
    QUESTION,
    after_hash,
    beginning,
    prompt_rows,
)
from lrkit.latent.released.release import Released
from lrkit.latent.released.strict import load_mapped
from lrkit.latent.released.tables import BUFFERS, UNREAD, base_map, slot_specials
from lrkit.latent.slot_config import SLOT
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver

SOURCE = "facebookresearch/coconut, coconut.py and run.py"
BASE = "base_causallm."
ADDED = ("<bot>", "<eot>", SLOT)  # start-latent, end-latent, latent


def key_map(model: SlotModel) -> KeyMap:
    """The names of the file for a model of its sizes."""
    v, n = model.first_special, len(ADDED)
    base = base_map(
        model,
        BASE,
        added=[Part("rows.weight", (v, v + n))],
        added_out=[Part("", (v, v + n), why=UNREAD)],
    )
    twins = (*base.twins, (base.table, "embedding.weight"))
    return KeyMap(SOURCE, base.rules, twins, BUFFERS)


def release(
    checkpoint: Checkpoint,
    n_latents: int = 6,
    batch_size: int = 128,
    max_new_tokens: int = 128,
) -> Released:
    """COCONUT with its solver.

    Args:
        checkpoint: opened.
        n_latents: of every question.
        batch_size: questions at a time.
        max_new_tokens: longest answer, steps that are still written included.

    Raises:
        ValueError: for a file that is not COCONUT's.
    """
    vocabulary = checkpoint.vocabulary(BASE, len(ADDED))
    model = checkpoint.wrap(
        SlotModel, checkpoint.empty_base(vocabulary), specials=slot_specials(*ADDED)
    )
    report = load_mapped(model, checkpoint.tensors, key_map(model))
    model = checkpoint.ready(model, vocabulary)
    rows = prompt_rows(
        model,
        checkpoint.tokenizer,
        context=checkpoint.context(),
        first=beginning(checkpoint.tokenizer),
        template=f"{QUESTION}\n",
    )
    solver = SlotSolver(
        model, rows, n_latents, writes_chain=True, batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    return Released("coconut", solver, after_hash, report)
