"""Laws of what is said in nats: by hand, on Gaussians, and where a bound ends."""

import math

import numpy as np
import pytest
import torch
from latent_models import problem
from lgr_models import PROBLEMS, thinker

from lrkit.data import clock
from lrkit.data.problems import problems
from lrkit.latent.lgr_rows import ThinkerCollator
from lrkit.study.infonce import (
    CriticSettings,
    chain_features,
    gaussian_nats,
    gaussian_pairs,
    infonce,
)
from lrkit.study.information import (
    chain_nats,
    clock_entropy,
    fano_floor,
    information_bound,
    reconstruction_nats,
)
from lrkit.study.latent_controls import zeroed

QUICK = CriticSettings(batch=64, steps=400, width=64)


# --- InfoNCE --------------------------------------------------------------------------
@pytest.mark.parametrize("nats", [0.0, 1.5])
def test_infonce_finds_the_information_of_gaussians(nats):
    """A lower estimate, so it may be below; mixed up there is nothing."""
    x, y = gaussian_pairs(4000, 2, nats, seed=1)
    found = infonce(x, y, QUICK, seed=1)
    assert nats - 0.3 < found.value.value < nats + 0.1
    assert found.value.low <= found.value.value <= found.value.high
    assert found.mixed.value < 0.05


def test_infonce_stops_at_the_logarithm_of_its_batch():
    x, y = gaussian_pairs(2000, 4, 8.0, seed=0)
    small = infonce(x, y, CriticSettings(batch=8, steps=150, width=64))
    assert small.ceiling == pytest.approx(math.log(8))
    assert 0.85 * math.log(8) < small.value.value <= math.log(8) + 1e-6
    larger = infonce(x, y, CriticSettings(batch=64, steps=150, width=64))
    assert small.ceiling < larger.value.value <= larger.ceiling + 1e-6


def test_infonce_is_decided_by_its_random_seed_and_leaves_others_alone():
    x, y = gaussian_pairs(400, 2, 1.0)
    few = CriticSettings(batch=16, steps=20)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first = infonce(x, y, few)
    assert torch.equal(torch.rand(3), wanted)
    assert infonce(x, y, few) == first != infonce(x, y, few, seed=1)
    with pytest.raises(ValueError, match="pairs are needed: 400 of x and 399 of y"):
        infonce(x, y[1:], few)
    with pytest.raises(ValueError, match="400 pairs are too few"):
        infonce(x, y, CriticSettings(batch=128))


def test_gaussian_pairs_have_the_information_that_was_asked_for():
    x, y = gaussian_pairs(200_000, 3, 1.5)
    rho = [np.corrcoef(x[:, k], y[:, k])[0, 1] for k in range(3)]
    assert -0.5 * np.log1p(-np.square(rho)).sum() == pytest.approx(1.5, abs=0.02)
    assert y.var(0) == pytest.approx(np.ones(3), abs=0.02)


# --- the bound ------------------------------------------------------------------------
@pytest.mark.parametrize("nats", [1.5])
def test_the_bound_is_reached_by_the_right_model_and_not_by_a_wrong_one(nats):
    x, y = gaussian_pairs(5000, 3, nats)
    recon, entropy = gaussian_nats(x, y)
    found = information_bound(entropy, recon)
    assert found.low - 0.04 < nats < found.high + 0.04
    blurred = x + np.random.default_rng(9).standard_normal(x.shape)
    wrong, _ = gaussian_nats(blurred, y)
    assert information_bound(entropy, wrong).high < nats
    nothing, _ = gaussian_nats(np.zeros_like(x), y)
    assert information_bound(entropy, nothing).value == pytest.approx(0, abs=0.05)


def test_with_a_language_models_loss_it_is_a_paired_difference():
    entropy, recon = np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 3.0])
    found = information_bound(entropy, recon)
    assert found.value == pytest.approx(2.0) and found.low < 2.0 < found.high


