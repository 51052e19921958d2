"""The format of compressed files: a header of about twenty bytes, followed by the codec's payload.

    "imgr" | version | channels | rate | height | width | network fingerprint, 4 bytes | CRC-32, 4 bytes | payload

Version to width are varints (seven bits per byte, lowest first; the eighth bit says that more follow); fingerprint and
checksum are little-endian. The checksum covers everything but itself.
"""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from imagier.errors import ConfigError, DataError
from imagier.models.coded import Codec, to_pixels
from imagier.models.pixels import FromPixels, crop, extended

MAGIC = b"imgr"
VERSION = 3  # 1 had hyper-synthesis on another grid, 2 shorter factors in transposed convolutions
_MOST_PIXELS, _LONGEST_SIDE = 1 << 28, 1 << 16  # a tiny file must not be able to exhaust memory
Analysis = Callable[[Tensor, int], Sequence[Tensor]]  # takes an image, uint8 [1, C, H, W] of any size, and a rate
_ANEW = "Compress the image again, or use an intact copy of the file."


@dataclass(frozen=True)
class Header:
    """What a file states about its image and the network that wrote it."""

    channels: int
    rate: int
    height: int
    width: int
    fingerprint: int

    def to_bytes(self) -> bytes:
        """Return the header without the checksum."""
        numbers = (VERSION, self.channels, self.rate, self.height, self.width)
        return MAGIC + b"".join(map(_varint, numbers)) + struct.pack("<I", self.fingerprint)


def compress(net: FromPixels, image_CHW: Tensor, rate: int = 0, analyse: Analysis | None = None) -> bytes:
    """Compress one image, uint8 [C, H, W], at the trade-off `net.net.lambdas[rate]`, and return the file's bytes.

    `analyse` may replace `Codec.analyse`, for instance by an exported graph. Small numerical differences change the
    file slightly, but it decodes like any other.

    Raises:
        ConfigError: if `net` is not a codec or has no such rate.
        DataError: if the number of channels is not the network's, or the image is empty or too large.
    """
    codec = codec_of(net)
    channels, height, width = image_CHW.shape
    if not 0 <= rate < len(codec.lambdas):
        raise ConfigError(f"rate={rate} is out of range: the rates of this network are 0 to {len(codec.lambdas) - 1}.")
    _check_channels(net, channels)
    _check_size(height, width)
    header = Header(channels, rate, height, width, codec.fingerprint()).to_bytes()
    if analyse is None:
        payload = codec.encode(net.normalized(image_CHW[None].to(net.mean.device)), rate)
    else:
        payload = codec.write(analyse(image_CHW[None], rate), rate)
    return header + struct.pack("<I", zlib.crc32(payload, zlib.crc32(header))) + payload


def decompress(net: FromPixels, data: bytes) -> Tensor:
    """Return the image, uint8 [C, H, W], of a file that `compress` wrote with this network, on any machine.

    The result is bit-identical on every machine, with any number of threads: see `imagier.models.exact`.

    Raises:
        ConfigError: if `net` is not a codec.
        DataError: if the file has another format, is damaged, or was written with another network.
    """
    codec = codec_of(net)
    header, payload = read(data)
    if header.fingerprint != codec.fingerprint():
        raise DataError(
            "The file was written with another network, or with other weights: only the same weights can read it. "
            "Name the checkpoint or bundle that it was compressed with."
        )
    if header.rate >= len(codec.lambdas):
        raise DataError(
            f"The file was written at rate {header.rate}, but the rates of this network are 0 to "
            f"{len(codec.lambdas) - 1}."
        )
    height, width = (int(extended(size, codec.stride)) for size in (header.height, header.width))
    image_1CHW = codec.decode(payload, height, width, header.rate)
    return to_pixels(crop(image_1CHW, header.height, header.width))[0]


def read(data: bytes) -> tuple[Header, bytes]:
    """Split a file into header and payload. Raises DataError if it has another format or is damaged."""
    if not data.startswith(MAGIC):
        raise DataError("The file was not written by imagier compress: its first bytes differ.")
    stream = io.BytesIO(data[len(MAGIC) :])
    try:
        version = _number(stream)
        if version != VERSION:
            raise DataError(
                f"The file has format version {version}, but this program reads version {VERSION}. Update the "
                "program, or decompress an older file with the version that wrote it and compress the image again."
            )
        channels, rate, height, width = (_number(stream) for _ in range(4))
        fingerprint = struct.unpack("<I", stream.read(4))[0]
        said = data[: len(MAGIC) + stream.tell()]
        checksum = struct.unpack("<I", stream.read(4))[0]
    except (IndexError, struct.error) as error:
        raise DataError(f"The file ends within its header. {_ANEW}") from error
    header, payload = Header(channels, rate, height, width, fingerprint), stream.read()
    if zlib.crc32(payload, zlib.crc32(said)) != checksum:
        raise DataError(f"The file is damaged or truncated: its checksum does not match. {_ANEW}")
    _check_size(height, width)
    return header, payload


def size(data: bytes) -> tuple[int, int]:
    """Return the height and width of the image in a file. Raises DataError as `read` does."""
    header, _ = read(data)
    return header.height, header.width


def codec_of(net: FromPixels) -> Codec:
    """Return the codec inside `net`. Raises ConfigError if it holds another kind of network."""
    if not isinstance(net.net, Codec):
        raise ConfigError(
            f"{type(net.net).__name__} is not a codec: compress and decompress need a checkpoint of task=compress."
        )
    return net.net


def _check_channels(net: FromPixels, channels: int) -> None:
    if channels != len(net.mean):
        raise DataError(
            f"The image has {channels} channels, but the network takes {len(net.mean)}: grey has 1, RGB has 3."
        )


def _check_size(height: int, width: int) -> None:
    if not 0 < height * width <= _MOST_PIXELS or max(height, width) > _LONGEST_SIDE:
        raise DataError(
            f"An image of {height} x {width} pixels cannot be compressed: sides may have up to {_LONGEST_SIDE} pixels "
            f"and the image 1 to {_MOST_PIXELS}. Cut it into tiles."
        )


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _number(stream: io.BytesIO) -> int:
    """Read a varint of at most five bytes. Raises IndexError if it is truncated or longer."""
    number = 0
    for place in range(0, 35, 7):
        byte = stream.read(1)[0]
        number |= (byte & 127) << place
        if byte < 128:
            return number
    raise IndexError
