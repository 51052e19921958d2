"""Write files atomically: a reader never finds a partial file, not even after a crash."""

import os
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

_PREFIX = 32  # characters of a name, up to four bytes each; the whole name could make the temporary one too long


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    If `write` fails (a full disk, an interrupt), the temporary file is removed and any existing `path` is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:_PREFIX]}.", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # mkstemp creates files that only their owner can read
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def beside(folder: Path) -> Path:
    """Return the temporary path where this process fills a folder before renaming it: .NAME.HOST.PROCESS."""
    return folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}")


def left_behind(parent: Path, name: str) -> list[Path]:
    """List the temporary paths in `parent` (see `beside`) that dead processes of this machine have left behind.

    Args:
        parent: the folder that contains them.
        name: a regular expression for NAME.
    """
    # Match the whole host name: on a shared disk, node7 must not remove what node7.cluster is writing.
    ours = re.compile(rf"\.{name}\.{re.escape(socket.gethostname())}\.([0-9]+)")
    found = [(entry, int(match[1])) for entry in parent.glob(".*") if (match := ours.fullmatch(entry.name))]
    return [entry for entry, process in found if process != os.getpid() and not is_alive(process)]


def is_alive(process: int) -> bool:
    """Whether a process with this id runs on this machine; always True outside POSIX, where it cannot be checked."""
    if os.name != "posix":  # os.kill would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True
