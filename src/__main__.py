"""`python -m imagier` is `imagier`."""

from imagier.cli import main

main()
