"""Augmentation of images together with their targets."""
