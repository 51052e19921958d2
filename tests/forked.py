"""The body of a process that is forked from one which has imported everything, as `conftest.imagier` asks for it."""

import os
import sys

PRELOADED = ["imagier.cli", "imagier.training.run", "imagier.training.evaluation", "imagier.exporting", "tests.forked"]


def speak(script: str, words: tuple[str, ...], cwd: str, environment: dict[str, str], said: str) -> None:
    """Speak a sentence as `python SCRIPT WORDS` would in the folder `cwd`; what it prints goes to the file `said`."""
    from pathlib import Path

    from imagier import cli

    file = os.open(said, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [script, *words]
    cli.main(Path(script).stem)
