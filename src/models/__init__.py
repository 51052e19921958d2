"""Nets: one file a net, torch only. Each takes normalised float images and returns logits."""
