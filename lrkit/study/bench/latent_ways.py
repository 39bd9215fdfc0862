"""Ways through a CODI training step and through latent inference, naive ones beside
the package's; all give the same loss, the same gradient and the same answer.

Where the ways differ is what they compute again. "All again" runs the base over the
whole row from its first token for each latent and for each token of the answer, and
the teacher twice. The references are less wasteful, and their ways are here too:
CODI's keeps the cache and runs the teacher twice (for its states, then for its loss);
COCONUT's keeps the cache from latent to latent and reads the whole row again for each
token of the answer. No way computes logits that nobody reads, the naive ones included.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lrkit.latent.codi import CodiCollator, CodiModel, CodiRow, at, distillation_loss
from lrkit.latent.layout import SlotRow
from lrkit.latent.slots import SLOT, SlotModel, mean_loss

TRAINING, INFERENCE = "training", "inference"
OURS = "lrkit"
AGAIN = "all again"
TEACHER_TWICE = "teacher twice"
ANSWER_AGAIN = "answer again"
LATENTS_AGAIN = "latents again"

Batch = dict[str, torch.Tensor]


# --- rows -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Lengths:
    """Tokens of the pieces of a row: question, chain (the teacher's), answer."""

    question: int = 64
    chain: int = 24
    answer: int = 6


def batch_of(
    model: CodiModel, lengths: Lengths, n_rows: int, n_latents: int, seed: int = 0
) -> Batch:
    """What `CodiModel.forward` takes, of drawn ids: time does not depend on them.

    Rows are of one length, so that nothing is padded; questions, chains and answers
    are the same whatever the number of latents. The cue is the middle of the answer.
    """
    draw = random.Random(seed)

    def some(n: int) -> list[int]:
        return draw.choices(range(model.first_special), k=n)

    bot, eot = model.id_of("<bot>"), model.id_of("<eot>")
    rows = []
    for _ in range(n_rows):
        question, chain = some(lengths.question), some(lengths.chain)
        answer = some(lengths.answer)
        rows.append(
            CodiRow(
                SlotRow([*question, bot], n_latents, [eot, *answer], lengths.answer),
                SlotRow(question, 0, [*chain, *answer], lengths.chain + lengths.answer),
                lengths.answer - lengths.answer // 2,
                lengths.answer,
            )
        )
    inputs = CodiCollator.of(model)(rows)
    return {name: value.to(model.device) for name, value in inputs.items()}


def asked(inputs: Batch, lengths: Lengths) -> torch.Tensor:
    """[batch, columns] ids up to `<eot>`: what inference begins with."""
    return inputs["input_ids"][:, : -lengths.answer]


# --- the whole row from its first token -----------------------------------------------
def _slots(model: SlotModel, ids: torch.Tensor) -> tuple[int, int]:
    """Where slots begin and end; all rows have the same."""
    columns = (ids[0] == model.id_of(SLOT)).nonzero()
    return int(columns[0]), int(columns[-1]) + 1


def _whole(model: SlotModel, vectors: torch.Tensor, keep: int = 1):
    """The base over all columns; logits of the last `keep`."""
    return model.base(
        inputs_embeds=vectors,
        use_cache=False,
        output_hidden_states=True,
        logits_to_keep=keep,
    )


def filled(model: SlotModel, ids: torch.Tensor) -> torch.Tensor:
    """[batch, columns, width]: vectors of a row, all before a slot run again for it."""
    start, end = _slots(model, ids)
    vectors = model.embed(ids[:, :start])
    for _ in range(start, end):
        read = _whole(model, vectors).hidden_states[-1][:, -1:]
        vectors = torch.cat([vectors, model.map(read)], 1)
    return torch.cat([vectors, model.embed(ids[:, end:])], 1)


# --- training -------------------------------------------------------------------------
def our_loss(model: CodiModel, inputs: Batch) -> torch.Tensor:
    """The package's."""
    return model(**inputs).loss


def teacher_twice(model: CodiModel, inputs: Batch) -> torch.Tensor:
    """As CODI's reference: a cache for the student, two passes of the teacher."""
    student = SlotModel.forward(
        model,
        inputs["input_ids"],
        inputs["attention_mask"],
        labels=inputs["labels"],
        output_hidden_states=True,
    )
    return _sum(model, inputs, student.loss, student.hidden_states)


def all_again(model: CodiModel, inputs: Batch) -> torch.Tensor:
    """No cache: the student's row again for each latent, and the teacher twice."""
    ids, labels = inputs["input_ids"], inputs["labels"]
    supervised = ids.shape[1] - int((labels[0] != -100).nonzero()[0])
    student = _whole(model, filled(model, ids), supervised + 1)
    loss = mean_loss(student.logits[:, :-1], labels[:, -supervised:])
    return _sum(model, inputs, loss, student.hidden_states)


def _sum(model: CodiModel, inputs: Batch, student_loss, student_states):
    """CODI's loss, the teacher run once for its states and once for its own loss."""
    ids, labels = inputs["teacher_input_ids"], inputs["teacher_labels"]
    with torch.no_grad():
        target = _whole(model, model.embed(ids)).hidden_states
    supervised = ids.shape[1] - int((labels[0] != -100).nonzero()[0])
    teacher = _whole(model, model.embed(ids), supervised + 1)
    teacher_loss = mean_loss(teacher.logits[:, :-1], labels[:, -supervised:])
    kd = distillation_loss(
        at(student_states, inputs["cue"]), at(target, inputs["teacher_cue"])
    )
    return student_loss + model.config.gamma * kd + model.config.beta * teacher_loss


# --- inference ------------------------------------------------------------------------
def our_answer(model: SlotModel, ids: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """The package's: `generate`. No token ends an answer, all are of one length."""
    model.generation_config.eos_token_id = None
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),  # an id drawn for padding is none here
        max_new_tokens=n_tokens,
        do_sample=False,
    )
    return made[:, ids.shape[1] :]


