"""Laws of the projector and the executor."""

import pytest
import torch
from lgr_models import (
    PROBLEMS,
    QUESTIONS,
    WIDE,
    K,
    executor,
    thinker,
)

from lrkit.latent.layout import collate
from lrkit.latent.lgr_executor import (
    ExecutorCollator,
    ExecutorConfig,
    ExecutorModel,
    Projector,
    executor_row,
)
from lrkit.latent.lgr_guidance import (
    guidance_of,
)
from lrkit.latent.slots import SLOT


def test_the_projector_is_the_one_of_the_source():
    torch.manual_seed(0)
    p = Projector(6, 4).eval()
    assert p[0].out_features == p[3].in_features == 2048 and p[2].p == 0.1
    x = torch.randn(2, 3, 6)
    inner = torch.nn.functional.gelu(x @ p[0].weight.T + p[0].bias)
    y = inner @ p[3].weight.T + p[3].bias
    mean, var = y.mean(-1, keepdim=True), y.var(-1, keepdim=True, unbiased=False)
    assert torch.allclose(p(x), (y - mean) / (var + 1e-5).sqrt(), atol=1e-4)
    assert torch.allclose(Projector(6, 4, scale=0.1)[-1].weight, torch.tensor(0.1))
    assert not torch.equal(p.train()(x), p(x)), "dropout between the layers"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.no_grad()
def test_the_executor_reads_question_and_projected_guidance(chatml, family):
    model, rows = executor(chatml, family=family)
    known = guidance_of(*thinker(chatml), QUESTIONS)
    made = [executor_row(rows, p, known, model.config) for p in PROBLEMS]
    batch = ExecutorCollator.of(model)(made)
    together = model(**batch)
    total = count = 0.0
    for one in made:
        row = one.row
        written = model.projector(one.guidance[None])
        before, rest = (
            model.embed(torch.tensor([list(ids)])) for ids in (row.before, row.rest)
        )
        logits = model.base(inputs_embeds=torch.cat([before, written, rest], 1)).logits
        n = row.supervised
        logp = logits[0, -n - 1 : -1].log_softmax(-1)
        total -= logp[torch.arange(n), torch.tensor(row.rest[-n:])].sum()
        count += n
    assert torch.allclose(together.loss, total / count, rtol=1e-3)


def test_chain_and_answer_carry_loss_and_question_and_slots_do_not(chatml):
    model, rows = executor(chatml)
    p, known = PROBLEMS[1], guidance_of(*thinker(chatml), QUESTIONS)
    row = executor_row(rows, p, known, model.config).row
    said = [*rows.steps(p.steps), *rows.answer(p.answer).ids]
    assert list(row.rest) == [rows.eot, *said] and row.supervised == len(said)
    assert row.n_slots == K


def test_gradient_reaches_executor_and_projector(chatml):
    model, rows = executor(chatml)
    known = guidance_of(*thinker(chatml), QUESTIONS)
    batch = ExecutorCollator.of(model)(
        [executor_row(rows, p, known, model.config) for p in PROBLEMS]
    )
    batch["guidance"].requires_grad_(True)
    model(**batch).loss.backward()
    for part in (model.projector, model.base):
        assert all(w.grad.abs().sum() > 0 for w in part.parameters())
    assert (batch["guidance"].grad.abs().sum(-1) > 0).all(), "every vector is read"


def test_what_an_executor_cannot_read_is_refused(chatml):
    model, rows = executor(chatml)
    x = collate([rows.asked(QUESTIONS[0], K, cue=False)], model.id_of(SLOT))
    del x["labels"]
    with pytest.raises(ValueError, match="guidance of width 48, not 7"):
        model(**x, guidance=torch.zeros(1, K, 7))
    with pytest.raises(ValueError, match="not both"):
        model(**x, guidance=torch.zeros(1, K, WIDE), latents=torch.zeros(1, K, 24))
    with pytest.raises(ValueError, match=r"of shape \[1, 3, 24\], got none"):
        model(**x)
    with pytest.raises(ValueError, match="0 latents cannot be"):
        ExecutorConfig(n_latents=0)


@torch.no_grad()
def test_saved_and_loaded_it_says_the_same(chatml, tmp_path):
    model, rows = executor(chatml, thinker="abc")
    model.save_pretrained(tmp_path)
    again = ExecutorModel.from_pretrained(tmp_path).eval()
    known = guidance_of(*thinker(chatml), QUESTIONS)
    x = ExecutorCollator.of(model)(
        [executor_row(rows, p, known, model.config) for p in PROBLEMS]
    )
    assert torch.equal(again(**x).loss, model(**x).loss)
    assert again.config.thinker == "abc"
