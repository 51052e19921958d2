"""python scripts/predict.py key=value ...: the same as `imagier predict`."""

from imagier.cli import main

if __name__ == "__main__":
    main("predict")
