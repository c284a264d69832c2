"""The operators' listener: liveness, readiness, metrics, version. Plain HTTP on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version

from relay.http1 import Http1
from relay.http_head import Request
from relay.metrics import Metrics, Reason

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class OpsSide:
    """Answers operators and probes.

    Args:
        boot_id: names this life of the relay.
        metrics: what /metrics shows.
        not_ready: why the relay is not ready, "" when it is.
    """

    def __init__(self, boot_id: str, metrics: Metrics, not_ready: Callable[[], str]) -> None:
        self._metrics, self._not_ready = metrics, not_ready
        self._version = json.dumps({"version": version("planesplit"), "boot": boot_id}).encode()

    async def handle(self, http: Http1, request: Request) -> None:
        """Answer one request."""
        status, kind, body = self._answer(request)
        await http.answer(status, (("content-type", kind),), body)

    def _answer(self, request: Request) -> tuple[int, str, bytes]:
        if request.method != "GET":
            self._metrics.reject(Reason.METHOD)
            return 405, "text/plain", b"only GET is served here\n"
        match request.target:
            case "/livez":
                return 200, "text/plain", b"ok\n"
            case "/readyz":
                reason = self._not_ready()
                return (503 if reason else 200), "text/plain", f"{reason or 'ok'}\n".encode()
            case "/metrics":
                return 200, PROMETHEUS, self._metrics.render()
            case "/version":
                return 200, "application/json", self._version
        self._metrics.reject(Reason.NOT_FOUND)
        return 404, "text/plain", b"known: /livez /readyz /metrics /version\n"
