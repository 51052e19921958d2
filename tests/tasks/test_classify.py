"""The task classify: the effect of mixing images on them and on the loss."""

import pytest
import torch
from torch import nn

from imagier.batch import Batch, Facts
from imagier.errors import ConfigError
from imagier.losses.cross_entropy import CrossEntropy
from imagier.tasks.classify import Classify, cut_mixed

FACTS = Facts("photos", 1, (8, 8), (0.5,), (0.25,), ("cat", "dog", "frog"))


class ShareOfWhite(nn.Module):
    """A network whose logits depend on an image's mean brightness."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        white = image.float().mean((1, 2, 3)) / 255
        return torch.stack([white, 1 - white, 0 * white], 1)


def batch_of(size: int) -> Batch:
    image = torch.zeros(size, 1, 8, 8, dtype=torch.uint8)
    image[: size // 2] = 255
    names = [str(index) for index in range(size)]
    return {"image": image, "target": torch.arange(size) % 3, "index": torch.arange(size), "id": names}


@pytest.mark.parametrize("numbers", [(0, 0.5, 0.5, 0.5), (0, 0.99, 0, 0.99), (0, 0, 0.3, 0.3), (0, 0.999, 0.5, 0.5)])
def test_the_share_told_is_that_of_the_pixels_exchanged(numbers: tuple[float, ...]) -> None:
    image = torch.rand(4, 3, 10, 14)
    before = image.clone()
    mixed, share = cut_mixed(image, numbers, 1.0)
    theirs = (mixed != image).any(1).float().mean((1, 2))
    assert torch.allclose(theirs, torch.full_like(theirs, share), atol=1e-6)
    assert torch.equal(torch.where(mixed != image, image.flip(0), image), mixed)
    assert torch.equal(image, before)


def test_as_many_batches_are_mixed_as_asked() -> None:
    image = torch.rand(2, 1, 8, 8)
    draws = torch.rand(400, 4, generator=torch.Generator().manual_seed(0)).tolist()
    mixed = sum(cut_mixed(image, numbers, 0.3)[1] > 0 for numbers in draws) / len(draws)
    assert 0.2 < mixed < 0.4


def test_the_loss_of_mixed_images_is_the_mean_over_both_labels_by_area() -> None:
    task, batch = Classify(ShareOfWhite(), CrossEntropy(), FACTS, cutmix=1.0), batch_of(6)
    task.on_train_batch_start(batch, 3)
    loss, _ = task.measure(batch, "train")
    torch.manual_seed(task.seed_of_step(3))
    mixed, share = cut_mixed(batch["image"], torch.rand(4).tolist(), 1.0)
    logits = ShareOfWhite()(mixed)
    both = [CrossEntropy()(logits, target) for target in (batch["target"], batch["target"].flip(0))]
    assert 0 < share < 1
    assert loss.item() == pytest.approx((1 - share) * both[0].item() + share * both[1].item(), rel=1e-6)


class WithAuxiliary(ShareOfWhite):
    """The same, and half of the logits as auxiliary ones, as Inception has them in training."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = super().forward(image)
        return (logits, logits / 2) if self.training else logits  # type: ignore[return-value]


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_auxiliary_outputs_add_to_the_loss_in_training_alone(cutmix: float) -> None:
    task, batch = Classify(WithAuxiliary(), CrossEntropy(), FACTS, cutmix=cutmix, auxiliary_weight=0.5), batch_of(6)
    plain = Classify(ShareOfWhite(), CrossEntropy(), FACTS, cutmix=cutmix)
    for one in (task, plain):
        one.on_train_batch_start(batch, 3)
    (loss, predicted), (alone, wanted) = task.measure(batch, "train"), plain.measure(batch, "train")
    assert torch.equal(predicted, wanted)
    if not cutmix:
        half = CrossEntropy()(ShareOfWhite()(batch["image"]) / 2, batch["target"])
        assert loss.item() == pytest.approx(alone.item() + 0.5 * half.item(), rel=1e-6)
    assert loss > alone
    task.eval()
    assert task.measure(batch, "val")[0] == plain.measure(batch, "val")[0]


@pytest.mark.parametrize(("epoch", "least", "most"), [(0, 0.0, 0.0), (2, 0.3, 0.6), (4, 0.8, 1.0), (9, 0.8, 1.0)])
def test_the_share_of_mixed_batches_grows_with_the_epochs(
    epoch: int, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classify, "current_epoch", epoch)
    task, batch = Classify(ShareOfWhite(), CrossEntropy(), FACTS, cutmix=1.0, cutmix_epochs=4), batch_of(6)
    unmixed = CrossEntropy()(ShareOfWhite()(batch["image"]), batch["target"]).item()
    losses = []
    for number in range(200):
        task.on_train_batch_start(batch, number)
        losses.append(task.measure(batch, "train")[0].item())
    mixed = [loss != pytest.approx(unmixed) for loss in losses]
    assert least <= sum(mixed) / len(mixed) <= most


def test_every_process_mixes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for process in (0, 1):
        monkeypatch.setattr(Classify, "global_rank", process)
        task, batch = Classify(ShareOfWhite(), CrossEntropy(), FACTS, cutmix=1.0), batch_of(6)
        task.on_train_batch_start(batch, 7)
        drawn.append((task.measure(batch, "train")[0].item(), torch.rand(1).item()))
    assert drawn[0][0] == drawn[1][0]
    assert drawn[0][1] != drawn[1][1]  # dropout differs between processes


def test_nothing_is_mixed_outside_of_training() -> None:
    task, batch = Classify(ShareOfWhite(), CrossEntropy(), FACTS, cutmix=1.0), batch_of(6)
    loss, _ = task.measure(batch, "val")
    assert loss.item() == pytest.approx(CrossEntropy()(ShareOfWhite()(batch["image"]), batch["target"]).item())


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.cutmix=1\.5 is not a fraction"):
        Classify(ShareOfWhite(), CrossEntropy(), FACTS, cutmix=1.5)


def test_a_negative_number_of_epochs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.cutmix_epochs=-1 is negative"):
        Classify(ShareOfWhite(), CrossEntropy(), FACTS, cutmix=0.5, cutmix_epochs=-1)


def test_what_a_validation_has_not_found_is_not_told_from_an_earlier_one() -> None:
    task = Classify(ShareOfWhite(), CrossEntropy(), FACTS)
    task.log_dict = lambda scores: None  # type: ignore[method-assign, assignment]
    batch = batch_of(6)
    for label, occurs in ((2, True), (1, False)):
        task.validation_step(batch | {"target": torch.full((6,), label)}, 0)  # type: ignore[arg-type]
        task.on_validation_epoch_end()
        assert ("accuracy/frog" in task.epoch_scores["val"]) == occurs
