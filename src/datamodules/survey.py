"""Reads all samples of a split once: in parallel, in order, and with a bounded number in memory."""

import gc
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset

from imagier.datamodules.decoded import PixelFile, Stored, Writer
from imagier.datamodules.loader import Source, as_is, available_cores
from imagier.datamodules.looking import Tally, look_closely

log = logging.getLogger(__name__)

_AT_ONCE = 1 << 18  # pixels per chunk: passing on each small image by itself would be slow
_MOST_AT_ONCE = 256  # samples per chunk
_HELD = 1 << 22  # bytes of decoded images a thread holds: chunks are sized by the first image, others may be larger
_MANY = 4000  # samples from which starting processes pays off
_SMALL = 10_000  # pixels per sample below which Python, under the GIL, takes longer than decoding


class Seen(NamedTuple):
    """Findings of a chunk of samples, and where these were stored, if at all, or the error that prevented it."""

    samples: int
    tally: Tally
    stored: Sequence[Stored] | OSError


class Chunks(Dataset[Seen]):
    """A source in chunks: `Chunks(...)[n]` examines the samples of the n-th chunk, and stores them in `file`."""

    def __init__(self, source: Source, positions: Sequence[int], length: int, file: PixelFile | None = None) -> None:
        self.source, self.positions, self.length, self.file = source, positions, length, file

    def __len__(self) -> int:
        return -(-len(self.positions) // self.length)

    def __getitem__(self, number: int) -> Seen:
        chosen = self.positions[number * self.length : (number + 1) * self.length]
        tally, samples, stored = Tally(), [], []
        held, full = 0, None  # bytes of images in memory; error of a full disk
        for met, position in enumerate(chosen, start=1):
            outcome, sample = look_closely(self.source, position)
            tally.add(position, outcome)  # here, in the worker, so that it runs in parallel
            if self.file is None or full is not None:
                continue
            samples.append(None if isinstance(outcome, str) else sample)
            held += 0 if samples[-1] is None else samples[-1][0].size
            if held >= _HELD or met == len(chosen):
                try:
                    stored.append(self.file.append(samples))
                except OSError as error:
                    full = error
                samples, held = [], 0
        return Seen(len(chosen), tally, stored if full is None else full)


def survey(
    split: str,
    source: Source,
    positions: Sequence[int],
    writer: Writer | None = None,
    may_stop: bool = False,
) -> Tally:
    """Examine the samples at `positions`, store them with `writer`, and return the findings.

    A terminal shows progress after one second. A writer that meets a full disk is abandoned with a warning.

    Args:
        split: name for the progress bar.
        source: its `read` is called from several threads or processes, unless it is `in_memory`.
        positions: positions to read; all of the source's, in order, if there is a writer.
        writer: stores the decoded samples, or None.
        may_stop: samples are read for the writer alone: if it gives up, return the findings so far.

    Raises:
        Exception: as `look_at` does.
    """
    tally = Tally()
    if not positions:
        return tally
    if getattr(source, "in_memory", False):
        return Chunks(source, positions, len(positions))[0].tally
    try:
        steps = _in_order(source, positions, writer.pixels if writer else None)
        for seen in _bar(f"reading {split}", len(positions), steps):
            tally.merge(seen.tally)
            if writer is not None:
                writer = _unless_full(writer, partial(_take_note, writer, seen.stored))
                if writer is None and may_stop:
                    return tally
        if writer is not None:
            _unless_full(writer, writer.finish)
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise
    return tally


def _take_note(writer: Writer, stored: Sequence[Stored] | OSError) -> None:
    if isinstance(stored, OSError):
        raise stored
    for one in stored:
        writer.add(one)


def _unless_full(writer: Writer, write: Callable[[], object]) -> Writer | None:
    """Call `write`; return `writer`, or None after abandoning it on an OSError such as that of a full disk."""
    try:
        write()
    except OSError as error:
        writer.abandon()
        log.warning(
            "decoded samples are not cached (%s), so each epoch decodes them again; `imagier cache` shows what could "
            "be cleared, and data.decode_once=false turns caching off",
            error,
        )
        return None
    return writer


def _in_order(source: Source, positions: Sequence[int], file: PixelFile | None) -> Iterator[Seen]:
    first = Chunks(source, positions[:1], 1, file)[0]
    yield first
    area = max((height * width for height, width in first.tally.sizes), default=0)  # 0: unreadable
    rest = Chunks(source, positions[1:], max(1, min(_MOST_AT_ONCE, _AT_ONCE // max(1, area))), file)
    small = 0 < area < _SMALL and len(positions) >= _MANY
    yield from _by_processes(rest) if small and sys.platform == "linux" and available_cores() > 1 else _by_threads(rest)


def _by_threads(chunks: Chunks) -> Iterator[Seen]:
    """Examine chunks in threads, which suffice if decoding, which releases the GIL, takes most of the time."""
    threads = min(16, available_cores())
    pending: deque[Future[Seen]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for number in range(len(chunks)):
                pending.append(pool.submit(chunks.__getitem__, number))
                if len(pending) > 2 * threads:  # bounds the memory for results
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _by_processes(chunks: Chunks) -> Iterator[Seen]:
    """Examine chunks in processes, for small files, which take more time in Python than in decoding."""
    yield from DataLoader(
        chunks,
        batch_size=None,
        num_workers=min(8, available_cores()),
        collate_fn=as_is,
        worker_init_fn=_without_collector,
    )


def _without_collector(worker: int) -> None:
    # A collection would visit all objects inherited by the fork, and so copy their memory pages.
    gc.disable()


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
            progress.advance(bar, step.samples)
            if not shown and time.monotonic() - began > 1:
                progress.start()
                shown = True
    finally:
        progress.stop()
