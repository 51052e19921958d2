"""The IDX format of MNIST and its descendants: a header of big-endian numbers, then the values.

http://yann.lecun.com/exdb/mnist/ describes it: two zero bytes, one byte for the type of the values (8: uint8), one for
the number of dimensions, then each dimension as four bytes.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

from imagier.errors import DataError

_UINT8 = 8
_CURE = "Delete the file and download or unpack it again."


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read the uint8 array of `dimensions` axes in `path`, gzipped if its name ends in .gz; it is read-only.

    Raises:
        DataError: the file cannot be read or decompressed, is of another type, or contradicts its header in length.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. {_CURE}") from error
    header = 4 + 4 * dimensions
    expected = bytes([0, 0, _UINT8, dimensions])
    if data[:4] != expected:
        raise DataError(
            f"{path} starts with the bytes {data[:4].hex(' ') or '(none, it is empty)'}; an IDX file of uint8 values "
            f"in {dimensions} dimension(s) starts with {expected.hex(' ')}. {_CURE}"
        )
    if len(data) < header:
        raise DataError(f"{path} ends within its header, after {len(data)} of {header} bytes. {_CURE}")
    shape = [int(side) for side in np.frombuffer(data, ">u4", count=dimensions, offset=4)]
    size = int(np.prod(shape, dtype=object))
    if len(data) - header != size:
        raise DataError(
            f"{path} has {len(data) - header} values, but its header announces {' x '.join(map(str, shape))} = "
            f"{size}. {_CURE}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
