"""A training step never synchronises with the GPU: the host prepares the next step while this one is computed.

These tests run on the "meta" device, whose tensors have no values: every operation that would wait for a value
(`.item()`, `bool`, `bincount`, a boolean mask) fails. A copy from the host would wait too, unless it is pinned;
`NothingCopied` detects that.
"""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from made import task_of
from pytorch_lightning import LightningModule
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from imagier.counting import counted, counted_apart
from imagier.metrics.confusion import ConfusionMatrix
from imagier.sending import sent
from imagier.training.ema import ExponentialMovingAverage

SIZE = (64, 64)
STEPS = [
    ("segment", "swiftnet", ("loss=cross_entropy_dice",)),
    ("segment", "unet", ("loss=cross_entropy",)),
    ("segment", "unet", ("loss=lovasz",)),
    ("segment", "unet", ("loss=focal",)),
    ("segment", "unet", ("loss=ohem",)),
    ("segment", "pspnet", ()),
    ("segment", "fcn8", ()),
    ("classify", "airbench", ("task.cutmix=1.0", "loss.label_smoothing=0.1")),
    ("classify", "wide_resnet", ()),
    ("denoise", "drunet", ("model.widths=[8,8,8]", "noise=blind")),
    ("denoise", "autoencoder", ("noise=report",)),
    ("compress", "sliced", ()),
    ("compress", "hyperprior", ()),
]


@pytest.mark.parametrize(("task", "model", "words"), STEPS, ids=[" ".join((*s[:2], *s[2])) for s in STEPS])
def test_a_training_step_does_not_wait(
    task: str, model: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = task_of(task, model, words, SIZE)[0].to("meta").train()
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # "meta" has no mixed precision,
    if task == "denoise":  # and no random number generator
        monkeypatch.setattr(net, "noise", lambda image, seeds: image.float() + len(seeds))
    image = torch.zeros(4, 3, *SIZE, dtype=torch.uint8, device="meta")
    labels = {"segment": torch.zeros(4, *SIZE, dtype=torch.uint8), "classify": torch.zeros(4, dtype=torch.int64)}
    target = labels[task].to("meta") if task in labels else image
    batch = {"image": image, "target": target, "index": torch.arange(4), "id": list("abcd")}
    monkeypatch.setattr(
        "imagier.tasks.compress.sent",
        lambda numbers, device: torch.tensor(numbers).new_empty(len(numbers), device=device),
    )
    monkeypatch.setattr(torch, "tensor", made_on_the_host)
    with NothingCopied():
        net.on_train_batch_start(cast(Any, batch), 0)
        net._step(cast(Any, batch), "train").backward()


class NothingCopied(TorchDispatchMode):
    """Raises AssertionError if a tensor is copied from one device to another."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device != result.device:
            raise AssertionError(f"a tensor of shape {tuple(result.shape)} is copied to the device")
        return result


def made_on_the_host(*given: Any, make: Any = torch.tensor, **options: Any) -> torch.Tensor:
    """`torch.tensor`, but only on the CPU: a dispatch mode would not see its copy to a device."""
    tensor: torch.Tensor = make(*given, **options)
    assert tensor.device.type == "cpu", "numbers are copied to the device"
    return tensor


def test_it_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="numbers are copied"):
        made_on_the_host([1, 2], device="meta")
    with pytest.raises(AssertionError, match=r"shape \(\) is copied"), NothingCopied():
        torch.zeros(()).to("meta")


@pytest.mark.parametrize("numbers", [[3, 1], (0.5,), []])
def test_what_is_sent_is_what_torch_makes_of_it(numbers: Any) -> None:
    assert torch.equal(sent(numbers, torch.device("cpu")), torch.tensor(numbers))
    assert sent(numbers, torch.device("cpu"), torch.float32).dtype == torch.float32


@pytest.mark.parametrize("bins", [12, 1 << 20, 5_000_000])
@pytest.mark.parametrize("size", [1, 63, 64, 5000])
def test_counting_without_waiting_is_bincount(size: int, bins: int) -> None:
    index = torch.from_numpy(np.random.default_rng(0).integers(0, bins, size))
    assert torch.equal(counted_apart(index, bins), counted(index, bins))


def test_what_could_not_be_refused_in_the_step_is_refused_with_the_scores() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(torch.tensor([0]), torch.tensor([1]))
    confusion.strays += 2
    with pytest.raises(ValueError, match="2 targets lie outside 0 to 2"):
        confusion.compute()


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_averaged_weights_are_kept_where_the_net_is_trained() -> None:
    """During callbacks' setup the network is still on the CPU; an average left there is copied in every step."""
    callback, net = ExponentialMovingAverage(0.9), Net()
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    callback.setup(cast(Any, trainer), cast(Any, net), "fit")
    average = callback._average_model
    assert average is not None
    assert {tensor.device.type for tensor in average.module.state_dict().values()} == {"meta"}
    net.to("meta")
    for trainer.global_step in (1, 2, 2, 3):  # an unchanged step is not averaged twice
        with NothingCopied():
            callback.on_train_batch_end(cast(Any, trainer), net, None, None, 0)
    assert int(average.n_averaged) == 3
