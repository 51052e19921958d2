"""python scripts/cache.py key=value ...: the same as `imagier cache`."""

from imagier.cli import main

if __name__ == "__main__":
    main("cache")
