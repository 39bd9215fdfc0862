"""Laws of the rewards of a group, on random groups, and cases worked out by hand."""

import numpy as np
import pytest
import torch
from trl.trainer.utils import nanstd

from lrkit.latent.rewards import (
    advantages,
    kimi_length,
    limit_at,
    relative_length,
    within_limit,
)

WEIGHT, LIMIT = 0.7, 6
PENALTY, REWARD = 0.2, 0.1


def relative(correct, lengths):
    return relative_length(correct, lengths, PENALTY, REWARD)


REWARDS = {
    "kimi": lambda c, n: kimi_length(c, n, WEIGHT),
    "thinkprune": lambda c, n: within_limit(c, n, LIMIT),
    "relative": relative,
}
each = pytest.mark.parametrize("reward", REWARDS.values(), ids=REWARDS)


def groups(members, n=400, seed=0):
    """Random groups; the first are all wrong, the next all right, the next equal."""
    rng = np.random.default_rng([seed, members])
    correct = rng.random((n, members)) < rng.random((n, 1))
    lengths = rng.integers(1, 12, (n, members))
    correct[:20], correct[20:40], lengths[40:60] = False, True, 5
    return correct, lengths


SOME = [groups(members) for members in (1, 2, 3, 8)]
pairs = pytest.mark.parametrize("correct, lengths", SOME, ids=lambda a: a.shape[1])


# --- all of them ----------------------------------------------------------------------
@each
@pairs
def test_the_order_of_the_members_and_the_other_groups_do_not_matter(
    reward, correct, lengths
):
    order = np.random.default_rng(1).permuted(
        np.tile(np.arange(correct.shape[1]), (len(correct), 1)), axis=1
    )
    shuffle = lambda a: np.take_along_axis(a, order, 1)  # noqa: E731
    found = reward(correct, lengths)
    assert found.shape == correct.shape and np.isfinite(found).all()
    assert np.allclose(reward(shuffle(correct), shuffle(lengths)), shuffle(found))
    alone = [reward(correct[i : i + 1], lengths[i : i + 1])[0] for i in range(60)]
    assert np.array_equal(alone, found[:60])


@each
@pairs
def test_a_wrong_answer_never_gains(reward, correct, lengths):
    assert (reward(correct, lengths)[~correct] <= 0).all()


@pytest.mark.parametrize("name", ["kimi", "relative"])
@pairs
def test_lengths_that_are_all_equal_earn_nothing(name, correct, lengths):
    equal = np.full_like(lengths, 9)
    assert not REWARDS[name](correct, equal).any()
    assert not REWARDS[name](correct[:, :1], lengths[:, :1]).any(), "one member"


@pytest.mark.parametrize("name", ["kimi", "relative"])
@pairs
def test_the_unit_of_the_lengths_does_not_matter(name, correct, lengths):
    reward = REWARDS[name]
    expected = reward(correct, lengths)
    assert np.allclose(reward(correct, 3.5 * lengths + 7), expected)


@each
def test_groups_that_do_not_fit_are_refused(reward):
    for shapes in (((2, 3), (2, 4)), ((3,), (3,)), ((2, 0), (2, 0))):
        with pytest.raises(ValueError, match="must both be"):
            reward(*(np.zeros(shape) for shape in shapes))


def rising(reward, correct, lengths, sign):
    """Among members of one kind, the reward follows `sign` times the length."""
    found = np.where(correct, reward, np.nan)
    by_length = sign * lengths
    longer = by_length[:, :, None] > by_length[:, None, :]
    worse = found[:, :, None] < found[:, None, :] - 1e-12
    return not (longer & worse).any()


# --- each of them ---------------------------------------------------------------------
@pairs
def test_under_kimi_and_thinkprune_shorter_never_earns_less(correct, lengths):
    for name in ("kimi", "thinkprune"):
        found = REWARDS[name](correct, lengths)
        assert rising(found, correct, lengths, -1), name
        assert rising(found, ~correct, lengths, -1), (
            "wrong ones are not paid for length"
        )


@pairs
def test_kimi_keeps_its_range_and_right_above_wrong(correct, lengths):
    found = kimi_length(correct, lengths, WEIGHT)
    assert (np.abs(found) <= WEIGHT / 2).all()
    assert np.allclose(found, WEIGHT * kimi_length(correct, lengths))
    total = correct + kimi_length(correct, lengths, 1.99)
    lowest = np.where(correct, total, np.inf).min(1)
    assert (lowest > np.where(correct, -np.inf, total).max(1)).all()


def test_kimi_by_hand():
    # min 2, max 10: lambda = 0.5 - (len - 2) / 8
    found = kimi_length([[1, 1, 1, 0, 0, 0]], [[2, 4, 10, 2, 8, 10]], 2.0)
    assert np.allclose(found, [[1.0, 0.5, -1.0, 0.0, -0.5, -1.0]])


