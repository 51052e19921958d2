"""Going once through all samples of a split: in parallel, in their order, with a bounded number of them in memory."""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset

from imagier.datamodules.decoded import Packed, Writer, pack
from imagier.datamodules.loader import Source, available_cores
from imagier.datamodules.looking import Outcome, look_closely

log = logging.getLogger(__name__)

_AT_ONCE = 1 << 20  # bytes that are decoded before they are handed on: for small pictures a hand-over is dear
_MOST_AT_ONCE = 256  # samples
_MANY = 4000  # samples from which processes are worth their start
_SMALL = 1 << 15  # bytes of a sample under which Python, which threads share, takes longer than its decoding


class Seen(NamedTuple):
    """What was found in a few samples, and the samples themselves where they are to be kept."""

    outcomes: list[Outcome]
    packed: Packed | None


class Chunks(Dataset[Seen]):
    """A few samples of a source at a time: `Chunks(...)[n]` looks at those of the n-th chunk."""

    def __init__(
        self, source: Source, positions: Sequence[int], length: int, size: tuple[int, int] | None, keep: bool
    ) -> None:
        self.source, self.positions, self.length, self.size, self.keep = source, positions, length, size, keep

    def __len__(self) -> int:
        return -(-len(self.positions) // self.length)

    def __getitem__(self, number: int) -> Seen:
        chosen = self.positions[number * self.length : (number + 1) * self.length]
        looked = [look_closely(self.source, position) for position in chosen]
        samples = [None if isinstance(outcome, str) else sample for outcome, sample in looked]
        return Seen([outcome for outcome, _ in looked], pack(samples, self.size) if self.keep else None)


def survey(
    split: str,
    source: Source,
    positions: Sequence[int],
    size: tuple[int, int] | None = None,
    writer: Writer | None = None,
) -> Iterator[Outcome]:
    """Look at the samples at `positions`, and let `writer` keep them; yields what was found, in the same order.

    After a second, a terminal shows how far it is. A writer that meets a full disk is let go with a line in the log.

    Args:
        split: for the progress bar.
        source: whose `read` is called from several threads, unless it says that it lies in memory.
        positions: all of them, where there is a writer.
        size: (height, width) to which kept samples are resized, or None.
        writer: where to keep the samples decoded, or None.
    """
    if not positions:
        return
    if getattr(source, "in_memory", False):
        yield from (look_closely(source, position)[0] for position in positions)
        return
    try:
        for seen in _bar(f"reading {split}", len(positions), _in_order(source, positions, size, writer is not None)):
            yield from seen.outcomes
            if writer is not None and seen.packed is not None:
                writer = _unless_full(writer, partial(writer.add, seen.packed))
        if writer is not None:
            _unless_full(writer, writer.finish)
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise


def _unless_full(writer: Writer, write: Callable[[], object]) -> Writer | None:
    """Let `writer` write; returns it, if it can go on. What is buffered meets a full disk only at the end."""
    try:
        write()
    except OSError as error:
        writer.abandon()
        log.warning(
            "the samples are not kept decoded (%s), so each epoch decodes them again; `imagier cache` shows what could "
            "make room, and data.decode_once=false does without trying",
            error,
        )
        return None
    return writer


def _in_order(source: Source, positions: Sequence[int], size: tuple[int, int] | None, keep: bool) -> Iterator[Seen]:
    first = Chunks(source, positions[:1], 1, size, keep=True)[0]
    yield first
    assert first.packed is not None
    length = max(1, len(first.packed.pixels))
    rest = Chunks(source, positions[1:], max(1, min(_MOST_AT_ONCE, _AT_ONCE // length)), size, keep)
    small = 1 < length < _SMALL and len(positions) >= _MANY
    yield from _by_processes(rest) if small and sys.platform == "linux" and available_cores() > 1 else _by_threads(rest)


def _by_threads(chunks: Chunks) -> Iterator[Seen]:
    """Threads suffice where decoding, which releases the interpreter's lock, takes most of the time."""
    threads = min(16, os.cpu_count() or 1)
    pending: deque[Future[Seen]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for number in range(len(chunks)):
                pending.append(pool.submit(chunks.__getitem__, number))
                if len(pending) > 2 * threads:  # more of them ahead would only fill the memory
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _by_processes(chunks: Chunks) -> Iterator[Seen]:
    """Small files cost more Python than decoding, which only processes do at the same time."""
    yield from DataLoader(chunks, batch_size=None, num_workers=min(8, available_cores()), collate_fn=_as_it_is)


def _as_it_is(seen: Any) -> Any:
    return seen


def _bar(what: str, total: int, steps: Iterator[Seen]) -> Iterator[Seen]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from steps
        return
    began, shown = time.monotonic(), False
    progress = Progress(console=console, transient=True)
    bar = progress.add_task(what, total=total)
    try:
        for step in steps:
            yield step
            progress.advance(bar, len(step.outcomes))
            if not shown and time.monotonic() - began > 1:
                progress.start()
                shown = True
    finally:
        progress.stop()
