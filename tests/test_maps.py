"""Laws of the maps: what they do to the length of what is written."""

import pytest
import torch

from lrkit.latent.maps import build_map

VECTORS = 20 * torch.randn(5, 16)


def test_the_identity_leaves_vectors_as_they_are_or_scales_them():
    assert torch.equal(build_map({"kind": "identity"}, 16)(VECTORS), VECTORS)
    scaled = build_map({"kind": "identity", "scale": 0.1}, 16)
    assert torch.equal(scaled(VECTORS), VECTORS * 0.1)
    assert not list(scaled.parameters())


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_gain_of_the_norm_starts_at_the_scale(scale):
    made = build_map({"kind": "mlp", "scale": scale}, 16)(VECTORS)
    rms = made.pow(2).mean(-1).sqrt()
    assert torch.allclose(rms, torch.full_like(rms, scale), rtol=1e-3)


def test_an_unknown_map_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no map 'magic': choose one of identity, mlp"):
        build_map({"kind": "magic"}, 16)
