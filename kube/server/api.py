"""The HTTP side of the Kubernetes API: an ASGI application over a cluster's objects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import trio

from kube.server import status as errors
from kube.server.admitting import Admission
from kube.server.authorization import Authorization
from kube.server.cluster import ClusterObjects
from kube.server.discovery import AGGREGATED, discovery
from kube.server.exposition import MEDIA_TYPE as EXPOSITION
from kube.server.impersonation import impersonated
from kube.server.log_options import LogOptions
from kube.server.metrics import ServerMetrics, machine
from kube.server.openapi import openapi
from kube.server.request import JSON, Receive, Request, Scope
from kube.server.resources import Resources
from kube.server.reviews import REVIEWS, reviewed
from kube.server.status import ApiError
from kube.server.table import as_metadata, as_table
from kube.server.target import Target
from kube.server.tokens import Tokens, User
from kube.server.webhooks import Connect, Webhooks, connect
from kube.settings import ApiSettings
from policy.bindings import ANONYMOUS_USER, UNAUTHENTICATED
from policy.roles import Plane
from policy.rules import Request as Asked
from tunnel.http.disconnect import until_disconnected
from tunnel.journal import Journal

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+planesplit",
    "platform": "linux/amd64",
}
PUBLIC = {"/livez": "ok", "/readyz": "ok", "/healthz": "ok", "/version": VERSION}
PUBLIC["/version/"] = VERSION
ANONYMOUS = User(ANONYMOUS_USER, frozenset({UNAUTHENTICATED}))
ACCESS, METRICS, CADVISOR = "/_planesplit/access", "/metrics", "/metrics/cadvisor"
TEXT = "text/plain"
LOG = ("v1", "pods", "log", "get")

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]
Logs = Callable[[str, str, LogOptions], AsyncIterator[bytes]]
Page = Callable[[str], Any]


def no_page(_path: str) -> None:
    """Have no further pages."""


class KubernetesApp:
    """Answers requests for objects and logs, each of them authorised.

    Attributes:
        authorization: decides, and counts what was asked for.

    Args:
        objects: the cluster's.
        plane: whose roles hold.
        logs: a pod's output by namespace and name, after one empty piece; before that it raises
            ApiError if there is none.
        tokens: who calls.
        settings: limits.
        journal: told of our own failures.
        page: further answers for the operator, by path; None where there is none.
        connect: the way to webhooks; another one where there is no network.
    """

    def __init__(
        self,
        objects: ClusterObjects,
        *,
        plane: Plane,
        logs: Logs,
        tokens: Tokens,
        settings: ApiSettings,
        journal: Journal,
        page: Page = no_page,
        connect: Connect = connect,
    ) -> None:
        self.authorization = Authorization(plane, objects.store)
        admission = Admission(objects, Webhooks(objects.store, connect))
        self._resources = Resources(objects, self.authorization, admission)
        self._logs, self._page = logs, page
        self._tokens, self._settings, self._journal = tokens, settings, journal
        self._metrics, self._store = ServerMetrics(), objects.store
        self._requests = _Gate(settings.max_requests)
        self._watches = _Gate(settings.max_watches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; WebSockets are refused."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        request = Request(scope, receive, self._settings)
        send = self._counted(request, send)
        try:
            request.check_framing()
            await self._serve(request, receive, send)
        except ApiError as error:
            await _respond(send, error.code, error.status())
        except Exception as error:
            self._journal.event("internal_error", kind=type(error).__name__)
            raise  # the server answers 500

    def _counted(self, request: Request, send: Send) -> Send:
        """Return `send`, with its answers counted."""

        async def counting(message: Json) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(_about(request), message["status"])
            await send(message)

        return counting

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        target = request.target
        user = self._admitted(request, target)
        if target is None:
            with self._requests:
                await self._document(request, send)
        elif (target.version, target.resource, target.subresource, target.verb) == LOG:
            with self._watches, self._metrics.open(_about(request)):
                pieces = self._logs(target.namespace, target.name, request.log_options())
                await anext(pieces)  # there is a log; else it raises ApiError
                await _while_connected(lambda: _text(pieces, send), receive)
        elif target.verb == "watch":
            with self._watches, self._metrics.open(_about(request)):
                await self._watch(request, target, receive, send)
        else:
            with self._requests:
                code, answer = await self._answer(request, user, target)
            await _respond(send, code, _shaped(request, target, answer))

    def _admitted(self, request: Request, target: Target | None) -> User:
        """Return the caller, who may do what the request asks for.

        Raises:
            ApiError: 401, 403.
        """
        user = ANONYMOUS
        if request.path not in PUBLIC:
            user = self._tokens.authenticate(request.header("authorization"))
            self.authorization.accounts.know(user.name)
            user = impersonated(request, user, self.authorization)
        groups = user.all_groups
        if target is None:
            asked = Asked(user.name, request.method.lower(), path=request.path, groups=groups)
        else:
            asked = target.asked(user.name, groups)
        self.authorization.require(user, asked)
        return user

    async def _document(self, request: Request, send: Send) -> None:
        """Answer a URL that is no resource's."""
        request.only("GET")
        path, accounts = request.path, self.authorization.accounts
        if path in (METRICS, CADVISOR):
            await _respond_text(send, self._exposed(path))
            return
        aggregated = request.takes(AGGREGATED)
        kind = JSON
        if path in PUBLIC:
            answer: Any = PUBLIC[path]
        elif path == ACCESS:
            answer = accounts.report()
        elif (answer := discovery(path, aggregated=aggregated)) is not None:
            kind = AGGREGATED if answer["kind"] == "APIGroupDiscoveryList" else JSON
        elif (answer := openapi(path) or self._page(path)) is None:
            raise errors.no_such_path()
        await _respond(send, 200, answer, kind)

    def _exposed(self, path: str) -> str:
        """Return metrics: of this server, or of the machine that is the cluster's node."""
        if path == METRICS:
            return "".join((*self.authorization.accounts.lines(), *self._metrics.lines()))
        lines = machine(self._store)
        if lines is None:
            raise errors.no_such_path()
        return "".join(lines)

    async def _answer(self, request: Request, user: User, target: Target) -> tuple[int, Any]:
        if target.key not in REVIEWS:
            return await self._resources.answer(request, user, target)
        if (target.version.rpartition("/")[2], target.namespace, target.subresource) != (
            "v1",
            "",
            "",
        ):
            raise errors.no_such_path()
        if (target.verb, target.name) != ("create", ""):
            raise errors.method_not_allowed()
        return 201, reviewed(self.authorization, user, target.key, await request.json())

    async def _watch(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        found = self._resources.find(target)
        watch_list = request.flag("sendInitialEvents")  # everything first, also with a version
        since = 0 if watch_list else request.number("resourceVersion", 0)
        if since:
            found.check_version(since)
        events = found.watch(
            target.namespace or None,
            since=since,
            timeout_s=request.number("timeoutSeconds", 0) or None,
            bookmarks=request.flag("allowWatchBookmarks"),
            selector=request.selector(target.key),
            initial_end=watch_list,
        )
        table = request.wants("Table")
        shown = _tabled(target.key, events) if table else events
        await _while_connected(lambda: _stream(shown, send), receive)


class _Gate:
    """Lets at most `limit` in at a time and refuses the others."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def __enter__(self) -> None:
        if not self._free:
            raise errors.too_many_requests()
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1


def _about(request: Request) -> Asked:
    """Return what a request is about, for counting; one that can't be read is about nothing."""
    try:
        target = request.target
    except ApiError:
        target = None
    if target is not None:
        return target.asked("", ())
    return Asked("", request.method.lower(), path=request.path)


def _shaped(request: Request, target: Target, answer: Any) -> Any:
    """Return an answer as the client wants it: whole, as a table, or without its content."""
    if request.wants("Table") and request.method == "GET":
        return as_table(target.key, answer)
    if request.wants("PartialObjectMetadata"):
        return as_metadata(answer)
    return answer


async def _tabled(resource: str, events: AsyncIterator[Json]) -> AsyncIterator[Json]:
    async for event in events:
        if event["type"] not in ("ERROR", "BOOKMARK"):
            event = {**event, "object": as_table(resource, event["object"])}
        yield event


async def _while_connected(serve: Callable[[], Awaitable[None]], receive: Receive) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_disconnected, receive, nursery.cancel_scope)
        await serve()
        nursery.cancel_scope.cancel()


async def _stream(events: AsyncIterator[Json], send: Send) -> None:
    """Send watch events as JSON lines; an error after the start becomes the last event."""
    await _start(send, 200)
    try:
        async for event in events:
            await send(_body(event, more=True))
    except ApiError as error:
        await send(_body({"type": "ERROR", "object": error.status()}, more=True))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _text(pieces: AsyncIterator[bytes], send: Send) -> None:
    started = False
    async for piece in pieces:
        if not started:
            await _start(send, 200, TEXT)
            started = True
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if not started:
        await _start(send, 200, TEXT)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _respond(send: Send, code: int, answer: Any, kind: str = JSON) -> None:
    await _start(send, code, kind)
    await send(_body(answer, more=False))


async def _respond_text(send: Send, text: str) -> None:
    await _start(send, 200, EXPOSITION)
    await send({"type": "http.response.body", "body": text.encode(), "more_body": False})


async def _start(send: Send, code: int, kind: str = JSON) -> None:
    headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-cache, private")]
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": code, "headers": headers})


def _body(answer: Any, *, more: bool) -> Json:
    text = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
    return {"type": "http.response.body", "body": text, "more_body": more}