def test_thinkprune_by_hand():
    found = within_limit([[1, 1, 1, 0, 0]], [[5, 6, 7, 5, 7]], 6)
    assert found.tolist() == [[1, 1, 0, 0, 0]]
    rounds = [limit_at(step, 7, (30, 20, 10)) for step in range(9)]
    assert rounds == [30, 30, 30, 20, 20, 10, 10, 10, 10]
    assert limit_at(0, 1, (4, 3)) == 4 and limit_at(5, 100, (4,)) == 4


@pairs
def test_the_relative_term_is_zero_sum_among_the_right(correct, lengths):
    found = relative(correct, lengths)
    assert np.allclose(found.sum(1), 0)
    assert not found[~correct].any()
    highest = np.where(correct.all(1, keepdims=True), PENALTY, REWARD)
    assert (np.abs(found) <= highest).all()


@pairs
def test_the_relative_term_shortens_what_is_mastered_and_lengthens_the_rest(
    correct, lengths
):
    found = relative(correct, lengths)
    for p_cutoff in (0.0, 0.5, 1.0):
        mastered = correct.mean(1) >= p_cutoff
        found = relative_length(correct, lengths, PENALTY, REWARD, p_cutoff)
        for which, sign in ((mastered, -1), (~mastered, 1)):
            assert rising(found[which], correct[which], lengths[which], sign)


def test_the_relative_term_by_hand():
    # All right: mean 4, spread 6. Two of four right: mean 3, spread 2; 9 is not seen.
    found = relative_length([[1, 1, 1], [1, 1, 0]], [[2, 2, 8], [2, 4, 9]], 0.6, 0.1)
    assert np.allclose(found, [[0.2, 0.2, -0.4], [-0.05, 0.05, 0]])
    found = relative_length([[1, 1, 0]], [[2, 4, 9]], 0.6, 0.1, p_cutoff=0.5)
    assert np.allclose(found, [[0.3, -0.3, 0]])


# --- what GRPO makes of them ----------------------------------------------------------
def test_advantages_are_those_that_trl_computes():
    """Its lines, in its own precision, on rewards such as ours."""
    correct, lengths = groups(4)
    rewards = correct + relative_length(correct, lengths)
    theirs = torch.tensor(rewards, dtype=torch.float32).flatten()
    mean = theirs.view(-1, 4).nanmean(1).repeat_interleave(4)
    spread = nanstd(theirs.view(-1, 4), dim=1).repeat_interleave(4)
    expected = ((theirs - mean) / (spread + 1e-4)).view(-1, 4).numpy()
    assert np.allclose(advantages(rewards), expected, atol=5e-3)
    assert np.allclose(advantages(correct), advantages(5 + 1.0 * correct))


@pairs
def test_advantages_of_a_group_are_zero_sum_and_nothing_among_equals(correct, lengths):
    if correct.shape[1] < 2:
        with pytest.raises(ValueError, match="two members or more"):
            advantages(correct)
        return
    found = advantages(correct + relative(correct, lengths))
    assert np.isfinite(found).all() and np.allclose(found.sum(1), 0, atol=1e-9)
    assert not advantages(np.ones_like(lengths)).any()
    assert not advantages(np.ones_like(lengths), epsilon=0.0).any()


def mastered(lambda_penalty, epsilon):
    """Advantages of four right answers, by thoughts of 4, 6, 8 and 10."""
    length = relative_length(np.ones((1, 4)), [[4, 6, 8, 10]], lambda_penalty)
    return advantages(1 + length, epsilon)[0]


def test_the_published_penalty_acts_through_trls_epsilon():
    full = mastered(1e-4, 0.0)
    assert np.allclose(full, [1.162, 0.387, -0.387, -1.162], atol=1e-3)
    # The spread of the rewards is 4.303e-5: less than a third is left.
    assert np.allclose(mastered(1e-4, 1e-4) / full, 4.303e-5 / 14.303e-5, rtol=1e-3)


def test_without_an_epsilon_the_weight_of_the_penalty_makes_no_difference():
    for weight in (1e-6, 1e-4, 1e-2, 1.0):
        assert np.allclose(mastered(weight, 0.0), mastered(1e-4, 0.0), rtol=1e-6)
    # With one, the pressure rises with the weight and falls with the epsilon.
    by_weight = [mastered(w, 1e-4)[0] for w in (1e-6, 1e-4, 1e-2, 1.0)]
    by_epsilon = [mastered(1e-4, e)[0] for e in (1e-8, 1e-6, 1e-4, 1e-2)]
    assert by_weight == sorted(by_weight) and by_weight[0] < 0.01 < 1.1 < by_weight[-1]
    assert by_epsilon[::-1] == sorted(by_epsilon)
    assert by_epsilon[0] > 1.16 and by_epsilon[-1] < 0.01


def test_a_wrong_member_drowns_the_length_term():
    """Where one of the group is wrong, the spread is that of right and wrong."""
    correct, lengths = [[1, 1, 1, 0]], [[4, 6, 8, 10]]
    plain = advantages(np.array(correct, float))[0]
    with_length = advantages(correct + relative_length(correct, lengths))[0]
    assert np.allclose(plain, with_length, atol=0.15)
    assert with_length[2] > with_length[1] > with_length[0], "longer is paid here"
