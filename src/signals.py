"""Temporary handlers for SIGTERM and SIGINT."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def answered_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Handle both signals with `handler` while the block runs, then restore the previous handlers."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)  # None: it was not Python's
