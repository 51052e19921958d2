import gzip
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

from imagier.synthetic.garments import CLASSES, generate


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("garments")
    generate(folder, train=300, test=50)
    return folder


def test_torchvision_reads_it_as_fashion_mnist(root: Path) -> None:
    for train, count in ((True, 300), (False, 50)):
        data = FashionMNIST(root, train=train, download=False)
        assert data.data.shape == (count, 28, 28)
        assert data.targets.bincount().tolist() == [count // 10] * 10
    assert tuple(FashionMNIST.classes) == CLASSES


def test_gzipped_files_hold_the_same_bytes(root: Path) -> None:
    packed = sorted((root / "FashionMNIST" / "raw").glob("*.gz"))
    assert len(packed) == 4
    for path in packed:
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()


def test_garments_lie_on_black_and_differ_by_class(root: Path) -> None:
    raw = root / "FashionMNIST" / "raw"
    images = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    covered = (images > 0).mean((1, 2))
    assert (covered > 0.05).all()
    assert (covered < 0.8).all()
    means = np.stack([images[kind::10].mean(0) for kind in range(10)]).reshape(10, -1)
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1)
    assert apart[~np.eye(10, dtype=bool)].min() > 100
    assert apart[2, 4] < apart[2, 1]  # a pullover is closer to a coat than to trousers
    assert apart[7, 9] < apart[7, 3]  # a sneaker is closer to a boot than to a dress


def test_a_garment_depends_on_seed_split_and_index_alone(root: Path, tmp_path: Path) -> None:
    generate(tmp_path / "same", train=20, test=0)
    generate(tmp_path / "other", train=20, test=0, seed=1)
    name = Path("FashionMNIST/raw/train-images-idx3-ubyte")
    first = (root / name).read_bytes()[16 : 16 + 20 * 784]
    assert (tmp_path / "same" / name).read_bytes()[16:] == first
    assert (tmp_path / "other" / name).read_bytes()[16:] != first
