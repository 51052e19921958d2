"""GET routes of a data set: images by id, their ground truth, predictions, and the comparison of the two."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from imagier.batch import Facts
from imagier.deploy.results import Classes, Mask, Picture, Result
from imagier.errors import DataError
from imagier.metrics.confusion import ConfusionMatrix, accuracy, intersection_over_union, mean_iou
from imagier.server.answers import FORMS, answer, as_json, chosen, picture, run_lengths
from imagier.server.asking import Accept, Top, View, answered, fault, known, predictor_of
from imagier.server.limits import place
from imagier.server.nets import Net

log = logging.getLogger(__name__)

Model = Annotated[str | None, Query(description="which model; optional if there is only one")]


@dataclass(frozen=True)
class Pictures:
    """One split of a data set.

    facts:  of the data set.
    split:  its name.
    ids:    names of the images.
    counts: number of pixels (masks) or images of each class, int64 [K].
    read:   returns the image at an index into `ids`, uint8 [H, W, C], and its target: a mask uint8 [H, W], a class
            index, or the image itself.
    """

    facts: Facts
    split: str
    ids: Sequence[str]
    counts: np.ndarray
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """The index of each name in `ids`."""
        return {name: place for place, name in enumerate(self.ids)}

    def sample(self, id: str) -> tuple[np.ndarray, np.ndarray]:  # noqa: A002
        """Return an image and its target. Raises status 404 if there is no such id, 500 if it cannot be read."""
        if id not in self.places:  # ids are looked up and never become paths
            raise HTTPException(404, f"there is no image {id[:100]!r} in {self}; GET /data/images lists them.")
        try:
            return self.read(self.places[id])
        except DataError as error:  # it was readable when the server started
            log.warning("%s", error)
            raise HTTPException(500, f"the image {id!r} can no longer be read; see the server's log.") from error

    def __str__(self) -> str:
        return f"the {self.split} split of {self.facts.name}"


_OF_THE_SET = fault(500)
router = APIRouter(prefix="/data", tags=["data set"])


def pictures_of(request: Request) -> Pictures:
    """Return the application's data set."""
    pictures: Pictures = request.app.state.pictures
    return pictures


def sample_of(request: Request, id: str) -> tuple[np.ndarray, np.ndarray]:  # noqa: A002
    """See `Pictures.sample`."""
    return pictures_of(request).sample(id)


Shown = Annotated[Pictures, Depends(pictures_of)]
Sample = Annotated[tuple[np.ndarray, np.ndarray], Depends(sample_of)]


@router.get("", responses=fault(401))
def about(pictures: Shown) -> dict[str, Any]:
    """Name, split, size and classes of the data set."""
    facts = pictures.facts
    return {"name": facts.name, "split": pictures.split, "images": len(pictures.ids), "classes": list(facts.classes)}


@router.get("/images", responses=fault(401, 422))
def ids(
    pictures: Shown, offset: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=100_000)] = 1000
) -> dict[str, Any]:
    """Ids of the images: up to `limit` of them, starting at `offset`."""
    return {"total": len(pictures.ids), "ids": list(pictures.ids[offset : offset + limit])}


@router.get(
    "/images/{id:path}/truth",
    responses=_OF_THE_SET | answered("application/json", "image/png"),
    response_class=Response,
)
def truth(pictures: Shown, sample: Sample, accept: Accept = None, view: View = "labels") -> Response:
    """The true mask (PNG, or JSON with run lengths), true class (JSON), or without classes the target image (PNG)."""
    true = as_result(*sample, pictures.facts)
    task = {Classes: "classify", Mask: "segment", Picture: "denoise"}[type(true)]
    return answer(true, chosen(accept, FORMS[task]), view, top=1)


@router.get(
    "/images/{id:path}/prediction",
    dependencies=[Depends(place, scope="function")],
    responses=_OF_THE_SET | answered("application/json", "image/png"),
    response_class=Response,
)
async def prediction(
    sample: Sample,
    request: Request,
    accept: Accept = None,
    model: Model = None,
    view: View = "labels",
    top: Top = 5,
) -> Response:
    """The network's prediction for an image of the data set, as for an uploaded one."""
    net = _asked(request, model)
    predictor_of(net)  # raises for a codec, before the content type is chosen
    form = chosen(accept, FORMS[net.description.task])
    return await run_in_threadpool(lambda: answer(_predicted(net, sample[0]), form, view, top))


