"""Nets behind HTTP: the same predictors as everywhere, asked by many at once."""
