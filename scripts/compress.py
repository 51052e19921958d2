"""python scripts/compress.py key=value ...: the same as `imagier compress`."""

from imagier.cli import main

if __name__ == "__main__":
    main("compress")
