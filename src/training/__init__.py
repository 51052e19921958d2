"""A run: Trainer, callbacks, run folder, report."""
