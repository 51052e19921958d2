"""A student report's Fashion-MNIST classifier in Keras, trained as in the report: the rival of time_to_accuracy.py.

    [Conv32 ReLU BN, Conv32 ReLU BN, MaxPool, Dropout] [Conv64 ..., Conv64 ..., MaxPool, Dropout] Dense128 ReLU Dropout

Adam at 1e-3, batches of 128, cross-entropy, 90 % of the training images, no augmentation. Prints one line of JSON per
epoch with its test accuracy. Needs only tensorflow and keras.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

BEGAN = time.perf_counter()  # before the imports, so that they count

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

BATCH, TRAINED = 128, 0.9


def main() -> None:
    """Train until the accuracy is reached or all epochs are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds the four files of Fashion-MNIST, plain or with .gz")
    parser.add_argument("--accuracy", type=float, default=0.92, help="on the test images, at which to stop")
    parser.add_argument("--epochs", type=int, default=10, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    keras.utils.set_random_seed(given.seed)
    images, labels = read(given.folder, "train")
    test = read(given.folder, "t10k")
    count = round(TRAINED * len(images))
    net = network()
    net.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(given.epochs):
        net.fit(images[:count], labels[:count], batch_size=BATCH, verbose=0)
        accuracy = net.evaluate(*test, batch_size=BATCH, verbose=0)[1]
        seconds = round(time.perf_counter() - BEGAN, 2)
        print(json.dumps({"epoch": epoch + 1, "seconds": seconds, "accuracy": round(float(accuracy), 4)}), flush=True)
        if accuracy >= given.accuracy:
            break


def network() -> keras.Model:
    """Build the network; it has 468,202 trainable parameters."""
    stack = [keras.Input((28, 28, 1))]
    for width in (32, 64):
        for _ in range(2):
            stack += [layers.Conv2D(width, 3, padding="same", activation="relu"), layers.BatchNormalization()]
        stack += [layers.MaxPooling2D(), layers.Dropout(0.2)]
    stack += [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.2)]
    return keras.Sequential([*stack, layers.Dense(10, activation="softmax")])


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images, float32 [N, 28, 28, 1] from 0 to 1, and labels, uint8 [N]."""
    images = content(folder / f"{part}-images-idx3-ubyte")[16:].reshape(-1, 28, 28, 1)
    return images.astype(np.float32) / 255, content(folder / f"{part}-labels-idx1-ubyte")[8:]


def content(path: Path) -> np.ndarray:
    """Return the bytes of a file, or those of its .gz, as uint8."""
    packed = path.with_name(f"{path.name}.gz")
    return np.frombuffer(path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes()), np.uint8)


if __name__ == "__main__":
    main()
