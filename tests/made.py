"""Networks as a checkpoint would hold them, untrained except for their batch statistics, and bundles of them."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from imagier import build
from imagier.batch import Facts
from imagier.deploy.agreement import Sample
from imagier.deploy.bundle import Bundle, Description
from imagier.deploy.publish import Plan, publish
from imagier.models.pixels import FromPixels
from imagier.offered import CONF
from imagier.trained import describe

CLASSES = ("road", "sidewalk", "sky")
SMALL = {
    "unet": ["model.width=8"], "fcn8": ["model.head_width=32"], "pspnet": ["model.backbone=resnet18"],
    "factorized": ["model.width=8", "model.latents=6"], "hyperprior": ["model.width=8", "model.latents=6"],
    "pair": ["model.width=8"], "sliced": ["model.width=8", "model.latents=24", "model.slices=3", "model.side=8"],
    "airbench": ["model.widths=[8,8,8]"],
    "swiftnet": ["model.width=8", "model.ladder=8"], "wide_resnet": ["model.depth=10", "model.widen=1"],
}  # fmt: skip


def net_of(
    task: str, model: str, words: tuple[str, ...] = (), size: tuple[int, int] | None = None, channels: int = 3
) -> Any:
    """Return a network and its description."""
    made, cfg, said = task_of(task, model, words, size, channels)
    net = build.net_of(made)
    return net, describe(net, cfg, said)


def run_of(
    folder: Path, task: str, model: str, words: tuple[str, ...] = (), size: tuple[int, int] | None = None
) -> tuple[FromPixels, Description]:
    """Return the same as `net_of`, and make `folder` a run folder that contains the network's checkpoint."""
    made, cfg, said = task_of(task, model, words, size)
    (folder / "checkpoints").mkdir(parents=True)
    config = OmegaConf.to_container(cfg, resolve=True)
    about = {"imagier": said | {"config": config}, "epoch": said["epoch"], "global_step": said["step"]}
    torch.save(about | {"state_dict": made.state_dict()}, folder / "checkpoints" / "best.ckpt")
    net = build.net_of(made)
    return net, describe(net, cfg, said)


def task_of(task: str, model: str, words: tuple[str, ...], size: tuple[int, int] | None, channels: int = 3) -> Any:
    """Return a task as a training command builds it, its configuration, and a checkpoint's metadata."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"task={task}", f"model={model}", *SMALL.get(model, []), *words])
    labelled = task in ("segment", "classify")
    facts = Facts(
        name="made",
        channels=channels,
        size=size,
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.2, 0.3, 0.25)[:channels],
        classes=CLASSES if labelled else (),
        colors=((128, 64, 128), (244, 35, 232), (70, 130, 180)) if labelled else (),
        ignore_index=255 if task == "segment" else None,
    )
    torch.manual_seed(0)
    made = build.task(cfg, facts)
    net = build.net_of(made)
    with torch.no_grad():
        if model in ("factorized", "hyperprior"):  # make latents span many symbols, as a trained codec's do
            net.net.analysis[-1].weight *= 20
            net.net.synthesis[0].weight /= 20
        for seed in range(3 if task != "compress" else 0):  # batch statistics as after some training
            net.train()(torch.from_numpy(pictures(4, size or (96, 128), seed)))
    said = {"facts": facts.to_dict(), "version": "0", "data_fingerprint": "0" * 16, "epoch": 1, "step": 2}
    return made.eval(), cfg, said


def pictures(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return smooth random images, uint8 [B, 3, H, W]."""
    coarse = np.random.default_rng(seed).random((count, 3, 5, 6), np.float32) * 255
    resized = torch.nn.functional.interpolate(torch.from_numpy(coarse), size, mode="bicubic")
    return resized.clamp(0, 255).to(torch.uint8).numpy()


def samples(description: Description, count: int = 6) -> Iterator[Sample]:
    """Yield stand-ins for held-out samples; segment and classify have random targets."""
    size = description.resize or (96, 128)
    draw = np.random.default_rng(7)
    for number, image_CHW in enumerate(pictures(count, size, seed=9)[:, : description.channels]):
        targets: dict[str, Any] = {
            "segment": draw.integers(0, 3, size, np.uint8),
            "classify": np.int64(draw.integers(0, 3)),
            "denoise": image_CHW,
            "compress": image_CHW,
        }
        yield f"picture {number}", image_CHW, targets[description.task]


def bundle_of(net: FromPixels, description: Description, folder: Path, **options: Any) -> Bundle:
    """Export to `folder`, by default an fp32 ONNX graph; `options` replace fields of the plan."""
    plan = {
        "formats": ["onnx"],
        "precisions": ["fp32"],
        "samples": lambda: samples(description),
        "calibration": lambda: (image for _, image, _ in samples(description, 20)),
    } | options
    return publish(net, description, Plan(**plan), folder)


class Slow:
    """A runtime that sets `asked` when called, and returns once `go` is set, or after ten seconds."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        self.asked.set()
        self.go.wait(10)
        return image_BCHW.reshape(len(image_BCHW), -1)[:, :3].astype(np.float32)
