"""Augmentation of an image together with its target."""
