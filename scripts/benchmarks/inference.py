"""Inference on one 256x256 image with two threads: exported graphs against eager PyTorch; and `imagier predict`."""

import itertools
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from timing import Row, in_turn, run_python
from torch import nn
from torchvision.models import densenet121

from imagier.deploy.agreement import LOGITS
from imagier.deploy.bundle import Bundle, Description, read_bundle
from imagier.deploy.graph import save_onnx, save_openvino, trace
from imagier.deploy.network import load_network
from imagier.deploy.quantize import quantize
from imagier.deploy.runtime import OnnxRuntime, OpenVino
from imagier.synthetic import materials

THREADS, SIDE = 2, 256
RUNTIMES = {"onnx": (".onnx", OnnxRuntime), "openvino": (".xml", OpenVino)}
INT8, START = 3, 1.5  # targets: speed-up of int8 graphs; seconds of `imagier predict`
Answering = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A network: how it is trained here, what its users would write instead, and the target speed-up of its graph.

    asked: writes data to a folder and returns the settings that make export compare graphs on them; None: the test
        split of the training data.
    """

    name: str
    words: tuple[str, ...]
    rival: str
    eager: Callable[[Bundle], nn.Module]
    target: float
    asked: Callable[[Path], tuple[str, ...]] | None = None


def more_materials(folder: Path) -> tuple[str, ...]:
    """Generate some 2,000 unseen test images, since the training data's own test split has 394.

    Half a point of accuracy is fewer than two of 394 images, but ten of 2,000.
    """
    materials.generate(folder, per_class=600, seed=1)
    return "data=photos", f"data.root={folder}", "data.size=[64,64]", "data.split=[0.2,0.1,0.7]"


def unet(bundle: Bundle) -> nn.Module:
    """Return the library's network with the bundle's weights."""
    net = smp.Unet("resnet18", encoder_weights=None, classes=len(bundle.description.classes))
    net.load_state_dict(load_network(bundle).net.net.state_dict())
    return net


def densenet(bundle: Bundle) -> nn.Module:
    """Return torchvision's network with the bundle's weights."""
    net = densenet121(num_classes=len(bundle.description.classes))
    net.load_state_dict(load_network(bundle).net.state_dict())
    return net


CASES = (
    Case(
        "U-Net (resnet18)",
        ("task=segment", "data=streets", "data.size=[128,128]", "data.batch_size=8", "model=smp",
         "model.encoder=resnet18"),
        "eager segmentation_models_pytorch", unet, 1.6,
    ),
    Case(
        "DenseNet121",
        ("task=classify", "data=materials", "data.size=[64,64]", "data.batch_size=32", "model=densenet",
         "optimizer.lr=0.004"),
        "eager torchvision", densenet, 2.2, more_materials,
    ),
)  # fmt: skip


def compare(given: Namespace) -> Iterator[Row]:
    """Train and export networks by imagier's own commands, which publish int8 only within half a point."""
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            bundle = exported(case, Path(folder))
            write_graphs(bundle, Path(folder))
            for precision, target in (("fp32", case.target), ("int8", INT8)):
                yield graph_row(case, bundle, precision, target, Path(folder), given.repeats)
            if bundle.description.task == "segment":
                yield first_answer(bundle, Path(folder), given.repeats)


def exported(case: Case, folder: Path) -> Bundle:
    """Return a bundle of the network, trained for a minute or two on small images."""
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}
    often = ("trainer.max_epochs=10", "trainer.check_val_every_n_epoch=5", "augment=flip", "trainer=cpu", "test=false")
    run_python("train.py", *case.words, *often, f"paths.runs={folder / 'runs'}", env=passive)
    words = ("formats=[onnx,openvino]", "precision=[fp32,int8]", "samples=2000", f"output={folder / 'bundle'}")
    asked = case.asked(folder / "asked") if case.asked else ()
    run_python("scripts/export.py", f"ckpt={folder / 'runs' / 'latest'}", *asked, *words, env=passive)
    return read_bundle(folder / "bundle")


