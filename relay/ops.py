"""The operators' listener: liveness, readiness, metrics, version. Plain HTTP on loopback."""

from __future__ import annotations

import json
from importlib.metadata import version

from relay.core import Core
from relay.http1 import Http1
from relay.http_head import Request
from relay.metrics import Reason

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class OpsSide:
    """Answers operators and probes.

    Args:
        core: the relay's.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        about = {"version": version("planesplit"), "boot": core.boot_id}
        self._version = json.dumps(about).encode()

    async def handle(self, http: Http1, request: Request) -> None:
        """Answer one request."""
        status, kind, body = self._answer(request)
        await http.answer(status, (("content-type", kind),), body)

    def _answer(self, request: Request) -> tuple[int, str, bytes]:
        if request.method != "GET":
            self._core.metrics.reject(Reason.METHOD)
            return 405, "text/plain", b"only GET is served here\n"
        match request.target:
            case "/livez":
                return 200, "text/plain", f"ok\nseal: {self._core.seal}\n".encode()
            case "/readyz":
                reason = self._core.not_ready()
                return (503 if reason else 200), "text/plain", f"{reason or 'ok'}\n".encode()
            case "/metrics":
                return 200, PROMETHEUS, self._core.metrics.render()
            case "/version":
                return 200, "application/json", self._version
        self._core.metrics.reject(Reason.NOT_FOUND)
        return 404, "text/plain", b"known: /livez /readyz /metrics /version\n"
