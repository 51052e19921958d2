"""Writing files so that a reader, or a crash, never meets half of one."""

import os
import re
import socket
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


def beside(folder: Path) -> Path:
    """The name under which this process fills a folder before it is renamed to `folder`: .NAME.HOST.PROCESS."""
    return folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}")


def left_behind(parent: Path, name: str) -> list[Path]:
    """What processes of this machine that live no longer have left in `parent` under such names.

    Args:
        parent: the folder.
        name: a regular expression for NAME.
    """
    # Whole names: on a shared disk, what node7.cluster is writing is not that of node7.
    ours = re.compile(rf"\.{name}\.{re.escape(socket.gethostname())}\.([0-9]+)")
    found = [(entry, int(match[1])) for entry in parent.glob(".*") if (match := ours.fullmatch(entry.name))]
    return [entry for entry, process in found if process != os.getpid() and not is_alive(process)]


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
