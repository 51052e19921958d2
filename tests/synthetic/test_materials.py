from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier.randomness import generator
from imagier.synthetic.materials import CLASSES, generate, material


def test_a_folder_a_class_with_numbered_pictures(tmp_path: Path) -> None:
    generate(tmp_path, per_class=3)
    assert {path.name for path in tmp_path.iterdir()} == set(CLASSES)
    for name in CLASSES:
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [f"{name}_{i:05d}.png" for i in range(3)]
        with Image.open(tmp_path / name / f"{name}_00000.png") as picture:
            assert (picture.mode, picture.size) == ("RGB", (32, 32))


def test_colour_does_not_give_the_class_away() -> None:
    colors = np.stack([[material(generator(name, i), name).mean((0, 1)) for i in range(60)] for name in CLASSES])
    between = colors.mean(1).std(0)
    within = colors.std(1).mean(0)
    assert (between < 0.4 * within).all()


@pytest.mark.parametrize("name", CLASSES)
def test_a_material_depends_on_seed_class_and_index_alone(name: str, tmp_path: Path) -> None:
    generate(tmp_path / "one", per_class=2)
    generate(tmp_path / "more", per_class=4)
    generate(tmp_path / "other", per_class=2, seed=1)
    file = Path(name) / f"{name}_00001.png"
    assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "more" / file).read_bytes()
    assert (tmp_path / "one" / file).read_bytes() != (tmp_path / "other" / file).read_bytes()
