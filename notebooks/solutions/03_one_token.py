"""Solutions to the exercises of 03 · One token."""

import torch


def label_probabilities(logprobs, ids):
    """({label: probability}, mass) from log-probabilities [vocabulary]."""
    per_label = torch.stack([logprobs[i].logsumexp(0) for i in ids.values()])
    proba = per_label.softmax(0)
    return dict(zip(ids, proba, strict=True)), per_label.logsumexp(0).exp()


def expected_score(logits, digit_ids):
    """Expected value over digits 0-9 of one position's logits."""
    digits = torch.tensor(list(digit_ids), dtype=torch.float)
    mass = torch.stack([logits[i].logsumexp(0) for i in digit_ids.values()])
    return (mass.softmax(0) * digits).sum()
