"""Locates a data set's files: in the user's folder, or generated into the cache."""

from pathlib import Path

from imagier import synthetic
from imagier.errors import ConfigError, DataError, nearest


def locate(name: str, *, root: Path | None, embedded: str | None, cache: Path, expects: str) -> Path:
    """Return the folder of data set `name`: `root`, or that of the embedded set, which is generated if missing.

    Args:
        name: as in `data=NAME`.
        root: the user's data.root, if any.
        embedded: name of a set of `imagier.synthetic`, or None.
        cache: folder of embedded sets.
        expects: what `root` must hold; completes the sentence "set data.root to ...".

    Raises:
        ConfigError: neither or both of `root` and `embedded` are given, or there is no such embedded set.
        DataError: `root` is not a folder, or the embedded set cannot be written.
    """
    if embedded:
        if root:
            raise ConfigError(
                f"data={name} is generated into data.cache, so data.root={root} would be ignored. Remove data.root, "
                "or choose the data set that reads folders of this kind."
            )
        return synthetic.ensure(embedded, cache)
    if root is None:
        raise ConfigError(f"data={name} needs the location of its files: set data.root to {expects}.")
    if not root.is_dir():
        beside = root.parent.iterdir() if root.parent.is_dir() else ()
        siblings = (entry.name for entry in beside if entry.is_dir())  # else a file's own name would be nearest
        hint = nearest(root.name, siblings)
        raise DataError(f"data.root={root} is not a folder.{hint} Set it to {expects}.")
    return root
