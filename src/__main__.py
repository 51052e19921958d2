"""Entry point of `python -m imagier`, the same as `imagier`."""

from imagier.cli import main

main()
