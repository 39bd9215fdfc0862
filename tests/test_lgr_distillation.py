"""Laws of knowledge distillation: what is compared, and what is learned from."""

import copy
from dataclasses import replace

import pytest
import torch
from latent_models import problem, tiny_gpt2, tiny_llama
from lgr_models import PROBLEMS, loud, padded, trainings

from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import collate
from lrkit.latent.lgr_baselines import (
    distilled,
    sequence_distilled,
)
from lrkit.latent.lgr_distillation import (
    DistilledConfig,
    DistilledModel,
    words_divergence,
    written_by,
)
from lrkit.latent.slots import SLOT
from lrkit.latent.solvers import SlotSolver, Solution
from lrkit.latent.training import RowCollator

CUE = "The answer is:"


@pytest.fixture
def training(chatml, tmp_path):
    return trainings(chatml, tmp_path)[1]


def test_the_divergence_by_hand():
    torch.manual_seed(0)
    a, b = torch.randn(4, 7, requires_grad=True), torch.randn(4, 7, requires_grad=True)
    p, q = (b / 2).softmax(-1), (a / 2).softmax(-1)
    wanted = 4 * (p * (p / q).log()).sum(-1).mean()
    found = words_divergence(a, b, 2.0)
    assert torch.allclose(found, wanted, atol=1e-6) and found > 0.1
    found.backward()
    assert a.grad.abs().sum() > 0 and b.grad is None
    assert words_divergence(a, a).abs() < 1e-6


def student(tokenizer, **config):
    torch.manual_seed(0)
    model = DistilledModel.wrap(tiny_llama(len(tokenizer)), **config)
    return model, ChainRows.of(model, tokenizer, 256)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_distillation_counts_chain_and_answer_alone(chatml, alpha):
    """Both losses row by row, without padding."""
    model, rows = student(chatml, alpha=alpha, kd_temperature=2.0)
    teacher = loud(tiny_gpt2(len(chatml), 48))
    model.learn_from(teacher)
    made = [rows.chain(p) for p in PROBLEMS]
    found = model.train()(**RowCollator.of(model)(made)).loss
    ce = kl = n = 0
    for row in made:
        ids = torch.tensor([[*row.before, *row.rest]])
        k = len(row.rest)
        ours, theirs = (m(ids).logits[0, -k - 1 : -1] for m in (model.base, teacher))
        target = torch.tensor(row.rest)
        ce += torch.nn.functional.cross_entropy(ours, target, reduction="sum")
        kl += k * words_divergence(ours, theirs, 2.0)
        n += k
    assert torch.allclose(found, ((1 - alpha) * ce + alpha * kl) / n, rtol=1e-3)
    found.backward()
    assert all(w.grad is None for w in teacher.parameters())
    names = [name for name, _ in model.named_parameters()]
    assert not any("teacher" in name for name in names), "it is not saved"


def test_a_student_comes_nearer_to_its_teacher(training, chatml):
    teacher = loud(tiny_gpt2(len(chatml), 48), 3)
    longer = replace(training.settings.run, steps=12, learning_rate=1e-2)
    training = replace(training, settings=replace(training.settings, run=longer))

    def distance(solver):
        row = solver.rows.chain(PROBLEMS[1])
        x = collate([row], solver.model.id_of(SLOT))["input_ids"]
        with torch.no_grad():
            ours, theirs = solver.model(x).logits[0], teacher(x).logits[0]
        n = len(row.rest)
        return float(words_divergence(ours[-n - 1 : -1], theirs[-n - 1 : -1]))

    near = distilled(training, teacher, chatml, alpha=1.0)
    far = distilled(
        replace(training, folder=training.folder / "far"), teacher, chatml, alpha=0.0
    )
    assert distance(near) < 0.7 * distance(far)
    assert near.writes_chain


def test_other_tokens_are_refused_word_by_word(training, chatml):
    teacher = tiny_gpt2(len(chatml), 48)
    other = copy.deepcopy(chatml)
    other.add_tokens(["bead"])
    with pytest.raises(ValueError, match="the two tokenizers differ"):
        distilled(training, teacher, other)
    model, rows = student(chatml)
    with pytest.raises(ValueError, match=r"compares the same tokens: the student has"):
        model.learn_from(tiny_gpt2(len(chatml) + 1, 48))
    batch = RowCollator.of(model)([rows.chain(PROBLEMS[0])])
    with pytest.raises(ValueError, match="there is no teacher"):
        model.train()(**batch)
    model.learn_from(teacher)
    marked = RowCollator.of(model)([rows.latent(PROBLEMS[0], 0)])
    with pytest.raises(ValueError, match="does not know the student's special tokens"):
        model(**marked)
    for options in ({"alpha": 1.5}, {"kd_temperature": 0}):
        with pytest.raises(ValueError, match="alpha is from 0 to 1"):
            DistilledConfig(**options)


class Scribe:
    """Writes a chain of its own, rightly or wrongly, or none."""

    def __init__(self, wrong=(), silent=()):
        self.wrong, self.silent = wrong, silent

    def solve(self, questions):
        found = []
        for i, _ in enumerate(questions):
            answer = "0" if i in self.wrong else PROBLEMS[i].answer
            text = f"<<9-{i}={9 - i}>>\n{CUE} {answer}"
            text = CUE if i in self.silent else text
            answer = "" if i in self.silent else answer
            found.append(Solution(answer, text, 9, 0, 9, 9, 1.0, 0.0))
        return found


def test_chains_that_a_teacher_wrote_take_the_place_of_the_own_ones():
    chains = written_by(Scribe(wrong=[1], silent=[2]), PROBLEMS)
    assert [p.id for p in chains.problems] == [PROBLEMS[i].id for i in (0, 3, 4)]
    assert [p.steps for p in chains.problems] == [
        (f"<<9-{i}={9 - i}>>",) for i in (0, 3, 4)
    ]
    assert chains.share_right == chains.share_kept == 3 / 5
    lenient = written_by(Scribe(wrong=[1], silent=[2]), PROBLEMS, only_right=False)
    assert lenient.problems[1].answer == "0" and lenient.share_kept == 4 / 5
    with pytest.raises(ValueError, match="wrote no chain"):
        written_by(Scribe(silent=range(5)), PROBLEMS)


def test_a_student_of_chains_may_have_another_tokenizer(training, gpt2):
    other = replace(
        training, tokenizer=padded(gpt2), load_base=lambda: tiny_llama(len(gpt2), 24)
    )
    solver, chains = sequence_distilled(other, Scribe(wrong=[0]))
    assert len(chains.problems) == 4 and isinstance(solver, SlotSolver)
    assert len(solver.solve([problem(2).question])) == 1
