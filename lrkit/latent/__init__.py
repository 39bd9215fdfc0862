"""Latent reasoning: vectors read from a model and written into it at named slots."""
