"""Randomness as a pure function of (seed, epoch, sample index), or of (seed, step) on the device.

No generator is carried from one sample to the next, so results depend neither on the number of workers nor on where a
run was interrupted. `stream` names the purpose, so that two uses of the same numbers stay independent.
"""

import hashlib

import numpy as np


def derive_seed(*words: int | str) -> int:
    """Mix whole numbers and names into one seed of 63 bits; equal words give equal seeds on every machine."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(*words: int | str) -> np.random.Generator:
    """A NumPy generator for `words`, for instance `generator("augment", seed, epoch, index)`."""
    return np.random.Generator(np.random.Philox(derive_seed(*words)))


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which `size` samples are visited in `epoch`: int64 [size]."""
    return generator("order", seed, epoch).permutation(size)


def fraction(name: str) -> float:
    """A number in [0, 1) that depends on `name` alone; splits made by it stay put when files are added."""
    return derive_seed("split", name) / 2**63
