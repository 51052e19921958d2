"""The task segment: which pixels a training step looks at."""

import pytest
import torch
from torch import Tensor, nn

from imagier.batch import Batch, Facts
from imagier.errors import ConfigError
from imagier.losses.cross_entropy import CrossEntropy
from imagier.tasks.segment import Segment

FACTS = Facts("streets", 1, (7, 9), (0.5,), (0.25,), ("road", "car", "sky"), ignore_index=255)


class Shades(nn.Module):
    """Logits that depend on a pixel's own value, and auxiliary ones while it trains."""

    def forward(self, image_BCHW: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        shade_BHW = image_BCHW[:, 0].float() / 255
        logits = torch.stack([shade_BHW, 1 - shade_BHW, shade_BHW.square()], 1)
        return (logits, -logits) if self.training else logits


@pytest.fixture
def batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 1, 7, 9), dtype=torch.uint8, generator=draw)
    target = torch.randint(0, 3, (2, 7, 9), dtype=torch.uint8, generator=draw)
    target[:, 3] = 255
    return {"image": image, "target": target, "index": torch.arange(2), "id": ["a", "b"]}


def looked_at(task: Segment, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
    loss, (prediction, target) = task.measure(batch, stage)
    assert prediction.shape == target.shape
    task.count(stage, prediction=(prediction, target), batch=batch)
    return loss, target


def test_a_step_looks_at_every_so_manieth_pixel_from_a_random_one_on(batch: Batch) -> None:
    task = Segment(Shades(), CrossEntropy(255), FACTS, pixel_stride=2).train()
    places = {(top, left): batch["target"][:, top::2, left::2] for top in range(2) for left in range(2)}
    met = set()
    for seed in range(20):
        torch.manual_seed(seed)
        loss, target = looked_at(task, batch, "train")
        place = next(key for key, wanted in places.items() if torch.equal(target, wanted))
        outputs = [logits[..., place[0] :: 2, place[1] :: 2] for logits in task.net(batch["image"])]
        wanted = CrossEntropy(255)(outputs[0], target) + 0.4 * CrossEntropy(255)(outputs[1], target)
        assert loss.item() == pytest.approx(wanted.item())
        met.add(place)
    assert met == set(places)
    counted = task.scores("train")
    assert 0 < counted["accuracy"] < 1


def test_evaluation_looks_at_all_of_them(batch: Batch) -> None:
    task = Segment(Shades(), CrossEntropy(255), FACTS, pixel_stride=2).eval()
    loss, target = looked_at(task, batch, "val")
    assert torch.equal(target, batch["target"])
    assert loss.item() == pytest.approx(CrossEntropy(255)(task.net(batch["image"]), target).item())
    assert task.confusion["val"].compute().sum() == (batch["target"] != 255).sum()


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.pixel_stride=0 is out of range"):
        Segment(Shades(), CrossEntropy(255), FACTS, pixel_stride=0)
