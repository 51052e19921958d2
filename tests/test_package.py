"""imagier installed as a package instead of cloned."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from imagier.version import __version__
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the checkout."""
    import shutil

    place = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__", "local", "*.egg-info")
    for part in ("src", "conf"):
        shutil.copytree(REPOSITORY / part, place / part, ignore=skip)
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / part, place)
    subprocess.run(
        [sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('dist')"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    return next((place / "dist").glob("*.whl"))


def test_the_wheel_holds_code_configuration_and_types(wheel: Path) -> None:
    assert wheel.name == f"imagier-{__version__}-py3-none-any.whl"
    inside = set(zipfile.ZipFile(wheel).namelist())
    code = {f"imagier/{path.relative_to(REPOSITORY / 'src')}" for path in (REPOSITORY / "src").rglob("*.py")}
    words = {f"imagier/conf/{path.relative_to(REPOSITORY / 'conf')}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
    words = {word for word in words if "/local/" not in word}
    pages = {f"imagier/{path.relative_to(REPOSITORY / 'src')}" for path in (REPOSITORY / "src").rglob("*.j2")}
    assert code | words | pages | {"imagier/py.typed"} <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_what_is_installed_trains(wheel: Path, garments_root: Path, tmp_path: Path) -> None:
    """Train with the wheel's own files, away from the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    words = ["task=classify", "model=mlp", "data=fashion_mnist", f"data.root={garments_root}", "debug=one_batch"]
    program = (
        f"import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]; "
        f"sys.path.insert(0, {str(tmp_path / 'site')!r}); sys.argv = ['imagier', 'train'] + {words!r}; "
        "import imagier.cli; print(imagier.cli.CONF); imagier.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert str(tmp_path / "site") in ended.stdout
    assert (tmp_path / "runs" / "latest" / "report.html").is_file()


def test_a_sentence_is_looked_at_before_torch_is_imported() -> None:
    program = (
        "import sys; sys.argv = ['train.py', '--cfg', 'job', 'task=segment']; import imagier.cli; "
        "imagier.cli.main('train'); print('torch' in sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert "name: segment" in ended.stdout
    assert ended.stderr.strip() == "False"


@pytest.mark.parametrize("module", ["imagier", "imagier.cli"])
def test_python_runs_the_package_as_it_runs_the_command(module: str) -> None:
    words = [sys.executable, "-m", module, "train", "task=segmnet"]
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("imagier: task=segmnet is not known")
