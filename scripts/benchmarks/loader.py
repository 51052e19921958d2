"""From files to batches, against torch's DataLoader over datasets that decode each image every time.

The rival augments with torchvision or albumentations as their users do, and both sides deliver uint8 batches in memory.
"""

import itertools
import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import albumentations as A
import numpy as np
import torch
from data import fashion_mnist, frames, photographs, small_photographs
from timing import Row, in_turn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from imagier.datamodules.base import ImageData
from imagier.datamodules.cityscapes import Cityscapes
from imagier.datamodules.fashion_mnist import FashionMNIST
from imagier.datamodules.photos import Photos
from imagier.transforms.exact import HorizontalFlip, RandomCrop, Shift
from imagier.transforms.trivial import TrivialAugment

JITTER = {"brightness": (0.7, 1.3), "contrast": (0.7, 1.3), "saturation": (0.7, 1.3), "hue": (-0.03, 0.03), "p": 0.8}
BATCHES = 60  # of 128 small images, at most, per repeat: ratios need no whole epochs


def compare(given: Namespace) -> Iterator[Row]:
    """Yield rows for every kind of data set."""
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        yield small_pictures(given, Path(folder))
        yield from many_small_files(given, Path(folder))
        yield trivially_augmented(given, Path(folder))
        yield from large_frames(given, Path(folder))
        yield crops_of_photographs(given, Path(folder))


def small_pictures(given: Namespace, folder: Path) -> Row:
    """Fashion-MNIST with flip and shift."""
    root = fashion_mnist(given.data, folder)
    augment = [HorizontalFlip(), Shift(2)]
    ours = ready(FashionMNIST, root, folder, batch_size=128, augment=augment).train_dataloader()
    steps = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(28, padding=2), transforms.PILToTensor()]
    rival = datasets.FashionMNIST(root, transform=transforms.Compose(steps))
    what = ("Fashion-MNIST batches, flip and shift of 2", "torchvision's dataset in a DataLoader", "speed-up", 10)
    return small_batches(what, ours, rival, given.repeats)


def small_batches(
    what: tuple[str, str, Literal["speed-up"], float], ours: Any, rival: Dataset[Any], repeats: int
) -> Row:
    """Batches of 128 images, against a DataLoader over `rival`; `what` holds the first fields of the row."""
    best, workers = best_of(lambda workers: DataLoader(rival, 128, shuffle=True, num_workers=workers))
    count = min(BATCHES, len(ours), len(best))
    times = in_turn(lambda: drain(ours, count), lambda: drain(best, count), repeats)
    note = f"the rival with {workers} workers, the better of 0 and 2"
    return Row(*what, *times, images=128 * count, note=note)


def many_small_files(given: Namespace, folder: Path) -> Iterator[Row]:
    """A folder of small JPEG files: the first epoch, listing and decoding included, and a later one."""
    root = small_photographs(given.data, folder)
    split = [0.98, 0.01, 0.01]  # nearly all are in the training split, as with the rival
    steps = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.PILToTensor()])

    def first() -> float:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        began = time.perf_counter()
        loader = ready(Photos, root, folder, batch_size=128, split=split, augment=[HorizontalFlip()]).train_dataloader()
        return (time.perf_counter() - began + drain(loader)) / (len(loader) * 128)

    def rivals(workers: int) -> float:
        began = time.perf_counter()
        loader = DataLoader(datasets.ImageFolder(root, steps), 128, shuffle=True, num_workers=workers)
        return (time.perf_counter() - began + drain(loader)) / (len(loader) * 128)

    for workers in (0, 2):
        ours, theirs = in_turn(first, lambda workers=workers: rivals(workers), given.repeats)
        yield Row(
            "25,000 small JPEG files, first epoch, from nothing",
            f"ImageFolder in a DataLoader, {workers} workers",
            "speed-up", 3, ours, theirs, images=1,
        )  # fmt: skip
    loader = ready(Photos, root, folder, batch_size=128, split=split, augment=[HorizontalFlip()]).train_dataloader()
    later = DataLoader(datasets.ImageFolder(root, steps), 128, shuffle=True, num_workers=2, persistent_workers=True)
    ours, theirs = in_turn(*(lambda one=one: drain(one) / (len(one) * 128) for one in (loader, later)), given.repeats)
    yield Row("25,000 small JPEG files, later epochs", "ImageFolder in a DataLoader, 2 workers", "speed-up", 20, ours,
              theirs, images=1)  # fmt: skip