def write_graphs(bundle: Bundle, folder: Path) -> None:
    """Write the network's graphs for 256x256 images: a classifier's graphs take only the size of its training.

    int8 is calibrated on noise, which does not affect speed; the metric reported is that of the bundle's own graphs.
    """
    program = trace(load_network(bundle), replace(bundle.description, resize=(SIDE, SIDE)))
    save_onnx(program, folder / "fp32.onnx", "logits")
    quantize(folder / "fp32.onnx", folder / "int8.onnx", [noise(bundle.description)[0]])
    for path in (folder / "fp32.onnx", folder / "int8.onnx"):
        save_openvino(path, path.with_suffix(".xml"))


def noise(description: Description) -> np.ndarray:
    """Return a batch of one image of noise, uint8 [1, C, 256, 256]."""
    return np.random.default_rng(0).integers(0, 256, (1, description.channels, SIDE, SIDE), np.uint8)


def graph_row(case: Case, bundle: Bundle, precision: str, target: float, folder: Path, repeats: int) -> Row:
    """Return the row of the faster of the two runtimes, with the other one's ratio in the note."""
    image_BCHW, rival = noise(bundle.description), as_written(case.eager(bundle), bundle.description)
    times, ratios = {}, {}
    for form, (suffix, opened) in RUNTIMES.items():
        graph = opened(folder / f"{precision}{suffix}", THREADS)
        if precision == "fp32" and not (apart := np.abs(graph(image_BCHW) - rival(image_BCHW)).max()) <= LOGITS:
            raise RuntimeError(f"{case.name}: the answers of {form} are {apart:.2g} from those of {case.rival}")
        times[form] = in_turn(
            lambda graph=graph: seconds(graph, image_BCHW), lambda: seconds(rival, image_BCHW), repeats
        )
        ratios[form] = statistics.median(times[form][1]) / statistics.median(times[form][0])
    best, other = sorted(RUNTIMES, key=lambda form: -ratios[form])
    agreements = {form: bundle.graph(form, precision).agreement for form in RUNTIMES}
    metric = "{metric} {reference:.2f} -> {graph:.2f} on {samples} held-out pictures".format(**agreements[best])
    return Row(
        f"one picture 256x256, 2 threads, {case.name}, {precision}", case.rival, "speed-up", target, *times[best],
        note=f"runtime={best}; {other} {ratios[other]:.3g} x; {metric}",
        details={form: {"ratio": ratios[form], "agreement": agreements[form]} for form in RUNTIMES},
    )  # fmt: skip


def as_written(net: nn.Module, description: Description) -> Answering:
    """Return typical eager float32 inference, from the same uint8 pixels."""
    torch.set_num_threads(THREADS)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (description.mean, description.std))
    net.eval()

    @torch.inference_mode()
    def answer(image_BCHW: np.ndarray) -> np.ndarray:
        return net((torch.from_numpy(image_BCHW).float() / 255 - mean) / std).numpy()

    return answer


def seconds(net: Answering, image_BCHW: np.ndarray) -> float:
    """Median seconds of ten calls, after four in which the other side's spinning threads go to sleep."""
    times = []
    for number in range(14):
        began = time.perf_counter()
        net(image_BCHW)
        if number >= 4:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def first_answer(bundle: Bundle, folder: Path, repeats: int) -> Row:
    """The whole process of `imagier predict` on one image."""
    Image.fromarray(noise(bundle.description)[0].transpose(1, 2, 0)).save(folder / "picture.png")
    words = ("scripts/predict.py", f"ckpt={bundle.folder}", f"source={folder / 'picture.png'}")
    number = itertools.count()
    times = in_turn(lambda: run_python(*words, f"output={folder}/{next(number)}"), lambda: START, repeats)
    return Row(
        "imagier predict with an ONNX bundle, one picture, from start to end", f"{START} s", "cost", 1, *times,
        note="neither torch nor Lightning is imported",
    )  # fmt: skip
