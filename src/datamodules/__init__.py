"""Data modules: they know files, and hand out uint8 batches and facts."""
