"""Where a data set's files are: in the user's folder, or generated into the cache."""

from pathlib import Path

from imagier import synthetic
from imagier.errors import ConfigError, DataError, nearest


def locate(name: str, *, root: Path | None, embedded: str | None, cache: Path, expects: str) -> Path:
    """The folder of data set `name`: `root`, or that of the embedded set, which is generated when it is not there yet.

    Args:
        name: as in `data=NAME`.
        root: what the user gave as data.root.
        embedded: name of a set of `imagier.synthetic`, or None.
        cache: where embedded sets lie.
        expects: what `root` must hold, to complete the sentence "set data.root to ...".

    Raises:
        ConfigError: neither or both of `root` and `embedded` are given.
        DataError: `root` is not a folder.
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
        siblings = (entry.name for entry in beside if entry.is_dir())  # of a file, its own name would be the nearest
        hint = nearest(root.name, siblings)
        raise DataError(f"data.root={root} is not a folder.{hint} Set it to {expects}.")
    return root
