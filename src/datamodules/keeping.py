"""Decides whether and where the decoded samples of a data set are cached."""

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imagier.datamodules.decoded import Decoded, Writer, describe, open_decoded, place
from imagier.datamodules.fingerprint import State
from imagier.datamodules.loader import Source

if TYPE_CHECKING:
    from imagier.batch import Split

log = logging.getLogger(__name__)


class Keep:
    """Cache of a data set's decoded samples, one folder per split.

    Args:
        name: data set name.
        root: folder of its files, shown by `imagier cache`.
        cache: cache folder.
        size: (height, width) to which samples are resized, or None.
        when: True, or "auto": only if they take at most half of the free disk space.
    """

    def __init__(
        self, name: str, root: Path | None, cache: Path, size: tuple[int, int] | None, when: Literal[True, "auto"]
    ) -> None:
        self.name, self.root, self.cache, self.size, self.when = name, root, cache, size, when
        self._untouched: int | None = None  # bytes of disk that all splits together must leave free

    def writer(self, split: "Split", source: Source, state: State) -> Writer | None:
        """Return a writer for a split, or None if it is in memory, already cached, or cannot be written."""
        folder = self._folder(state)
        if getattr(source, "in_memory", False) or open_decoded(source, folder) is not None:
            return None
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.cache).free
            if self._untouched is None:
                self._untouched = 0 if self.when is True else free - free // 2
            about = describe(self.name, split, str(self.root or "embedded"), self.size)
            return Writer(folder, len(source), self.size, about, most=max(0, free - self._untouched))
        except OSError as error:
            log.warning(
                "data.cache=%s cannot store decoded samples (%s); each epoch decodes them again", self.cache, error
            )
            return None

    def decoded(self, source: Source, state: State) -> Decoded | None:
        """Return the cached samples of `source`, or None."""
        if getattr(source, "in_memory", False):
            return None
        return open_decoded(source, self._folder(state))

    def _folder(self, state: State) -> Path:
        """Return the cache folder for this state, which differs once a file has been touched."""
        return place(self.cache, state.touched, self.size)
