"""python scripts/evaluate.py key=value ...: the same as `imagier evaluate`."""  # noqa: D400

from imagier.cli import main

if __name__ == "__main__":
    main("evaluate")
