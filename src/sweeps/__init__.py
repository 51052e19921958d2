"""Sweeps: many runs of one command line, over a grid of values or guided by Optuna, and their results."""