@router.get(
    "/images/{id:path}/comparison",
    dependencies=[Depends(place, scope="function")],
    responses=_OF_THE_SET | answered("application/json"),
)
async def comparison(pictures: Shown, sample: Sample, request: Request, id: str, model: Model = None) -> dict[str, Any]:  # noqa: A002
    """Ground truth and prediction, with the IoU per class, or whether the class is right.

    IoU is null for classes in neither. `iou` is their mean, as `imagier evaluate` computes it.
    """
    net = _asked(request, model)
    return {"id": id, "model": net.name} | await run_in_threadpool(_compared, net, *sample, pictures.facts)


@router.get("/images/{id:path}", responses=_OF_THE_SET | answered("image/png"), response_class=Response)
def image(sample: Sample) -> Response:
    """The image (PNG), as networks receive it."""
    return picture(sample[0])


def _asked(request: Request, model: str | None) -> Net:
    nets = request.app.state.nets
    if model is None and len(nets) > 1:
        raise HTTPException(422, f"there are several models; add model= with one of: {', '.join(nets)}.")
    return known(request, model or next(iter(nets)))


def _predicted(net: Net, image_HWC: np.ndarray) -> Result:
    predictor = predictor_of(net)
    if image_HWC.shape[2] != net.description.channels:
        taken = "RGB" if net.description.channels == 3 else "grey images"
        raise HTTPException(
            422, f"{net.name} takes {taken}, which the images of this data set are not. Use another model."
        )
    return predictor(image_HWC)


def as_result(image_HWC: np.ndarray, target: np.ndarray, facts: Facts) -> Result:
    """Return the ground truth as a result; values of a mask that are no class become black, named unlabelled."""
    if not facts.classes:
        return Picture(image_HWC, target)
    if target.ndim == 0:
        return Classes(image_HWC, facts.classes, np.eye(len(facts.classes), dtype=np.float32)[int(target)])
    colors = np.zeros((256, 3), int)
    colors[: len(facts.colors)] = facts.colors
    names = (*facts.classes, *["unlabelled"] * (256 - len(facts.classes)))
    return Mask(image_HWC, names, tuple(map(tuple, colors.tolist())), target)


def _compared(net: Net, image_HWC: np.ndarray, target: np.ndarray, facts: Facts) -> dict[str, Any]:
    if net.description.classes != facts.classes or not facts.classes:
        raise HTTPException(
            404, f"{net.name} and the data set {facts.name} have different classes, so they cannot be compared."
        )
    predicted, true = _predicted(net, image_HWC), as_result(image_HWC, target, facts)
    if isinstance(predicted, Classes) and isinstance(true, Classes):
        return {"truth": true.label, "prediction": predicted.to_dict(), "right": true.label == predicted.label}
    if not isinstance(predicted, Mask) or not isinstance(true, Mask):
        raise HTTPException(404, f"{net.name} and the data set {facts.name} are for different tasks.")
    counts = _counted(predicted, target, facts)
    return {
        "iou": _number(mean_iou(counts).item()),
        "accuracy": _number(accuracy(counts).item()),
        "iou_per_class": iou_per_class(predicted, target, facts),
        "prediction": as_json(predicted),
        "truth": true.to_dict() | {"masks": run_lengths(target, true.names)},
    }


def iou_per_class(predicted: Mask, target: np.ndarray, facts: Facts) -> dict[str, float | None]:
    """Return each class's IoU with the true mask, uint8 [H, W]; None if the class occurs in neither."""
    values = intersection_over_union(_counted(predicted, target, facts)).tolist()
    return dict(zip(facts.classes, map(_number, values), strict=True))


def _counted(predicted: Mask, target: np.ndarray, facts: Facts) -> torch.Tensor:
    counts = ConfusionMatrix(len(facts.classes), facts.ignore_index)
    counts.update(torch.from_numpy(predicted.labels), torch.from_numpy(target))
    return counts.counts


def _number(value: float) -> float | None:
    """Round to six digits, and replace NaN, which JSON does not have, by None."""
    return None if value != value else round(value, 6)
