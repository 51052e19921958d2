import logging
from collections.abc import Callable
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch

from imagier.batch import Batch
from imagier.datamodules.loader import EpochBatches, Loader, Samples
from imagier.errors import ConfigError, DataError
from imagier.transforms.augment import Augment, resize_image
from imagier.transforms.exact import D4, HorizontalFlip, RandomCrop, Shift


class Noise:
    """Random images with masks; on request, index 5 is broken and index 7 smaller."""

    def __init__(self, size: int = 20, broken: bool = False, uneven: bool = False) -> None:
        self.ids = [f"n{index}" for index in range(size)]
        self.broken, self.uneven = broken, uneven

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self.broken and index == 5:
            raise DataError("n5.png is empty")
        side = 8 if self.uneven and index == 7 else 12
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, (side, side, 3), np.uint8), rng.integers(0, 4, (side, side), np.uint8)


class Pictures(Noise):
    """The same images, with targets made from them by a function."""

    def __init__(self, target: Callable[[np.ndarray], Any]) -> None:
        super().__init__()
        self.target = target

    def read(self, index: int) -> tuple[np.ndarray, Any]:
        image, _ = super().read(index)
        return image, self.target(image)


class Rows(Noise):
    """The same images as rows of an array, with several kinds of targets."""

    def __init__(self, target: str, shape: tuple[int, int, int] | None) -> None:
        super().__init__()
        pairs = [super(Rows, self).read(index) for index in range(20)]
        self.images, masks = (np.stack(each) for each in zip(*pairs, strict=True))
        self.targets = {"class": np.arange(20), "mask": masks, "picture": 255 - self.images, "itself": self.images}[
            target
        ]
        self.shape = shape

    def read(self, index: int) -> tuple[np.ndarray, Any]:
        image, target = self.images[index], self.targets[index]
        return image, image if self.targets is self.images else int(target) if target.ndim == 0 else target

    def read_all(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = self.images[indices]
        return images, images if self.targets is self.images else self.targets[indices]


@pytest.mark.parametrize("target", ["class", "mask", "picture", "itself"])
def test_samples_at_once_are_those_one_by_one(target: str) -> None:
    moves = [HorizontalFlip(), Shift(2), RandomCrop(6, 6), D4()]

    def batches(shape: tuple[int, int, int] | None) -> list[Batch]:
        samples = Samples(Rows(target, shape), Augment(moves, (12, 12), 4, 255), 3)
        return epoch(Loader(samples, EpochBatches(50, 4, shuffle=True, seed=3)), 1)  # each sample two or three times

    assert_equal(batches((12, 12, 3)), batches(None))


@pytest.mark.parametrize("shape", [(12, 12, 3), None])
def test_a_picture_that_was_mirrored_is_not_the_next_time(shape: tuple[int, int, int] | None) -> None:
    source = Rows("class", shape)
    samples = Samples(source, Augment([HorizontalFlip(alternate=True)], (12, 12), 4, 255), 3)
    twice_an_epoch = Loader(samples, EpochBatches(40, 4, shuffle=True, seed=3))
    mirrored = {
        (number, int(index)): not np.array_equal(image.permute(1, 2, 0), source.images[index % 20])
        for number in range(3)
        for batch in epoch(twice_an_epoch, number)
        for index, image in zip(batch["index"], batch["image"], strict=True)
    }
    first = [mirrored[0, index] for index in range(20)]
    assert 4 < sum(first) < 16
    assert [mirrored[0, index + 20] for index in range(20)] == [not was for was in first]
    assert [mirrored[1, index] for index in range(20)] == [not was for was in first]
    assert [mirrored[2, index] for index in range(20)] == first


def loader(
    source: Noise,
    *,
    batch_size: int = 4,
    workers: int = 0,
    shuffle: bool = True,
    on_error: Any = "raise",
    **shares: int,
) -> Loader:
    augment = Augment([A.HorizontalFlip(p=0.5), A.RandomCrop(6, 6)] if not source.uneven else [], None, 4, 255)
    batches = EpochBatches(len(source), batch_size, shuffle=shuffle, seed=3, **shares)
    return Loader(Samples(source, augment, 3, on_error), batches, workers=workers)


def epoch(of: Loader, number: int) -> list[Batch]:
    of.sampler.set_epoch(number)
    return list(of)


def assert_equal(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        assert one["id"] == other["id"]
        assert all(torch.equal(one[key], other[key]) for key in ("image", "target", "index"))


def test_a_batch_has_the_promised_types() -> None:
    batch = next(iter(loader(Noise())))
    assert (batch["image"].dtype, tuple(batch["image"].shape)) == (torch.uint8, (4, 3, 6, 6))
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert (batch["target"].dtype, tuple(batch["target"].shape)) == (torch.uint8, (4, 6, 6))
    assert batch["index"].dtype == torch.int64
    assert batch["id"] == [f"n{index}" for index in batch["index"].tolist()]


def test_class_indices_become_int64() -> None:
    batch = next(iter(loader(Pictures(lambda image: 3))))
    assert batch["target"].dtype == torch.int64
    assert batch["target"].tolist() == [3, 3, 3, 3]


def test_a_picture_as_its_own_target_is_the_same_tensor() -> None:
    batch = next(iter(loader(Pictures(lambda image: image))))
    assert batch["target"] is batch["image"]


def test_another_picture_as_target_is_turned_as_the_image_is() -> None:
    batch = next(iter(loader(Pictures(lambda image: 255 - image))))
    assert torch.equal(batch["target"], 255 - batch["image"])


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    alone, helped = loader(Noise()), loader(Noise(), workers=2)
    for number in (0, 1):
        assert_equal(epoch(alone, number), epoch(helped, number))


def test_workers_start_after_a_large_picture_was_resized_in_the_main_process() -> None:
    # OpenCV's threads, once started, do not exist in a forked worker, which would wait for them forever.
    resize_image(np.zeros((2000, 2000, 3), np.uint8), (1500, 1500))
    assert_equal(epoch(loader(Noise(), workers=1), 0), epoch(loader(Noise()), 0))


def test_epochs_differ_in_order_and_augmentation_and_can_be_repeated() -> None:
    one = loader(Noise())
    first, second = epoch(one, 0), epoch(one, 1)
    assert [batch["id"] for batch in first] != [batch["id"] for batch in second]
    assert_equal(second, epoch(loader(Noise()), 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_is_the_rest_of_the_unbroken_one(workers: int) -> None:
    unbroken = loader(Noise(), workers=workers)
    whole, following = epoch(unbroken, 2), epoch(unbroken, 3)
    killed = loader(Noise(), workers=workers)
    killed.sampler.set_epoch(2)
    running = iter(killed)
    next(running), next(running)
    resumed = loader(Noise(), workers=workers)
    resumed.load_state_dict(killed.state_dict())
    assert_equal(epoch(resumed, 2), whole[2:])
    assert_equal(epoch(resumed, 3), following)


def test_resuming_with_another_batch_size_continues_after_the_same_samples() -> None:
    killed = loader(Noise(), batch_size=4)
    seen = [name for batch in (next(iter(killed)),) for name in batch["id"]]
    resumed = loader(Noise(), batch_size=7)
    resumed.load_state_dict(killed.state_dict())
    rest = [name for batch in epoch(resumed, 0) for name in batch["id"]]
    whole = [name for batch in epoch(loader(Noise(), batch_size=20), 0) for name in batch["id"]]
    assert seen + rest == whole[:18]  # two batches of seven fit into the remaining sixteen samples


def test_two_processes_share_what_one_would_see() -> None:
    alone = epoch(loader(Noise(64), batch_size=64), 0)[0]
    ranks = [epoch(loader(Noise(64), batch_size=64, rank=rank, world=2), 0)[0] for rank in (0, 1)]
    assert [len(batch["id"]) for batch in ranks] == [32, 32]
    for rank, batch in enumerate(ranks):
        assert batch["id"] == alone["id"][rank::2]
        assert torch.equal(batch["image"], alone["image"][rank::2])


@pytest.mark.parametrize(
    ("size", "batch_size", "shuffle", "expected"),
    [
        (10, 4, True, [4, 4]),  # training drops a last batch that would upset batch normalisation
        (10, 4, False, [4, 4, 2]),  # evaluation needs every sample
        (3, 4, True, [3]),  # a set smaller than a batch can still be trained on
        (8, 4, True, [4, 4]),
    ],
)
def test_last_batches(size: int, batch_size: int, shuffle: bool, expected: list[int]) -> None:
    one = loader(Noise(size), batch_size=batch_size, shuffle=shuffle)
    assert [len(batch["id"]) for batch in epoch(one, 0)] == expected
    assert len(one) == len(expected)


def test_evaluation_keeps_the_order() -> None:
    names = [name for batch in epoch(loader(Noise(10), shuffle=False), 0) for name in batch["id"]]
    assert names == [f"n{index}" for index in range(10)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_stops_with_its_own_sentence(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        epoch(loader(Noise(broken=True), workers=workers), 0)
    assert str(caught.value) == "n5.png is empty"


def test_a_broken_file_can_be_skipped(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("imagier"), "propagate", True)
    batches = epoch(loader(Noise(broken=True), batch_size=20, on_error="skip"), 0)
    assert "n5.png is empty" in caplog.text
    assert len(batches[0]["id"]) == len(batches[0]["image"]) == 19
    assert "n5" not in batches[0]["id"]


def test_images_of_several_sizes_are_refused_with_a_cure() -> None:
    with pytest.raises(ConfigError, match=r"8 x 8 and 12 x 12.*data\.size=\[H,W\]"):
        epoch(loader(Noise(uneven=True), batch_size=20), 0)


def test_loading_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - it is the global generator that must not move
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    epoch(loader(Noise(), workers=1), 0)
    epoch(loader(Noise()), 0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
