"""For which network the data set is served, and the message when its files have changed."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from made import net_of

from imagier import serving
from imagier.batch import Facts
from imagier.errors import DataError
from imagier.server.app import make_app
from imagier.server.dataset import Pictures
from imagier.server.limits import Limits

FACTS = Facts("made", 3, (8, 8), (0.5,) * 3, (0.2,) * 3, ("road", "sidewalk", "sky"))


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Three networks with the same classes: the data fail with the first one's settings, and trained the last."""
    about = net_of("segment", "unet")[1]
    nets: list[Any] = [
        SimpleNamespace(name=name, task="segment", classes=about.classes, provenance={"data_fingerprint": name})
        for name in ("other", "fits", "trained")
    ]

    def data_for(cfg: Any, net: Any) -> Any:
        if net is None or net.name == "other":
            raise DataError("its masks hold 4")
        return SimpleNamespace(facts=FACTS, findings=SimpleNamespace(fingerprint="trained"))

    monkeypatch.setattr(serving, "_data_for", data_for)
    monkeypatch.setattr(serving, "_pictures_of", lambda data, split: f"the {split} split")
    return nets


@pytest.mark.parametrize(("places", "chosen"), [([0, 1, 2], "trained"), ([0, 1], "fits")])
def test_it_is_that_of_the_net_that_was_trained_on_it(
    nets: list[Any], places: list[int], chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg: Any = SimpleNamespace(split="test", data={})
    assert serving._pictures(cfg, [nets[place] for place in places]) == "the test split"
    assert capsys.readouterr().out == f"data: the test split, for {chosen}\n"


def test_data_that_no_net_can_take_are_refused(nets: list[Any]) -> None:
    cfg: Any = SimpleNamespace(split="test", data={})
    with pytest.raises(DataError, match="its masks hold 4"):
        serving._pictures(cfg, nets[:1])


def test_a_picture_that_is_gone_is_no_fault_of_who_asks() -> None:
    def read(place: int) -> Any:
        raise DataError("/somewhere/one.png is missing")

    gone = Pictures(FACTS, "test", ["one"], np.zeros(3, np.int64), read)
    with TestClient(make_app([], Limits(), pictures=gone)) as client:
        answer = client.get("/data/images/one")
    assert (answer.status_code, answer.json()) == (
        500, {"error": "the image 'one' can no longer be read; see the server's log."}
    )  # fmt: skip
