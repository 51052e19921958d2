"""The server's metrics for Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Monitor:
    """Metrics: requests and their durations, image requests in progress, batch sizes, and the process's resources."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()  # not the global one: a process may run several servers
        ProcessCollector(registry=self._registry)
        self.requests = Counter("imagier_requests", "Answered requests.", ["route", "status"], registry=self._registry)
        self.seconds = Histogram(
            "imagier_request_seconds", "Seconds from the request's headers to the end of the response.", ["route"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self.held = Gauge("imagier_requests_held", "Image requests in progress.", registry=self._registry)
        self._pictures = Histogram(
            "imagier_batch_pictures", "Images per batch of a network.", ["model"],
            buckets=(1, 2, 4, 8, 16, 32), registry=self._registry,
        )  # fmt: skip

    def batches(self, model: str) -> Callable[[int], None]:
        """Return a function to call with the number of images of every batch of a network."""
        return self._pictures.labels(model).observe

    def page(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class Watched:
    """ASGI middleware that reports every request to a monitor."""

    def __init__(self, app: ASGIApp, monitor: Monitor) -> None:
        self._app, self._monitor = app, monitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record its status and duration."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # used by health checks; uvicorn omits the response's body
            scope = {**scope, "method": "GET"}
        began, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # The route's pattern, not the path: each label value is kept as a series, and paths are unlimited.
            route = getattr(scope.get("route"), "path", "other")
            self._monitor.requests.labels(route, status).inc()
            self._monitor.seconds.labels(route).observe(time.perf_counter() - began)
