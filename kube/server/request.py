"""One HTTP request of the Kubernetes API, its parts parsed on demand and within limits."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import trio

from kube.server import protobuf
from kube.server import status as errors
from kube.server.admission import MAX_GRACE_S
from kube.server.bodies import parsed
from kube.server.log_options import LogOptions
from kube.server.selectors import Selector, field_selector, label_selector
from kube.server.target import Target, target_of
from kube.server.values import timestamp
from kube.settings import ApiSettings

JSON = "application/json"
MAX_QUERY_FIELDS = 32
_FRAMING = (b"content-length", b"transfer-encoding")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a DELETE asks for.

    Args:
        grace_s: seconds to end in; None for the object's own.
        uid, version: what the object must have to be deleted; empty where any will do.
    """

    grace_s: int | None
    uid: str
    version: str

    def check(self, resource: str, obj: Mapping[str, Any]) -> None:
        """Refuse to delete another object than is meant.

        Raises:
            ApiError: 409.
        """
        meta = obj["metadata"]
        wanted = (self.uid or meta["uid"], self.version or meta["resourceVersion"])
        if wanted != (meta["uid"], meta["resourceVersion"]):
            raise errors.conflict(resource, meta["name"])


class Request:
    """One HTTP request with its parts parsed on demand; bad ones raise ApiError."""

    def __init__(self, scope: Scope, receive: Receive, settings: ApiSettings) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._raw_headers = scope["headers"]
        self._headers = {key.decode("latin-1"): value for key, value in scope["headers"]}
        self._raw_query: bytes = scope["query_string"]
        self._receive, self._settings = receive, settings

    def check_framing(self) -> None:
        """Raise 400 for a request that two parsers may read differently (RFC 9112, 11.2)."""
        framing = [name for name, _ in self._raw_headers if name in _FRAMING]
        if len(framing) > 1 or not self.path.startswith("/"):
            raise errors.bad_request("the request's framing is ambiguous")

    @cached_property
    def target(self) -> Target | None:
        """The resource that it is about, None for other URLs."""
        watch, fields = self.flag("watch"), self.query("fieldSelector")
        return target_of(self.method, self.path, watch=watch, fields=fields)

    def wants(self, form: str) -> bool:
        """Whether the client would rather have objects in a form of meta.k8s.io, like Table."""
        return f"as={form}" in (self.header("accept") or "")

    def takes(self, media_type: str) -> bool:
        """Whether the client takes an answer of this media type."""
        accepted = (self.header("accept") or "").replace(" ", "").split(",")
        return any(one.startswith(media_type) for one in accepted)

    def all_headers(self) -> list[tuple[str, str]]:
        """Return every header as it came, names in lower case."""
        return [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in self._raw_headers
        ]

    def header(self, name: str) -> str | None:
        """Return a header by lower-case name."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def only(self, method: str) -> None:
        """Raise 405 unless the request has this method."""
        if self.method != method:
            raise errors.method_not_allowed()

    def query(self, name: str) -> str:
        """Return a parameter of the query, empty if absent."""
        try:
            pairs = parse_qsl(
                self._raw_query.decode("ascii"),
                keep_blank_values=True,
                max_num_fields=MAX_QUERY_FIELDS,
            )
        except ValueError:
            raise errors.bad_request("the query is malformed") from None
        return dict(pairs).get(name, "")

    def flag(self, name: str) -> bool:
        """Return a boolean parameter, false if absent."""
        return self.query(name).lower() in ("1", "t", "true")

    def number(self, name: str, default: int) -> int:
        """Return a parameter that is a whole number."""
        text = self.query(name)
        if text and not re.fullmatch(r"[0-9]{1,18}", text):
            raise errors.bad_request(f"the query parameter {name} is not a whole number")
        return int(text) if text else default

    def selector(self, resource: str = "") -> Selector | None:
        """Return the label and field selectors, for objects of `resource`, as one."""
        labels, fields = self.query("labelSelector"), self.query("fieldSelector")
        if not labels and not fields:
            return None
        by_labels, by_fields = label_selector(labels), field_selector(fields, resource)
        return lambda obj: by_labels(obj) and by_fields(obj)

    def log_options(self) -> LogOptions:
        """Return what of a log is wanted."""
        since_s = self.number("sinceSeconds", 0)
        return LogOptions(
            follow=self.flag("follow"),
            timestamps=self.flag("timestamps"),
            tail_lines=self.number("tailLines", 0) if self.query("tailLines") else None,
            since=timestamp(max(0, time.time_ns() - since_s * 1_000_000_000)) if since_s else "",
            limit_bytes=self.number("limitBytes", 0) or None,
        )

    async def patch(self) -> tuple[str, Any]:
        """Read a patch: its media type and content."""
        media_type = (self.header("content-type") or "").partition(";")[0].strip()
        try:
            return media_type, parsed(await self.body())
        except ValueError:
            raise errors.bad_request("the body is no patch") from None

    async def json(self) -> Any:
        """Read the body, JSON or protobuf, as JSON; no body is an empty object."""
        kind = (self.header("content-type") or JSON).partition(";")[0].strip()
        body = await self.body()
        if body and kind not in (JSON, protobuf.MEDIA_TYPE):
            raise errors.unsupported_media_type()
        if not body:
            return {}
        try:
            return parsed(body) if kind == JSON else protobuf.decode(body)
        except ValueError:
            raise errors.bad_request("the body is not a valid object") from None

    async def body(self) -> bytes:
        """Read the body within the limits of size and time."""
        chunks = bytearray()
        with trio.move_on_after(self._settings.body_s):
            while True:
                message = await self._receive()
                chunks += message.get("body", b"")
                if len(chunks) > self._settings.max_body_bytes:
                    raise errors.too_large(self._settings.max_body_bytes)
                if not message.get("more_body", False):
                    return bytes(chunks)
        raise errors.body_timeout()

    async def deletion(self) -> Deletion:
        """Return what a DELETE asks for, by its query and its DeleteOptions.

        Raises:
            ApiError: 400; a dry run too is refused rather than done.
        """
        options = await self.json()
        if not isinstance(options, dict):
            raise errors.bad_request("the body is not DeleteOptions")
        if options.get("dryRun"):
            raise errors.no_dry_run()
        only = options.get("preconditions")
        only = {} if only is None else only
        if not isinstance(only, dict) or not all(isinstance(v, str) for v in only.values()):
            raise errors.bad_request("the preconditions are not of the agreed shape")
        grace: object = self.number("gracePeriodSeconds", -1)
        if grace == -1:
            grace = options.get("gracePeriodSeconds")
        if grace is None or (type(grace) is int and 0 <= grace <= MAX_GRACE_S):
            return Deletion(grace, only.get("uid", ""), only.get("resourceVersion", ""))
        raise errors.bad_request(f"gracePeriodSeconds must be 0 to {MAX_GRACE_S}")
