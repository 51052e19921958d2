"""The version, in one place: packaging, run folders and checkpoints read it from here."""

__version__ = "0.1.0"
