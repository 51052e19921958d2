"""Responses for results, in the content type that the client accepts: JSON or PNG."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import HTTPException, Response
from fastapi.responses import JSONResponse

from imagier.deploy.results import Classes, Mask, Result, to_image

JSON, PNG, FILE = "application/json", "image/png", "application/octet-stream"
FORMS = {"classify": (JSON,), "segment": (PNG, JSON), "denoise": (PNG,), "compress": (FILE, PNG)}  # default first


def chosen(accept: str | None, forms: Sequence[str]) -> str:
    """Return the available content type that the client prefers. Raises status 406 if it accepts none.

    Args:
        accept: the Accept header, RFC 9110 section 12.5.1; None accepts everything.
        forms: available content types, in the order that decides between equals.
    """
    weights = [_weight(form, accept or "*/*") for form in forms]
    if not max(weights):
        raise HTTPException(406, f"the header Accept: {accept} does not allow any of: {', '.join(forms)}.")
    return forms[weights.index(max(weights))]


def _weight(form: str, accept: str) -> float:
    """Return the quality value of the most specific media range that matches `form`; 0 if none does."""
    ranges = ["*/*", f"{form.partition('/')[0]}/*", form]  # the most specific one last
    found = [(-1, 0.0)]
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        if kind in ranges:
            found.append((ranges.index(kind), _quality(parameters)))
    return max(found)[1]


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def answer(result: Result, form: str, view: str = "labels", top: int = 5) -> Response:
    """Return a result as a response.

    Args:
        result: of a predictor.
        form: its content type, one of FORMS of its task.
        view: of a mask as PNG: labels (grey, class indices), colors, or overlay.
        top: number of classes in a classifier's JSON.
    """
    if form == JSON:
        return JSONResponse(as_json(result, top))
    if isinstance(result, Mask):
        views = {"labels": lambda: result.labels, "colors": result.colored, "overlay": result.picture}
        return picture(views[view]())
    assert not isinstance(result, Classes)
    return picture(result.pixels)


def as_json(result: Result, top: int = 5) -> dict[str, Any]:
    """Return a result for JSON, a mask with the run lengths of every class that occurs."""
    if isinstance(result, Classes):
        return result.to_dict(top)
    if isinstance(result, Mask):
        return result.to_dict() | {"masks": run_lengths(result.labels, result.names)}
    return result.to_dict()


def run_lengths(labels: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Encode a mask per class as COCO's uncompressed run lengths, which pycocotools reads.

    Args:
        labels: uint8 [H, W], class indices.
        names: of the classes.

    Returns:
        For every class that occurs its name, index, and `rle`: size (height, width), and counts, in column-major order:
        how many pixels are not of the class, how many then are, and so on.
    """
    # One pass finds the runs of all classes; each class then needs only its own.
    flat = labels.ravel(order="F")
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, flat.size)
    starts, classes = np.concatenate([[0], ends[:-1]]), flat[ends - 1]
    masks = []
    for index in np.unique(classes).tolist():
        own = classes == index
        borders = np.stack([starts[own], ends[own]], axis=1).ravel()
        counts = np.diff(np.concatenate([[0], borders, [flat.size]]))
        counts = counts if counts[-1] else counts[:-1]
        masks.append(
            {"class": names[index], "index": index, "rle": {"size": list(labels.shape), "counts": counts.tolist()}}
        )
    return masks


def picture(pixels: np.ndarray) -> Response:
    """Return pixels, uint8 [H, W], [H, W, 1] or [H, W, 3], as a PNG response."""
    file = io.BytesIO()
    to_image(pixels).save(file, "PNG", compress_level=1)  # higher levels are slower
    return Response(file.getvalue(), media_type=PNG)
