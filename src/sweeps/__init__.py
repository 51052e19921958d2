"""Sweeps: many runs of one sentence, over a grid of values or guided by optuna, and what they come to."""