def trivially_augmented(given: Namespace, folder: Path) -> Row:
    """Small photographs with TrivialAugment, which applies one of fourteen changes to each."""
    root = small_photographs(given.data, folder)
    augment = [HorizontalFlip(), Shift(4), TrivialAugment()]
    ours = ready(Photos, root, folder, batch_size=128, split=[0.98, 0.01, 0.01], augment=augment).train_dataloader()
    steps = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, padding=4), transforms.TrivialAugmentWide()]
    rival = datasets.ImageFolder(root, transforms.Compose([*steps, transforms.PILToTensor()]))
    what = ("small JPEG files, flip, shift and TrivialAugment", "torchvision's in a DataLoader", "speed-up", 5)
    return small_batches(what, ours, rival, given.repeats)


def large_frames(given: Namespace, folder: Path) -> Iterator[Row]:
    """Frames of Cityscapes' size with masks: the first pass, which decodes and caches them, and later ones."""
    root = frames(folder, count=24)
    augment = [RandomCrop(512, 1024), HorizontalFlip(), A.ColorJitter(**JITTER)]
    rival_steps = A.Compose([A.RandomCrop(512, 1024), A.HorizontalFlip(), A.ColorJitter(**JITTER)])
    plain = ready(Cityscapes, root, folder, decode_once=False, batch_size=4)
    source = plain.open_split("train")

    def first() -> float:
        shutil.rmtree(folder / "cache" / "decoded", ignore_errors=True)
        shutil.rmtree(folder / "cache" / "examined", ignore_errors=True)
        began = time.perf_counter()
        ready(Cityscapes, root, folder)
        return (time.perf_counter() - began) / (len(source) + 3)  # plus two validation frames and one test frame

    decoding, workers = best_of(lambda workers: DataLoader(Each(source, lambda **pair: pair), 4, num_workers=workers))
    times = in_turn(first, lambda: drain(decoding) / len(source), given.repeats)
    yield Row("2048x1024 frames with masks, first pass: examined and kept", "decoding each once in a DataLoader",
              "cost", 1.3, *times, note="per frame; the rival with the better of 0 and 2 workers")  # fmt: skip
    for workers in (0, 2):
        data = ready(Cityscapes, root, folder, batch_size=4, augment=augment, workers=workers)
        ours = data.train_dataloader()
        theirs = DataLoader(
            Each(source, rival_steps), 4, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        times = in_turn(lambda ours=ours: drain(ours), lambda theirs=theirs: drain(theirs), given.repeats)
        yield Row(f"2048x1024 frames: crop 512x1024, flip, jitter, label mapping; {workers} workers",
                  "decoding each time in a DataLoader", "speed-up", 8, *times, images=24)  # fmt: skip


def crops_of_photographs(given: Namespace, folder: Path) -> Row:
    """Photographs, of which training uses crops."""
    root = photographs(given.data, folder)
    data = ready(
        Photos, root, folder, labels=False, batch_size=16, augment=[RandomCrop(128, 128, pad=True), HorizontalFlip()]
    )
    source = data.open_split("train")
    steps = A.Compose([A.RandomCrop(128, 128, pad_if_needed=True, border_mode=4), A.HorizontalFlip()])
    ours = data.train_dataloader()
    theirs, workers = best_of(lambda workers: DataLoader(Each(source, steps), 16, shuffle=True, num_workers=workers))
    times = in_turn(lambda: drain(ours), lambda: drain(theirs), given.repeats)
    return Row("photographs, 128x128 crops, flip", "decoding each time in a DataLoader", "speed-up", 8, *times,
               images=len(ours) * 16, note=f"the rival with {workers} workers, the better of 0 and 2")  # fmt: skip


class Each(Dataset[Any]):
    """A typical map-style dataset: read a sample, transform it, and let the DataLoader stack."""

    def __init__(self, source: Any, steps: Callable[..., Any]) -> None:
        self.source, self.steps = source, steps

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        image, target = self.source.read(index)
        if target is image:
            return self._tensor(self.steps(image=image)["image"])
        done = self.steps(image=image, mask=target)
        return self._tensor(done["image"]), torch.from_numpy(done["mask"])

    @staticmethod
    def _tensor(image_HWC: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))


def ready(kind: type[ImageData], root: Path, folder: Path, **options: Any) -> Any:
    """Build a data module and set it up."""
    data = kind(**({"name": "benchmark", "root": root, "cache": folder / "cache"} | options))
    data.prepare_data()
    data.setup()
    return data


def drain(loader: Any, batches: int | None = None) -> float:
    """Seconds to iterate over `batches` batches, or over all."""
    began = time.perf_counter()
    for _ in itertools.islice(loader, batches):
        pass
    return time.perf_counter() - began


def best_of(make: Callable[[int], Any]) -> tuple[Any, int]:
    """Return the faster of the loaders with 0 and with 2 workers, and its number of workers."""
    loaders = {workers: make(workers) for workers in (0, 2)}
    spent = {workers: drain(loader, BATCHES) for workers, loader in loaders.items()}
    workers = min(spent, key=lambda workers: spent[workers])
    return loaders[workers], workers