@pytest.mark.parametrize("seen", [False, True])
def test_nats_of_chains_are_sums_over_their_tokens(chatml, seen):
    model, rows = thinker(chatml, recon_sees_question=seen)
    some = [p for p in PROBLEMS if p.steps]
    found = reconstruction_nats(model, rows, some)
    for p, nats in zip(some, found, strict=True):
        alone = reconstruction_nats(model, rows, [p])
        assert alone == pytest.approx([nats], rel=1e-3)
        with torch.no_grad():
            out = model(**ThinkerCollator.of(model)([rows.both(p)]))
        n = len(rows.steps(p.steps))
        assert nats == pytest.approx(float(out.recon_loss) * n, rel=1e-3)
    assert reconstruction_nats(model, rows, PROBLEMS)[3] == 0, "it has no chain"
    without = reconstruction_nats(model, rows, some, zeroed)
    assert (np.abs(without / found - 1) > 1e-5).all()


@torch.no_grad()
def test_nats_of_chains_behind_their_questions(chatml):
    model, rows = thinker(chatml)
    some = PROBLEMS[:3]
    for p, nats in zip(some, chain_nats(model, rows, some), strict=True):
        before, chain = rows.question(p.question), rows.steps(p.steps)
        logits = model(torch.tensor([[*before, *chain]])).logits[0]
        logp = logits[len(before) - 1 : -1].log_softmax(-1)
        wanted = -logp[torch.arange(len(chain)), torch.tensor(chain)].sum()
        assert nats == pytest.approx(float(wanted), rel=1e-3)


# --- what is known of generated chains ------------------------------------------------
def test_the_entropy_of_clock_chains_by_counting():
    """For each length the surprise of every chain, weighted by its probability."""
    n = 5
    ways = {op: len(clock.operands(op, n, False)) for op in clock.OPERATIONS}
    step = {op: 1 / len(ways) / many for op, many in ways.items()}
    one = -sum(many * step[op] * math.log(step[op]) for op, many in ways.items())
    chains = [math.log(5) + math.log(n) + length * one for length in range(1, 6)]
    assert clock_entropy(n) == pytest.approx(np.mean(chains))
    assert clock_entropy(n, 0.1) == pytest.approx(np.mean(chains) + math.log(0.1))


def test_a_chain_tells_its_start_and_its_operations():
    """Else the entropy would be that of more than the chain."""
    some = {}
    for p in problems("clock", "train", 3000):
        made = (p.made_from["start"], str(p.made_from["operations"]))
        assert some.setdefault(p.steps, made) == made


def test_features_of_chains_tell_them_apart():
    train, test = problems("clock", "train", 200), problems("clock", "validation", 50)
    x, y = chain_features(train, test)
    assert x.shape[1] == y.shape[1] and set(np.unique(x)) == {0, 1}
    assert (x.sum(1) == [1 + 2 * p.n_steps for p in train]).all()
    rows = {p.steps: tuple(v) for p, v in zip(train, x, strict=True)}
    assert len(set(rows.values())) == len(rows)
    assert chain_features([problem(2)])[1].shape[0] == 0


# --- Fano -----------------------------------------------------------------------------
def test_fanos_floor_is_reached_by_symmetric_errors_and_never_passed():
    for n in (2, 10, 97):
        for e in (0.01, 0.3, 0.45):
            h = -e * math.log(e) - (1 - e) * math.log(1 - e)
            assert fano_floor(h + e * math.log(n - 1), n) == pytest.approx(e, abs=1e-6)
        assert fano_floor(0.0, n) == 0
        assert fano_floor(math.log(n), n) == pytest.approx((n - 1) / n, abs=1e-4)
    rng = np.random.default_rng(0)
    for _ in range(50):  # the best guess from any joint distribution errs at least so
        joint = rng.dirichlet(np.full(20, 0.3)).reshape(5, 4)
        left = -np.nansum(joint * np.log(joint / joint.sum(0)))
        assert 1 - joint.max(0).sum() >= fano_floor(left, 5) - 1e-9
    for bad in ((1.0, 1), (-0.1, 4), (2.0, 4)):
        with pytest.raises(ValueError, match="nats open"):
            fano_floor(*bad)
