"""The body of a process that is forked from one which has imported everything, as `conftest.imagier` asks for it."""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = ["imagier.cli", "imagier.training.run", "imagier.training.evaluation", "imagier.exporting", __name__]


def speak(script: str, words: Sequence[str], cwd: Path, environment: Mapping[str, str], said: str) -> None:
    """Speak a sentence as `python SCRIPT WORDS` would in the folder `cwd`; what it prints goes to the file `said`."""
    from imagier import cli

    file = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    multiprocessing.set_start_method(None, force=True)  # this machine's own: it was forkserver, to come here
    sys.argv = [script, *words]
    cli.main(Path(script).stem)
