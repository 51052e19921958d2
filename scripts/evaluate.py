"""python scripts/evaluate.py key=value ...: the same as `imagier evaluate`."""

from imagier.cli import main

if __name__ == "__main__":
    main("evaluate")
