"""Solutions to the exercises of 11 · Latents as superpositions."""

import numpy as np
import torch

from lrkit.study.parallelism import effective_number, shares


def superposed(table, logits, k):
    """[n, width] mixtures for logits [n, vocabulary]; table [vocabulary, width]."""
    top, ids = logits.topk(k, dim=-1)
    rows = table.detach()[ids]
    return torch.einsum("nk,nkw->nw", top.softmax(-1), rows)


def who_reads_whom(is_latent):
    """[columns, columns] of True where the row reads the column."""
    n = len(is_latent)
    before = torch.ones(n, n, dtype=torch.bool).tril()
    return before & (~is_latent | torch.eye(n, dtype=torch.bool))


def scores_for(m, n_eff, best):
    """m path scores with the given N_eff, the highest of them `best`."""
    low, high = 0.0, 60.0
    for _ in range(100):
        d = (low + high) / 2
        scores = np.array([0.0, *[-d] * (m - 1)])
        if effective_number(shares(scores)) > n_eff:
            low = d
        else:
            high = d
    return scores + best
