"""python scripts/decompress.py key=value ...: the same as `imagier decompress`."""

from imagier.cli import main

if __name__ == "__main__":
    main("decompress")
