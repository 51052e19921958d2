"""python train.py task=segment|classify|denoise|compress [model=...] [data=...] [key=value ...]"""

from imagier.cli import main

if __name__ == "__main__":
    main("train")
