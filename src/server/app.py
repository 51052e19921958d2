"""The FastAPI application: networks, a data set, health and metrics."""

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as StarletteHTTPException

from imagier.errors import DataError
from imagier.server import asking
from imagier.server.limits import Door, Limits, door_of, refuse_strangers
from imagier.server.monitoring import Monitor, Watched
from imagier.server.nets import Net, Opened, to_serve
from imagier.version import __version__

log = logging.getLogger(__name__)


def make_app(
    opened: Sequence[Opened],
    limits: Limits,
    batch_size: int = 8,
    pictures: Any = None,
) -> FastAPI:
    """Make the application.

    Args:
        opened: the networks.
        limits: for requests.
        batch_size: maximum number of images of equal size that a network runs as one batch.
        pictures: `imagier.server.dataset.Pictures`, a data set to serve by ids, or None.
    """
    monitor = Monitor()
    nets, door = to_serve(opened, batch_size, monitor), Door(limits, monitor)
    # FastAPI's own documentation page loads its scripts from a CDN.
    app = FastAPIOffline(title="imagier", version=__version__, redoc_url=None, description=_told(nets))
    app.state.nets, app.state.door, app.state.monitor, app.state.pictures = nets, door, monitor, pictures
    app.state.page = False  # set to True by `imagier.server.page`
    app.add_middleware(Watched, monitor=monitor)
    guard = [Depends(refuse_strangers)] if limits.token else []  # else the schema would ask for a token
    app.include_router(state)
    app.include_router(about, dependencies=guard)
    app.include_router(asking.router, dependencies=guard)
    if pictures is not None:
        from imagier.server import dataset  # imports torch

        app.include_router(dataset.router, dependencies=guard)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _told(nets: Mapping[str, Net]) -> str:
    lines = [f"- `{net.name}`: {net.description.task}" for net in nets.values()]
    return "Send an image, get a network's prediction. The networks:\n\n" + "\n".join(lines)


state, about = APIRouter(tags=["state"]), APIRouter(tags=["state"])


@state.get("/", include_in_schema=False)
async def start(request: Request) -> Response:
    """Redirect browsers to the page if it is mounted, and otherwise to the API's documentation."""
    return RedirectResponse("page/" if request.app.state.page else "docs")


@state.get("/health")
async def health() -> dict[str, str]:
    """Whether the process is alive."""
    return {"status": "ok"}


@state.get("/ready", responses=asking.fault(503))
async def ready(request: Request) -> dict[str, str]:
    """Whether another image request would be accepted; status 503 if the queue is full."""
    if door_of(request).full:
        raise HTTPException(503, "the request queue is full.", {"Retry-After": "1"})
    return {"status": "ready"}


@about.get("/models", responses=asking.fault(401))
async def models(request: Request) -> dict[str, Any]:
    """All networks: input, output, scores and origin of each."""
    return {"models": [net.to_dict() for net in request.app.state.nets.values()]}


@about.get("/models/{model}", responses=asking.fault(401, 404))
async def one(request: Request, model: str) -> dict[str, Any]:
    """Input, output, scores and origin of one network."""
    return asking.known(request, model).to_dict()


@about.get("/metrics", response_class=Response, responses=asking.fault(401))
async def metrics(request: Request) -> Response:
    """Request counts and durations, batch sizes and memory use, for Prometheus."""
    return Response(request.app.state.monitor.page(), media_type=CONTENT_TYPE_LATEST)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    said = str(error.detail)
    if error.status_code in (404, 405) and said == HTTPStatus(error.status_code).phrase:  # Starlette's default text
        said = f"there is no {request.method} {request.url.path[:200]} here; see /docs."
    return JSONResponse({"error": said}, error.status_code, error.headers)


async def _not_decoded(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _unfit(request: Request, error: Exception) -> Response:
    """Turn FastAPI's list of validation errors into one sentence."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{one['loc'][-1]}={str(one.get('input'))[:100]}: {one['msg']}" for one in error.errors()]
    return JSONResponse({"error": "; ".join(faults) + "."}, 422)


async def _bug(request: Request, error: Exception) -> Response:
    log.error("internal error in %s %s", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": "internal server error; see the server's log."}, 500)


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Any]] = {
    StarletteHTTPException: _refused,
    DataError: _not_decoded,
    RequestValidationError: _unfit,
    Exception: _bug,
}
