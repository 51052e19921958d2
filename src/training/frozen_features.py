"""Features of a network's frozen part, computed once per sample, since training does not change them."""

import hashlib
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.batch import Split
from imagier.datamodules.base import ImageData
from imagier.datamodules.fingerprint import digest
from imagier.errors import DataError
from imagier.files import write_aside
from imagier.models.pixels import FromPixels
from imagier.tasks.base import Task
from imagier.training.processes import in_turn

log = logging.getLogger(__name__)

_FORMAT = 1  # to be raised whenever the meaning of the files changes


class FrozenFeatures(Callback):
    """Lets training and validation start from the features of a frozen backbone, if they are equal in every epoch.

    Features are computed in the order of the samples and in batches of `data.batch_size`, so that a resumed run gets
    the same values, whether or not they are still in the cache. Evaluation after training runs the whole network.

    Args:
        data: data module whose loaders will deliver the features.
        cache: cache folder; the features are stored as `features/KEY.npy` in it.
    """

    def __init__(self, data: ImageData, cache: Path) -> None:
        self.data, self.folder = data, cache / "features"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load or compute the features of the training and validation splits, where they are constant."""
        assert isinstance(pl_module, Task)
        net = pl_module.net
        if not (isinstance(net, FromPixels) and net.frozen):
            return
        splits: list[Split] = ["train", "val"]
        if getattr(net.net, "mirror", False):
            splits.remove("val")  # validated on two views, but features are of one
        if self.data.augment:
            log.info(
                "the frozen part of the network runs in every training step, because augment changes the images; with "
                "augment=none its features are computed only once"
            )
            splits.remove("train")
        for split in splits:
            self.data.features[split] = in_turn(lambda split=split: self._features(trainer, net, split))  # type: ignore[misc]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate with the whole network again."""
        self.data.features.clear()

    def _features(self, trainer: Trainer, net: FromPixels, split: Split) -> np.ndarray:
        path = self.folder / f"{self._key(trainer, net, split)}.npy"
        if path.is_file():
            with suppress(OSError):  # another user's; `imagier cache` tells when it was last used
                os.utime(path)
            return np.load(path, mmap_mode="r").view(np.ndarray)
        began = time.monotonic()
        features_NF = self._computed(trainer, net, split)
        log.info(
            "features of the frozen part: %s %s samples in %.0f s, once for all epochs",
            f"{len(features_NF):,}", split, time.monotonic() - began,
        )  # fmt: skip
        try:
            write_aside(path, lambda aside: _save(aside, features_NF))
        except OSError as error:
            log.warning("the features are kept in memory, as %s cannot hold them: %s", self.folder, error)
            return features_NF
        return np.load(path, mmap_mode="r").view(np.ndarray)

    @torch.no_grad()
    def _computed(self, trainer: Trainer, net: FromPixels, split: Split) -> np.ndarray:
        parts, places = [], []
        mode = net.training
        net.eval()
        for batch in self.data.loader(split):
            with trainer.precision_plugin.forward_context():
                embedded = net.embed(batch["image"].to(trainer.strategy.root_device))
            parts.append(embedded.float().cpu().numpy())
            places += batch["index"].tolist()
        net.train(mode)
        if places != list(range(len(self.data.sources[split]))):  # rows would belong to other samples
            lost = len(self.data.sources[split]) - len(places)
            raise DataError(
                f"{lost} samples of {split} can no longer be read, although they could when the data were checked; "
                "the lines above name them. Restore them, or train again to skip them."
            )
        return np.concatenate(parts)

    def _key(self, trainer: Trainer, net: FromPixels, split: Split) -> str:
        """Return a key that changes with everything the features depend on."""
        device = trainer.strategy.root_device
        kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
        frozen = [f"{name} {_digest(value)}" for name, value in net.state_dict().items() if name not in trained]
        facts, source = self.data.facts, self.data.sources[split]
        data = [self.data.findings.fingerprint, str(facts.size), *source.ids]
        how = [str(_FORMAT), torch.__version__, kind, str(trainer.precision), str(self.data.batch_size)]
        how += [repr(net.net), str(getattr(net.net, "enlargement", None))]
        return digest([*how, *frozen, *data])


def _digest(values: torch.Tensor) -> str:
    raw = values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.blake2b(raw.data, digest_size=8).hexdigest()


def _save(path: Path, features_NF: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, features_NF)
