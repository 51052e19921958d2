"""SIGTERM and SIGINT, for as long as somebody else than Python is to answer them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def answered_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let `handler` answer both while the block runs, and then whoever did before."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
