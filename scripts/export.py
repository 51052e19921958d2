"""python scripts/export.py key=value ...: the same as `imagier export`."""

from imagier.cli import main

if __name__ == "__main__":
    main("export")
