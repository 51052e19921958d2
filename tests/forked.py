"""The body of the processes that `conftest.imagier` forks from one that has imported everything."""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = ["imagier.cli", "imagier.training.run", "imagier.training.evaluation", "imagier.exporting", __name__]


def speak(script: str, words: Sequence[str], cwd: Path, environment: Mapping[str, str], said: str) -> None:
    """Run a command as `python SCRIPT WORDS` would in the folder `cwd`, with its output appended to the file `said`."""
    from imagier import cli

    file = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    multiprocessing.set_start_method(None, force=True)  # restore the default: this process came from a forkserver
    sys.argv = [script, *words]
    cli.main(Path(script).stem)
