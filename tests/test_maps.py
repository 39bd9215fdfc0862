"""Laws of the maps: what they do to the length of what is written."""

import copy

import pytest
import torch
from latent_models import problem, rows_for, tiny_llama

from lrkit.latent.layout import collate
from lrkit.latent.maps import build_map
from lrkit.latent.slots import SLOT, SlotModel

VECTORS = 20 * torch.randn(5, 16)


def test_the_identity_leaves_vectors_as_they_are_or_scales_them():
    assert torch.equal(build_map({"kind": "identity"}, 16)(VECTORS), VECTORS)
    scaled = build_map({"kind": "identity", "scale": 0.1}, 16)
    assert torch.equal(scaled(VECTORS), VECTORS * 0.1)
    assert not list(scaled.parameters())


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_gain_of_the_norm_starts_at_the_scale(kind, scale):
    made = build_map({"kind": kind, "scale": scale}, 16)(VECTORS)
    rms = made.pow(2).mean(-1).sqrt()
    assert torch.allclose(rms, torch.full_like(rms, scale), rtol=1e-3)


def test_an_unknown_map_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no map 'magic': choose one of identity, mlp"):
        build_map({"kind": "magic"}, 16)


# --- mixtures of the vocabulary -------------------------------------------------------
@pytest.fixture(scope="module")
def base(chatml):
    return tiny_llama(len(chatml)).eval()


def mixture(base, **options):
    made = build_map({"kind": "superposition", **options}, 32)
    made.bind(base)
    return made


@torch.no_grad()
def test_a_mixture_is_the_weighted_sum_of_the_likeliest_embeddings(base):
    states = torch.randn(3, 2, 32)
    found = mixture(base, k=4, temperature=0.5)(states)
    head, table = base.lm_head.weight, base.model.embed_tokens.weight
    for state, one in zip(states.flatten(0, 1), found.flatten(0, 1), strict=True):
        weights = (head @ state / 0.5).tolist()
        best = sorted(range(len(weights)), key=lambda v: -weights[v])[:4]
        shares = torch.tensor([weights[v] for v in best]).softmax(0)
        wanted = sum(s * table[v] for s, v in zip(shares, best, strict=True))
        assert torch.allclose(one, wanted, atol=1e-5)


@torch.no_grad()
def test_a_sure_mixture_is_the_embedding_of_its_token(base):
    state = 30 * base.lm_head.weight[7]
    table = base.model.embed_tokens.weight
    for options in ({"k": 1}, {"k": 0, "temperature": 1e-3}):
        assert torch.allclose(mixture(base, **options)(state), table[7], atol=1e-6)


def test_gradient_flows_through_the_weights_of_a_mixture_alone(base):
    states = torch.randn(4, 32, requires_grad=True)
    base.zero_grad()
    mixture(base, scale=2.0)(states).pow(2).sum().backward()
    assert states.grad.abs().sum() > 0 and base.lm_head.weight.grad.abs().sum() > 0
    assert base.model.embed_tokens.weight.grad is None
    assert not list(mixture(base).parameters()), "the tables stay the model's"


@torch.no_grad()
def test_a_model_writes_mixtures_and_is_restored_with_them(chatml, tmp_path):
    torch.manual_seed(0)
    model = SlotModel.wrap(
        tiny_llama(len(chatml)), map={"kind": "superposition", "k": 3}
    ).eval()
    rows = rows_for(model, chatml)
    ids = collate([rows.latent(problem(3), 3)], model.id_of(SLOT))["input_ids"]
    out = model(ids)
    assert torch.equal(out.latents[0, 0], model.map(out.read[0, 0]))
    model.save_pretrained(tmp_path)
    for other in (SlotModel.from_pretrained(tmp_path).eval(), copy.deepcopy(model)):
        again = other(ids)
        assert torch.equal(again.latents, out.latents)
        assert torch.allclose(again.logits, out.logits, atol=1e-6)
        other.base.get_input_embeddings().weight.zero_()
        assert not other(ids).latents.any(), "it reads its own tables"
    assert torch.equal(model(ids).logits, out.logits)


@pytest.mark.parametrize("wrong", [{"k": -1}, {"temperature": 0.0}])
def test_a_mixture_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="k must be 0 or more and the temperature"):
        build_map({"kind": "superposition", **wrong}, 16)
