"""Writing files so that a reader, or a crash, never meets half of one."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_PREFIX = 32  # characters of a name, of four bytes at most: with all of them the name aside could be too long


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it onto `path`.

    When `write` fails (a full disk, an interrupt), the temporary file goes and whatever was at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:_PREFIX]}.", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # mkstemp gives 0600, which a colleague could not read
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def is_alive(process: int) -> bool:
    """Whether there is such a process on this machine, which may still write; where that cannot be asked, it may."""
    if os.name != "posix":  # to ask is to kill
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