def answer_again(model: SlotModel, ids: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """As COCONUT's reference: the cache serves the latents, but not the answer."""
    start, end = _slots(model, ids)
    out = model(ids, logits_to_keep=1)
    before, after = model.embed(ids[:, :start]), model.embed(ids[:, end:])
    return _written(model, torch.cat([before, out.latents, after], 1), out, n_tokens)


def everything_again(
    model: SlotModel, ids: torch.Tensor, n_tokens: int
) -> torch.Tensor:
    """No cache anywhere: the row again for each latent and for each token."""
    vectors = filled(model, ids)
    return _written(model, vectors, _whole(model, vectors), n_tokens)


def _written(model: SlotModel, vectors: torch.Tensor, out, n_tokens: int):
    """Tokens, the first by the logits at hand, each other by the whole row again."""
    tokens = [out.logits[:, -1].argmax(-1)]
    while len(tokens) < n_tokens:
        vectors = torch.cat([vectors, model.embed(tokens[-1])[:, None]], 1)
        tokens.append(_whole(model, vectors).logits[:, -1].argmax(-1))
    return torch.stack(tokens, 1)


def latents_again(model: SlotModel, ids: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """The row again for each latent; from then on a cache."""
    vectors, cache, tokens = filled(model, ids), None, []
    for _ in range(n_tokens):
        out = model.base(
            inputs_embeds=vectors,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        tokens.append(out.logits[:, -1].argmax(-1))
        vectors = model.embed(tokens[-1])[:, None]
    return torch.stack(tokens, 1)


# --- all of them ----------------------------------------------------------------------
@dataclass(frozen=True)
class LatentWay:
    """Something to measure.

    Attributes:
        name: of its own in its task.
        task: `TRAINING` or `INFERENCE`.
        run: model and `batch_of`'s inputs to a loss; or model, `asked`'s ids and a
            number of tokens to tokens.
        again: what it computes more than once, of "latents", "answer" and "teacher".
    """

    name: str
    task: str
    run: Callable[..., torch.Tensor]
    again: tuple[str, ...] = ()

    def passes(self, lengths: Lengths, n_latents: int) -> int:
        """Forward passes of the base, one after another."""
        row = n_latents + (1 if "latents" in self.again else 2)
        if self.task == INFERENCE:
            return row + lengths.answer - 1
        return row + (2 if "teacher" in self.again else 1)

    def positions(self, lengths: Lengths, n_latents: int) -> tuple[int, int]:
        """(forward, backward) positions of one row that the base is run over."""
        before, slots = lengths.question + 1, lengths.question + 1 + n_latents
        latents = _growing(before, n_latents) if "latents" in self.again else 0
        if self.task == INFERENCE:
            if "answer" in self.again:
                return latents + _growing(slots + 1, lengths.answer), 0
            return latents + slots + 1 + lengths.answer - 1, 0
        student = latents + slots + 1 + lengths.answer
        teacher = lengths.question + lengths.chain + lengths.answer
        both = student + teacher
        return both + (teacher if "teacher" in self.again else 0), both


def _growing(first: int, n: int) -> int:
    """first + (first + 1) + ..., n terms."""
    return n * first + n * (n - 1) // 2


LATENT_WAYS = (
    LatentWay(AGAIN, TRAINING, all_again, ("latents", "teacher")),
    LatentWay(TEACHER_TWICE, TRAINING, teacher_twice, ("teacher",)),
    LatentWay(OURS, TRAINING, our_loss),
    LatentWay(AGAIN, INFERENCE, everything_again, ("latents", "answer")),
    LatentWay(LATENTS_AGAIN, INFERENCE, latents_again, ("latents",)),
    LatentWay(ANSWER_AGAIN, INFERENCE, answer_again, ("answer",)),
    LatentWay(OURS, INFERENCE, our_answer),
)
