"""Going once through all samples of a split: in parallel, in their order, with a bounded number of them in memory."""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from rich.console import Console
from rich.progress import Progress

from imagier.datamodules.decoded import Record, Writer, to_record
from imagier.datamodules.loader import Source
from imagier.datamodules.looking import Outcome, look_closely

log = logging.getLogger(__name__)

_AT_ONCE = 1 << 20  # bytes that a thread decodes before it hands them on: for small pictures a hand-over is dear
_MOST_AT_ONCE = 16  # samples

Seen = list[tuple[Outcome, Record | None]]


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
        for outcome, record in _bar(f"reading {split}", len(positions), _in_order(source, positions, size, writer)):
            yield outcome
            writer = _kept(writer, record)
        if writer is not None:
            writer.finish()
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise


def _kept(writer: Writer | None, record: Record | None) -> Writer | None:
    """Give `record` to `writer`; returns the writer, if it can go on."""
    if writer is None:
        return None
    try:
        writer.add(record)
    except OSError as error:
        writer.abandon()
        log.warning(
            "the samples are not kept decoded (%s), so each epoch decodes them again; `imagier cache` shows what could "
            "make room, and data.decode_once=false does without trying",
            error,
        )
        return None
    return writer


def _in_order(
    source: Source, positions: Sequence[int], size: tuple[int, int] | None, writer: Writer | None
) -> Iterator[tuple[Outcome, Record | None]]:
    threads = min(16, os.cpu_count() or 1)
    outcome, record = _look(source, positions[:1], size, keep=True)[0]
    length = record.nbytes if record is not None else _AT_ONCE
    yield outcome, record if writer is not None else None
    chunk = max(1, min(_MOST_AT_ONCE, _AT_ONCE // length))
    pending: deque[Future[Seen]] = deque()
    # Threads suffice: decoding releases the interpreter's lock.
    with ThreadPoolExecutor(threads) as pool:
        try:
            for first in range(1, len(positions), chunk):
                chosen = positions[first : first + chunk]
                pending.append(pool.submit(_look, source, chosen, size, writer is not None))
                if len(pending) > 2 * threads:  # more of them ahead would only fill the memory
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _look(source: Source, positions: Sequence[int], size: tuple[int, int] | None, keep: bool) -> Seen:
    seen: Seen = []
    for position in positions:
        outcome, sample = look_closely(source, position)
        kept = to_record(*sample, size) if keep and sample is not None and not isinstance(outcome, str) else None
        seen.append((outcome, kept))
    return seen


def _bar(
    what: str, total: int, steps: Iterator[tuple[Outcome, Record | None]]
) -> Iterator[tuple[Outcome, Record | None]]:
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
            progress.advance(bar)
            if not shown and time.monotonic() - began > 1:
                progress.start()
                shown = True
    finally:
        progress.stop()
