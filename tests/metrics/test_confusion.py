"""Counts and scores against torchmetrics and against cityscapesScripts' own evaluator."""

from importlib import import_module

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from imagier.metrics.confusion import (
    ConfusionMatrix,
    accuracy,
    class_accuracy,
    intersection_over_union,
    mean_iou,
)


def masks(num_classes: int, ignore: int | None, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, num_classes, (3, 40, 50), generator=draw)
    guess = torch.where(torch.rand(truth.shape, generator=draw) < 0.6, truth, truth.roll(1, 0))
    if ignore is not None:
        truth[torch.rand(truth.shape, generator=draw) < 0.1] = ignore
    return guess, truth


@pytest.mark.parametrize("ignore", [None, 255, 0])
def test_counts_equal_torchmetrics_to_the_last_one(ignore: int | None) -> None:
    ours, theirs = ConfusionMatrix(7, ignore), MulticlassConfusionMatrix(7, ignore_index=ignore)
    for seed in range(3):
        guess, truth = masks(7, ignore, seed)
        ours.update(guess, truth.to(torch.uint8))
        theirs.update(guess, truth)
    assert torch.equal(ours.compute(), theirs.compute())


def test_scores_of_a_table_worked_by_hand() -> None:
    counts = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert intersection_over_union(counts).tolist() == pytest.approx([6 / 9, 3 / 6, float("nan")], nan_ok=True)
    assert float(mean_iou(counts)) == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert float(accuracy(counts)) == pytest.approx(9 / 12)
    assert class_accuracy(counts)[:2].tolist() == pytest.approx([6 / 8, 3 / 4])
    assert class_accuracy(counts)[2].isnan()


@pytest.mark.parametrize("ignore", [None, 9])
@pytest.mark.parametrize("stray", [255, 7, -1])
def test_a_truth_outside_the_classes_is_refused(stray: int, ignore: int | None) -> None:
    with pytest.raises(ValueError, match=f"a target of {stray} lies outside 0 to 6"):
        ConfusionMatrix(7, ignore).update(torch.zeros(4, dtype=torch.long), torch.tensor([0, 1, stray, 2]))


@pytest.mark.parametrize("level", ["train", "category"])
def test_iou_agrees_with_the_official_evaluator(level: str) -> None:
    """Feed the same predictions, as label ids, to cityscapesScripts' confusion matrix and to ours."""
    evaluator = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    from imagier.datamodules.labels import find_label_set

    label_set = find_label_set(level)
    draw = np.random.default_rng(0)
    truth_ids = draw.integers(0, 34, (64, 96)).astype(np.uint8)
    trained = [label.id for label in evaluator.labels if label.trainId not in (-1, 255)]
    guess_ids = np.where(draw.random(truth_ids.shape) < 0.7, truth_ids, draw.choice(trained, truth_ids.shape))
    guess_ids = np.where(np.isin(guess_ids, trained), guess_ids, 7).astype(np.uint8)

    args = evaluator.args
    args.evalLabels = [label.id for label in evaluator.labels if label.id >= 0]
    official = evaluator.generateMatrix(args)
    for truth, guess in zip(truth_ids.ravel(), guess_ids.ravel(), strict=True):
        official[truth, guess] += 1

    ours = ConfusionMatrix(len(label_set.classes), label_set.ignore_index)
    lookup = label_set.table
    ours.update(torch.from_numpy(lookup[guess_ids].astype(np.int64)), torch.from_numpy(lookup[truth_ids]))
    scores = intersection_over_union(ours.compute())
    for index, name in enumerate(label_set.classes):
        if level == "train":
            expected = evaluator.getIouScoreForLabel(evaluator.name2label[name].id, official, args)
        else:
            expected = evaluator.getIouScoreForCategory(name, official, args)
        assert float(scores[index]) == pytest.approx(expected, abs=1e-6), name
