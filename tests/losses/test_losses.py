"""Losses against torch, a library and explicit formulas; and their treatment of ignored labels."""

import importlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.losses.cross_entropy import CrossEntropy
from imagier.losses.dice import Dice
from imagier.losses.focal import Focal
from imagier.losses.lovasz import Lovasz
from imagier.losses.ohem import OHEM
from imagier.losses.sum import Sum

K = 4
ALL = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
CONFIGS = [path for path in ALL if "classify" in yaml.safe_load(path.read_text())["tasks"]]  # the others are for images


def build(path: Path, **facts: object) -> nn.Module:
    options = yaml.safe_load(path.read_text())
    del options["name"], options["tasks"]
    module, _, name = options.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(**facts, **options)


each_loss = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Logits [2, K, 5, 7] and uint8 masks [2, 5, 7], of which about a quarter is ignored (255)."""
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(0, K, (2, 5, 7), generator=draw, dtype=torch.uint8)
    target[torch.rand(target.shape, generator=draw) < 0.25] = 255
    return 2 * torch.randn(2, K, 5, 7, generator=draw), target


def chances(logits: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities [N, K] and labels [N] of the pixels that are not ignored, in NumPy."""
    flat = logits.double().movedim(1, -1).reshape(-1, K).numpy()
    raised = np.exp(flat - flat.max(axis=1, keepdims=True))
    labels = target.flatten().numpy()
    return (raised / raised.sum(axis=1, keepdims=True))[labels != 255], labels[labels != 255].astype(int)


