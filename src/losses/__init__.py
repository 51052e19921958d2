"""Losses that torch does not have in the form the tasks need."""
