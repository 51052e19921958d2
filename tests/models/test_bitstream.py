"""A compressed file that is damaged, or of another network, is refused with a clear message."""

import copy
import struct
import zlib
from dataclasses import replace

import pytest
import torch

from imagier.errors import ConfigError, DataError
from imagier.models.bitstream import Header, compress, decompress, read
from imagier.models.factorized import Factorized
from imagier.models.pair import Pair
from imagier.models.pixels import FromPixels
from imagier.models.unet import UNet


def wrap(net: torch.nn.Module, channels: int = 1) -> FromPixels:
    return FromPixels(net, [0.5] * channels, [0.25] * channels).eval()


@pytest.fixture(scope="module")
def net() -> FromPixels:
    torch.manual_seed(0)
    return wrap(Factorized(1, width=4, latents=4))


@pytest.fixture(scope="module")
def data(net: FromPixels) -> bytes:
    return compress(net, torch.randint(0, 256, (1, 40, 300), dtype=torch.uint8), 2)


def test_the_header_is_short_and_says_what_the_file_holds(net: FromPixels, data: bytes) -> None:
    header, payload = read(data)
    assert header == Header(channels=1, rate=2, height=40, width=300, fingerprint=net.net.fingerprint())
    assert 0 < len(data) - len(payload) < 24


def test_the_fingerprint_is_summed_once_and_anew_after_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Factorized(1, width=4, latents=4)
    summed = []

    def counted(data: bytes, start: int = 0) -> int:
        summed.append(len(data))
        return crc32(data, start)

    crc32 = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", counted)
    first, whole = codec.fingerprint(), len(summed)
    assert codec.fingerprint() == first
    assert len(summed) < whole + 4  # only the tables' checksums
    weights = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    with torch.no_grad():
        codec.analysis[0].weight[0] += 1
    other = codec.fingerprint()
    codec.load_state_dict(weights)
    assert codec.fingerprint() == first != other
    assert codec.half().float().fingerprint() != first  # rounded weights, perhaps at the same address
    assert copy.deepcopy(codec).fingerprint() == codec.fingerprint()


def test_a_file_cut_short_anywhere_is_refused(net: FromPixels, data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(DataError):
            decompress(net, data[:length])
    with pytest.raises(DataError, match="damaged"):
        decompress(net, data + b"\0\0\0\0")


def test_a_changed_byte_anywhere_is_noticed(net: FromPixels, data: bytes) -> None:
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with pytest.raises(DataError):
            decompress(net, bytes(changed))


def test_a_number_that_is_written_another_way_is_noticed(net: FromPixels, data: bytes) -> None:
    with pytest.raises(DataError, match="damaged"):
        decompress(net, data[:4] + bytes([data[4] | 128, 0]) + data[5:])


@pytest.mark.parametrize("foreign", [b"", b"\xff\xd8\xff\xe0 a JPEG", b"img"])
def test_a_foreign_file_is_refused(net: FromPixels, foreign: bytes) -> None:
    with pytest.raises(DataError, match="first bytes differ"):
        decompress(net, foreign)


def test_another_net_or_other_weights_cannot_read_the_file(net: FromPixels, data: bytes) -> None:
    torch.manual_seed(1)
    with pytest.raises(DataError, match="other weights"):
        decompress(wrap(Factorized(1, width=4, latents=4)), data)
    with pytest.raises(DataError, match="other weights"):
        decompress(wrap(Factorized(3, width=4, latents=4), 3), data)
    with pytest.raises(DataError, match="other weights"):
        decompress(wrap(Pair(1, width=4)), data)
    header, payload = read(data)
    forged = replace(header, rate=9).to_bytes()
    with pytest.raises(DataError, match="written at rate 9"):
        decompress(net, forged + struct.pack("<I", zlib.crc32(payload, zlib.crc32(forged))) + payload)
    with pytest.raises(ConfigError, match="UNet is not a codec"):
        decompress(wrap(UNet(1, 2, width=4)), data)


def test_a_picture_that_does_not_fit_is_refused(net: FromPixels) -> None:
    with pytest.raises(DataError, match="3 channels, but the network takes 1"):
        compress(net, torch.zeros(3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="0 x 8 pixels"):
        compress(net, torch.zeros(1, 0, 8, dtype=torch.uint8))
    for rate in (-1, 3):
        with pytest.raises(ConfigError, match=f"rate={rate} .*0 to 2"):
            compress(net, torch.zeros(1, 8, 8, dtype=torch.uint8), rate)


def test_bytes_that_no_net_writes_are_refused(net: FromPixels) -> None:
    for data in (b"12345", b"1234" * 4096):
        with pytest.raises(DataError, match="damaged"):
            net.net.decode(data, 32, 32, 0)
    with pytest.raises(DataError, match="5 bytes, but an image of 32 x 32 has 256"):
        Pair(1).decode(b"12345", 32, 32, 0)
