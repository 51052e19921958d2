"""POST routes of a network: predict, compress and decompress."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from imagier.deploy.pictures import to_pixels
from imagier.deploy.predictor import Predictor
from imagier.errors import ConfigError
from imagier.server.answers import FILE, FORMS, PNG, answer, chosen, picture
from imagier.server.limits import FIELD, Sent, door_of, place
from imagier.server.nets import Codec, Net

View = Annotated[
    Literal["labels", "colors", "overlay"],
    Query(description="format of a mask as PNG: class indices, class colours, or class colours over the image"),
]
Top = Annotated[int, Query(ge=1, le=1000, description="number of classes to return")]
Accept = Annotated[str | None, Header(description="application/json or image/png, depending on the task")]
Quality = Annotated[int | None, Query(ge=1, description="1: the smallest files; default: the middle one")]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {FIELD: _BINARY["schema"]}, "required": [FIELD]}}
PICTURE = {
    "requestBody": {
        "required": True,
        "description": "an image file, as the body or in a form",
        "content": {"image/*": _BINARY, FILE: _BINARY, "multipart/form-data": _FORM},
    }
}
SMALL_FILE = {"requestBody": {"required": True, "content": {FILE: _BINARY, "multipart/form-data": _FORM}}}


def fault(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of error responses with these status codes."""
    schema = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    said = {
        400: "not an image, or a damaged one",
        401: "token missing or wrong",
        404: "not found",
        406: "requested format not available",
        408: "timeout while receiving the image",
        413: "too large",
        422: "invalid parameter or field",
        500: "an image of the data set can no longer be read",
        503: "too many requests; see Retry-After",
    }
    return {code: {"description": said[code], "content": {"application/json": {"schema": schema}}} for code in codes}


def answered(*forms: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of responses of these content types, and of all errors of an image request."""
    good: dict[str, Any] = {form: {"schema": {}} if form == "application/json" else _BINARY for form in forms}
    return {200: {"description": "the answer", "content": good}} | fault(400, 401, 404, 406, 408, 413, 422, 503)


def known(request: Request, model: str) -> Net:
    """Return the network of this name. Raises status 404 if there is none."""
    nets = request.app.state.nets
    if model not in nets:
        raise HTTPException(404, f"there is no model {model[:100]!r}; the models are: {', '.join(nets)}.")
    found: Net = nets[model]
    return found


def predictor_of(net: Net) -> Predictor:
    """Return the network's predictor. Raises status 404 if it is a codec."""
    if net.predictor is None:
        raise HTTPException(404, f"{net.name} is a codec: use compress or decompress.")
    return net.predictor


def codec_of(net: Net) -> Codec:
    """Return the network's codec. Raises status 404 if it is not a codec."""
    if net.codec is None:
        raise HTTPException(404, f"{net.name} is not a codec: its task is {net.description.task}. Use predict.")
    return net.codec


Asked = Annotated[Net, Depends(known)]
HELD = [Depends(place, scope="function")]
router = APIRouter(prefix="/models/{model}", tags=["ask"])


@router.post(
    "/predict",
    dependencies=HELD,
    openapi_extra=PICTURE,
    responses=answered("application/json", PNG),
    response_class=Response,
)
async def predict(
    request: Request, net: Asked, data: Sent, accept: Accept = None, view: View = "labels", top: Top = 5
) -> Response:
    """Classes with probabilities (JSON), a mask (PNG, or JSON with run lengths), or a denoised image (PNG)."""
    predictor, form = predictor_of(net), chosen(accept, FORMS[net.description.task])

    def work() -> Response:
        with door_of(request).room_for(data):
            return answer(predictor(data), form, view, top)

    return await run_in_threadpool(work)


@router.post(
    "/compress",
    dependencies=HELD,
    openapi_extra=PICTURE,
    responses=answered(FILE, PNG),
    response_class=Response,
)
async def compress(
    request: Request, net: Asked, data: Sent, accept: Accept = None, quality: Quality = None
) -> Response:
    """The compressed file of an image; with Accept: image/png, the image after decompression."""
    codec, form = codec_of(net), chosen(accept, FORMS["compress"])

    def work() -> Response:
        with door_of(request).room_for(data, codec=True):
            image_HWC = to_pixels(data, codec.channels)
            try:
                small = codec.compress(image_HWC, quality)
            except ConfigError as error:
                raise HTTPException(422, str(error)) from error
            rate = {
                "X-Compressed-Bytes": str(len(small)),
                "X-Bits-Per-Pixel": f"{8 * len(small) / (image_HWC.shape[0] * image_HWC.shape[1]):.4f}",
            }
            made = picture(codec.decompress(small)) if form == PNG else Response(small, media_type=FILE)
            made.headers.update(rate)
            return made

    return await run_in_threadpool(work)


@router.post(
    "/decompress",
    dependencies=HELD,
    openapi_extra=SMALL_FILE,
    responses=answered(PNG),
    response_class=Response,
)
async def decompress(request: Request, net: Asked, data: Sent, accept: Accept = None) -> Response:
    """The image in a file written by `compress`."""
    codec = codec_of(net)
    chosen(accept, (PNG,))

    def work() -> Response:
        with door_of(request).room(*codec.size(data), codec=True):
            return picture(codec.decompress(data))

    return await run_in_threadpool(work)
