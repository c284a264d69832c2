"""Cross-origin requests: what a browser may send to the store and see of its answers."""

from __future__ import annotations

import re

from customer_stub.asgi import Answer, Scope
from customer_stub.objects.errors import denied

METHODS = "GET, HEAD, PUT"
EXPOSED = "ETag, Content-Length, Content-Range, Accept-Ranges, Last-Modified, x-amz-request-id"
MAX_AGE_S = 600  # browsers keep preflights no longer than about that
_NAMES = re.compile(r"[A-Za-z0-9_-]{1,64}(, ?[A-Za-z0-9_-]{1,64}){0,31}")


class Cors:
    """Answers for configured origins; `*` is any.

    Args:
        origins: like `https://console.example`.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def headers(self, scope: Scope) -> dict[str, str]:
        """Return what an answer to this request carries."""
        allowed = self._allowed(_header(scope, b"origin"))
        if not allowed:
            return {}
        return {
            "access-control-allow-origin": allowed,
            "access-control-expose-headers": EXPOSED,
            "vary": "Origin",
        }

    def preflight(self, scope: Scope) -> Answer:
        """Answer OPTIONS.

        Raises:
            S3Error: 403, not from this origin or not with this method.
        """
        method = _header(scope, b"access-control-request-method")
        asked = _header(scope, b"access-control-request-headers")
        if not self._allowed(_header(scope, b"origin")) or method not in METHODS.split(", "):
            raise denied("CORSResponse: This CORS request is not allowed.")
        headers = {
            "access-control-allow-methods": METHODS,
            "access-control-max-age": str(MAX_AGE_S),
        }
        if _NAMES.fullmatch(asked):
            headers["access-control-allow-headers"] = asked
        if _header(scope, b"access-control-request-private-network") == "true":
            headers["access-control-allow-private-network"] = "true"
        return Answer(200, headers)

    def _allowed(self, origin: str) -> str:
        if not origin:
            return ""
        return "*" if "*" in self._origins else origin if origin in self._origins else ""


def _header(scope: Scope, name: bytes) -> str:
    values = (value for key, value in scope["headers"] if key.lower() == name)
    return next(values, b"").decode("latin-1")
