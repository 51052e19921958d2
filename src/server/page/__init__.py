"""The browser page of the server: try every network, look at the data set and the training runs."""

import atexit
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

# Set before gradio is imported: no telemetry, no history of other visitors' inputs, and a private folder for uploads,
# because gradio's default one is shared by all users of the machine.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_RUN_HISTORY", "False")
os.environ["GRADIO_TEMP_DIR"] = mkdtemp(prefix=f"imagier-page-{os.getpid()}-{socket.gethostname()}-")

import gradio as gr
from anyio import to_thread
from fastapi import FastAPI, HTTPException, Request
from gradio import processing_utils, routes
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from imagier.files import is_alive
from imagier.server.limits import Limits
from imagier.server.nets import Net
from imagier.server.page.classify import classify_tab
from imagier.server.page.compress import compress_tab
from imagier.server.page.data import data_tab
from imagier.server.page.denoise import denoise_tab
from imagier.server.page.desk import Desk, sentence
from imagier.server.page.segment import segment_tab
from imagier.server.page.training import training_tab

_TABS: dict[str, Callable[[Desk, Net], None]] = {
    "classify": classify_tab,
    "segment": segment_tab,
    "denoise": denoise_tab,
    "compress": compress_tab,
}
_KEPT = 3600  # seconds after which uploads and results on disk are old, and deleted
_SWEPT = _KEPT // 4  # seconds from one such deletion to the next
_SENT = Path(os.environ["GRADIO_TEMP_DIR"])
atexit.register(shutil.rmtree, _SENT, ignore_errors=True)
_FORM = 1 << 16  # bytes of an upload form around its file
_FONTS: Any = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none is downloaded


def mount_page(app: FastAPI, limits: Limits) -> None:
    """Mount the page at /page of an application made by `imagier.server.app`."""
    _fetch_nothing()
    _forget_the_dead()
    desk = Desk(app)
    with gr.Blocks(title="imagier", analytics_enabled=False, delete_cache=(_SWEPT, _KEPT)) as page:
        gr.Markdown("# imagier\nSend an image, get a network's prediction. Nothing leaves this server. [API](../docs)")
        for net in desk.nets.values():
            with gr.Tab(f"{net.description.task.capitalize()} · {net.name}"):
                _TABS[net.description.task](desk, net)
        if desk.pictures is not None:
            with gr.Tab("Data"):
                data_tab(desk)
        with gr.Tab("Training runs"):
            training_tab(desk.nets)
    page.queue(max_size=limits.queue, default_concurrency_limit=None)
    page.has_launched = True  # set by launch(), which is not called; without it gradio does not check visitors' paths
    app.state.page = True
    most = int(limits.megabytes * 1e6)
    gr.mount_gradio_app(
        app,
        page,
        path="/page",
        theme=gr.themes.Default(primary_hue="blue", **_FONTS),
        auth=_keeper(limits.token) if limits.token else None,
        auth_message="Any user name; the password is the server's token.",
        max_file_size=most,
        app_kwargs={"max_body_size": most + _FORM},
        show_error=True,
        footer_links=[],
    )
    app.add_middleware(_Shelf, most=limits.queue * most)
    app.router.lifespan_context = _forgetting(app.router.lifespan_context)


class _Shelf:
    """ASGI middleware that refuses uploads with status 503 while the page's upload folder holds `most` bytes."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse an upload, or pass the request on."""
        if (
            scope["type"] == "http"
            and scope["path"].endswith("gradio_api/upload")
            and await to_thread.run_sync(self._full)
        ):
            gone = f"files are deleted after {(_KEPT + _SWEPT) // 60} minutes at most"
            said = f"the page's upload folder is full; {gone}. Try again later."
            await JSONResponse({"error": said}, 503, {"Retry-After": "60"})(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _full(self) -> bool:
        held = 0
        for path in _SENT.rglob("*"):
            with suppress(OSError):  # gradio may delete it meanwhile, in another thread
                held += path.stat().st_size if path.is_file() else 0
        return held >= self.most


def _forgetting(lifespan: Any) -> Any:
    """Wrap `lifespan` to delete all uploads at shutdown: when a signal ends the server, nothing runs after it."""

    @asynccontextmanager
    async def and_forget(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            yield state
        shutil.rmtree(_SENT, ignore_errors=True)

    return and_forget


def _forget_the_dead() -> None:
    """Delete the upload folders that killed servers have left on this machine."""
    for left in _SENT.parent.glob(f"imagier-page-*-{socket.gethostname()}-*"):
        process = left.name.split("-")[2]
        if process.isdecimal() and not is_alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _fetch_nothing() -> None:
    """Keep gradio from fetching any URL that a visitor names, for a field or as a proxy."""

    async def for_a_field(url: str, cache_dir: str) -> str:
        raise sentence(f"{url[:200]} was not uploaded to this page: drop an image into the field.")

    async def to_hand_on(url: str, request: Request) -> Any:
        raise HTTPException(403, "this page does not fetch anything from other addresses.")

    processing_utils.async_ssrf_protected_download = for_a_field
    routes.secure_url_stream_response = to_hand_on  # type: ignore[attr-defined]


def _keeper(token: str) -> Callable[[str, str], bool]:
    def knows(_name: str, password: str) -> bool:
        return secrets.compare_digest(password.encode(), token.encode())

    return knows
