"""Randomness as a pure function of (seed, epoch, sample index), or of (seed, step) on the device.

No generator carries state from one sample to the next, so results depend neither on the number of workers nor on where
a run was interrupted. The first word names the purpose, so that two uses of the same numbers stay independent.
"""

import hashlib

import numpy as np


def derive_seed(*words: int | str) -> int:
    """Hash integers and names to a 63-bit seed; equal words give equal seeds on every machine."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(*words: int | str) -> np.random.Generator:
    """Return a NumPy generator for `words`, for instance `generator("augment", seed, epoch, index)`."""
    return np.random.Generator(np.random.Philox(derive_seed(*words)))


def sample_seeds(key: int, indices: np.ndarray) -> np.ndarray:
    """Return one seed per sample, a function of `key` and its index: uint64 [B], below 2**63.

    Hashing each one in Python would take longer than reading a small image.
    """
    return _mixed(np.uint64(key) + (indices.astype(np.uint64) + np.uint64(1)) * _STEP) >> np.uint64(1)


def uniforms(seeds: np.ndarray, count: int) -> np.ndarray:
    """Return `count` numbers in [0, 1) for each of `seeds`, uint64 [B]: float64 [B, count]."""
    places = np.arange(1, count + 1, dtype=np.uint64) * _STEP
    return (_mixed(seeds[:, None] + places) >> np.uint64(11)) * 2.0**-53


_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mixed(words: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014): each output bit depends on all input bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Return the order in which `size` samples are visited in `epoch`: int64 [size]."""
    return generator("order", seed, epoch).permutation(size)


def fraction(name: str) -> float:
    """Return a number in [0, 1) that depends on `name` alone, so that splits do not change when files are added."""
    return derive_seed("split", name) / 2**63
