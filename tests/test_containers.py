"""Dockerfile and compose.yaml, as far as they can be tested without a container engine."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY
from made import bundle_of, net_of

TARGETS = ("cpu", "gpu")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, as (instruction, arguments), with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def target(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage."""
    found = instructions()
    starts = [place for place, (word, _) in enumerate(found) if word == "FROM"]
    start = next(place for place in starts if found[place][1].endswith(f" AS {name}"))
    return found[start : next((place for place in starts if place > start), None)]


def of(name: str, word: str) -> str:
    return next(rest for key, rest in target(name) if key == word)


def compose() -> Any:
    return yaml.safe_load((REPOSITORY / "compose.yaml").read_text())


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for word, rest in instructions() if word == "COPY" and "--from" not in rest
              for name in shlex.split(rest)[:-1]}  # fmt: skip
    assert copied == kept
    assert all((REPOSITORY / name).exists() for name in copied)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_installed_is_declared(name: str) -> None:
    extras = re.search(r"imagier\[([\w,]+)\]", of(name, "RUN") if name == "cpu" else str(target(name)))
    assert extras is not None
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= set(declared)
    assert of(name, "USER") != "root"


def test_the_image_starts_a_server_that_its_own_check_finds_well(tmp_path: Path) -> None:
    net, about = net_of("classify", "cnn", size=(28, 28))
    bundle = bundle_of(net, about, tmp_path / "bundle").folder
    program, *words = json.loads(of("cpu", "ENTRYPOINT"))
    assert program == "imagier"
    words = [word.replace("/bundle", str(bundle)) for word in words]
    command = [sys.executable, "-c", "from imagier.cli import main; main()", *words, "port=0", "page=false"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = next(found[1] for line in server.stdout if (found := re.search(r"http://0\.0\.0\.0:(\d+)", line)))
        check = json.loads(of("cpu", "HEALTHCHECK").partition("CMD ")[2])
        check = [sys.executable, *(word.replace(of("cpu", "EXPOSE"), port) for word in check[1:])]
        assert subprocess.run(check).returncode == 0
        server.terminate()
    assert subprocess.run(check, capture_output=True).returncode != 0


def test_both_images_start_alike_but_for_the_device() -> None:
    cpu, gpu = (json.loads(of(name, "ENTRYPOINT")) for name in TARGETS)
    assert gpu == [*cpu, "runtime=torch", "device=cuda"]
    assert of("cpu", "HEALTHCHECK") == of("gpu", "HEALTHCHECK")


@pytest.mark.parametrize("name", TARGETS)
def test_compose_mounts_the_bundle_where_the_image_looks(name: str) -> None:
    service = compose()["services"][name]
    assert service["build"]["target"] == name
    (volume,) = service["volumes"]
    assert (volume["target"], volume["read_only"]) == ("/bundle", True)
    assert volume["bind"] == {"create_host_path": False}
    assert "ckpt=/bundle" in of(name, "ENTRYPOINT")
    published = service["ports"][0]
    assert published.startswith("127.0.0.1:")
    assert published.endswith(":" + of(name, "EXPOSE"))
