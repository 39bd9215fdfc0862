"""Laws of how alike latents are."""

import pytest
import torch

from lrkit.study.latent_spread import question_cosines


def test_cosines_are_those_of_the_definition_pair_by_pair():
    torch.manual_seed(0)
    latents = {"a": torch.randn(4, 3, 6) + 1, "b": torch.randn(5, 2, 6)}
    table = question_cosines(latents)
    means = {k: v.mean(1) for k, v in latents.items()}
    centre = torch.cat([means["a"], means["b"]]).mean(0)
    for one in latents:
        for other in latents:
            pairs = [
                torch.cosine_similarity(x - centre, y - centre, 0).item()
                for i, x in enumerate(means[one])
                for j, y in enumerate(means[other])
                if one != other or i != j
            ]
            expected = sum(pairs) / len(pairs)
            assert table.loc[one, other] == pytest.approx(expected, abs=1e-5)


def test_constants_have_nothing_left_and_tasks_apart_are_opposite():
    same = torch.ones(3, 2, 4)
    table = question_cosines({"a": same, "b": same})
    assert table.to_numpy() == pytest.approx(0, abs=1e-6)
    apart = question_cosines({"a": same, "b": -same})
    assert apart.loc["a", "a"] == pytest.approx(1) == -apart.loc["a", "b"]
    with pytest.raises(ValueError, match="'c' has one question"):
        question_cosines({"c": same[:1]})