def close(actual: Tensor, expected: float) -> None:
    assert actual.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_torchs(batch: tuple[Tensor, Tensor], weights: Tensor | None, smoothing: float) -> None:
    logits, target = batch
    expected = F.cross_entropy(logits, target.long(), weight=weights, ignore_index=255, label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(255, weights, label_smoothing=smoothing)(logits, target), expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_as_written_out(batch: tuple[Tensor, Tensor], weights: Tensor | None) -> None:
    chance, labels = chances(*batch)
    right = chance[np.arange(len(labels)), labels]
    weight = np.ones(len(labels)) if weights is None else weights.numpy()[labels]
    expected = (weight * (1 - right) ** 1.5 * -np.log(right)).sum() / weight.sum()
    close(Focal(255, weights, gamma=1.5)(*batch), expected)


def test_focal_without_focus_is_cross_entropy(batch: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(Focal(255, WEIGHTS, gamma=0)(*batch), CrossEntropy(255, WEIGHTS)(*batch))


def test_focal_has_a_slope_where_a_label_is_certain() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    Focal(gamma=0.5)(logits, torch.tensor([0])).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_dice_as_written_out_and_as_the_library_has_it(batch: tuple[Tensor, Tensor], weights: Tensor | None) -> None:
    chance, labels = chances(*batch)
    truth = np.eye(K)[labels]
    scores = (2 * (chance * truth).sum(0) + 0.5) / (chance.sum(0) + truth.sum(0) + 0.5)
    close(Dice(255, weights, smooth=0.5)(*batch), np.average(1 - scores, weights=weights))
    library = DiceLoss("multiclass", ignore_index=255, class_weights=weights)
    close(Dice(255, weights, smooth=0)(*batch), library(batch[0], batch[1].long()).item())


def test_lovasz_as_the_library_has_it(batch: tuple[Tensor, Tensor]) -> None:
    library = LovaszLoss("multiclass", ignore_index=255)
    close(Lovasz(255)(*batch), library(batch[0], batch[1].long()).item())


def test_lovasz_of_certain_predictions_is_one_minus_iou() -> None:
    truth, said = torch.tensor([[0, 0, 1, 1, 1, 2]]), torch.tensor([[0, 1, 1, 1, 2, 2]])
    logits = 1000.0 * F.one_hot(said, 3).movedim(-1, 1)
    close(Lovasz()(logits, truth), 1 - (1 / 2 + 2 / 4 + 1 / 2) / 3)
    weights = torch.tensor([1.0, 0.0, 0.0])
    close(Lovasz(class_weights=weights)(logits, truth), 1 / 2)


@pytest.mark.parametrize("kind", [Dice, Lovasz])
def test_a_class_that_the_batch_lacks_counts_for_nothing(kind: type[nn.Module]) -> None:
    target = torch.tensor([[0, 0, 1, 1]])
    logits = 1000.0 * F.one_hot(target, 3).movedim(-1, 1)
    wrong = logits.flip(-1)
    close(kind()(wrong, target), kind()(wrong[:, :2], target).item())
    assert kind()(logits, target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("threshold", "kept"), [(0.3, 0.0), (0.3, 0.6), (1.0, 0.0), (1e-6, 0.1)])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ohem_as_written_out(
    batch: tuple[Tensor, Tensor], weights: Tensor | None, threshold: float, kept: float
) -> None:
    chance, labels = chances(*batch)
    right = chance[np.arange(len(labels)), labels]
    least = math.ceil(kept * len(labels))
    hard = np.argsort(right)[: max(least, (right < threshold).sum())]
    weight = np.ones(len(hard)) if weights is None else weights.numpy()[labels[hard]]
    close(OHEM(255, weights, threshold, kept)(*batch), (weight * -np.log(right[hard])).sum() / weight.sum())


def test_sum_adds_terms_by_weight(batch: tuple[Tensor, Tensor]) -> None:
    both = Sum({"cross_entropy": {"weight": 0.5, "label_smoothing": 0.1}, "dice": None}, 255, WEIGHTS)
    expected = 0.5 * CrossEntropy(255, WEIGHTS, 0.1)(*batch) + Dice(255, WEIGHTS)(*batch)
    torch.testing.assert_close(both(*batch), expected)


def test_there_are_configs() -> None:
    names = {"cross_entropy", "cross_entropy_dice", "dice", "focal", "lovasz", "ohem"}
    assert {path.stem for path in CONFIGS} >= names


@each_loss
def test_ignored_labels_change_nothing(path: Path, batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    loss = build(path, ignore_index=255, class_weights=WEIGHTS)
    logits = logits.requires_grad_()
    value = loss(logits, target)
    (slope,) = torch.autograd.grad(value, logits)
    ignored = (target == 255).unsqueeze(1).expand_as(logits)
    assert (slope[ignored] == 0).all()
    assert (slope[~ignored] != 0).any()
    torch.testing.assert_close(loss(torch.where(ignored, 50 * torch.randn(logits.shape), logits), target), value)


@each_loss
def test_where_all_is_ignored_the_loss_is_zero_and_has_a_gradient(path: Path) -> None:
    logits = torch.randn(2, K, 3, 3, requires_grad=True)
    value = build(path, ignore_index=255, class_weights=WEIGHTS)(logits, torch.full((2, 3, 3), 255, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@each_loss
def test_half_precision_logits_are_summed_in_full(path: Path, batch: tuple[Tensor, Tensor]) -> None:
    loss = build(path, ignore_index=255)
    logits = batch[0].bfloat16()
    for autocast in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = loss(logits, batch[1])
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(logits.float(), batch[1]))


@each_loss
def test_labels_of_whole_images_serve_as_well(path: Path) -> None:
    logits, target = torch.randn(6, K), torch.tensor([0, 1, 2, 3, 0, 1])
    loss = build(path)
    torch.testing.assert_close(loss(logits, target), loss(logits[..., None, None], target[..., None, None]))
    assert loss(10.0 * F.one_hot(target, K), target) < loss(logits, target)


@each_loss
def test_class_weights_stay_out_of_the_checkpoint(path: Path) -> None:
    assert build(path, class_weights=WEIGHTS).state_dict() == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(label_smoothing=1.0), r"loss\.label_smoothing=1\.0 .* less than 1"),
        (lambda: Focal(gamma=-1), r"loss\.gamma=-1 .* at least 0"),
        (lambda: Dice(smooth=-1), r"loss\.smooth=-1 .* at least 0"),
        (lambda: OHEM(threshold=0), r"loss\.threshold=0 .* above 0"),
        (lambda: OHEM(minimum_kept=100_000), r"loss\.minimum_kept=100000 .* from 0 to 1"),
        (lambda: Sum({}), r"loss\.terms is empty"),
        (lambda: Sum({"dise": {}}), "Did you mean 'dice'"),
        (lambda: Sum({"dice": {"weight": 0}}), r"dice\.weight=0 .* above 0"),
        (lambda: Sum({"focal": {"gama": 2}}), r"focal\.gama is unknown.*Did you mean 'gamma'"),
    ],
)
def test_an_argument_out_of_range_is_explained(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_dice_of_millions_of_pixels_counts_the_last_as_the_first() -> None:
    chance = 0.9731
    logits = torch.tensor([chance, 1 - chance]).log().view(1, 2, 1, 1).expand(4, 2, 1024, 1024)
    target = torch.zeros(4, 1024, 1024, dtype=torch.uint8)
    assert Dice(smooth=0)(logits, target).item() == pytest.approx(1 - 2 * chance / (chance + 1), abs=1e-5)
