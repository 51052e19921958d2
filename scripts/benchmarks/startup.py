"""How long a user waits before anything happens."""

from argparse import Namespace
from collections.abc import Iterator

from timing import Row, in_turn, run_python


def compare(given: Namespace) -> Iterator[Row]:
    """Composing a sentence, against importing torch."""
    for words in (("task=classify", "--cfg", "job"), ("--help",)):
        ours, theirs = in_turn(
            lambda words=words: run_python("train.py", *words), lambda: run_python("-c", "import torch"), given.repeats
        )
        yield Row(f"python train.py {' '.join(words)}", 'python -c "import torch"', "cost", 1 / 3, ours, theirs)
