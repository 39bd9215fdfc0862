"""Conversations: the gold standard, its generator, reading, checking, labelling."""
