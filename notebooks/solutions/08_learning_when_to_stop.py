"""Solutions to the exercises of 08 · Learning when to stop."""

import random

import numpy as np


def length_term(correct, lengths, penalty=1e-4, reward=0.1):
    """Length terms of a group: a list of numbers, one for each member."""
    correct, lengths = np.asarray(correct, bool), np.asarray(lengths, float)
    terms = np.zeros(len(lengths))
    right = lengths[correct]
    if len(right) and right.max() > right.min():
        coefficient = -penalty if correct.all() else reward
        terms[correct] = coefficient * (right - right.mean()) / np.ptp(right)
    return terms.tolist()


def dealt_length(question, lengths, seed=0):
    """One of the lengths, by chance, the same for the same question and seed."""
    return random.Random(f"{seed} {question}").choice(lengths)
