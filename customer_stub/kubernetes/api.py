"""The HTTP side of the Kubernetes API: an ASGI application over `PodApi`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import trio

from customer_stub.kubernetes import status as errors
from customer_stub.kubernetes.access import Tokens, User
from customer_stub.kubernetes.pods import PODS, PodApi
from customer_stub.kubernetes.request import JSON, Receive, Request, Scope
from customer_stub.kubernetes.status import ApiError
from customer_stub.settings import CustomerSettings
from tunnel.journal import Journal

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+planesplit",
    "platform": "linux/amd64",
}
PUBLIC = {"/livez": "ok", "/readyz": "ok", "/version": VERSION}

_PODS = re.compile(r"/api/v1/(?:namespaces/(?P<namespace>[^/]+)/)?pods")
_POD = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods/(?P<name>[^/]+)")
_PRODUCED = re.compile(r"/_planesplit/produced/(?P<namespace>[^/]+)/(?P<name>[^/]+)")

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]
ProducedOf = Callable[[str, str], Json | None]


class KubernetesApp:
    """Answers requests for pods, and for what they produced.

    Args:
        pods: the API behind.
        produced: the account of a pod's output by namespace and name, None if it never ran.
        tokens: who may call.
        settings: limits.
        journal: told of our own failures.
    """

    def __init__(
        self,
        pods: PodApi,
        produced: ProducedOf,
        *,
        tokens: Tokens,
        settings: CustomerSettings,
        journal: Journal,
    ) -> None:
        self._pods, self._produced = pods, produced
        self._tokens, self._settings, self._journal = tokens, settings, journal
        self._requests = _Gate(settings.max_requests)
        self._watches = _Gate(settings.max_watches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self._http(Request(scope, receive, self._settings), receive, send)

    async def _http(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            if request.is_watch and (match := _PODS.fullmatch(request.path)):
                with self._watches:
                    await self._watch(request, match["namespace"], receive, send)
            else:
                with self._requests:
                    code, answer = await self._route(request)
                await _respond(send, code, answer)
        except ApiError as error:
            await _respond(send, error.code, error.status())
        except Exception as error:
            self._journal.event("internal_error", kind=type(error).__name__)
            raise  # the server answers 500

    async def _route(self, request: Request) -> tuple[int, Any]:
        if request.path in PUBLIC:
            request.only("GET")
            return 200, PUBLIC[request.path]
        user = self._tokens.authenticate(request.header("authorization"))
        if match := _PODS.fullmatch(request.path):
            return await self._collection(request, user, match["namespace"])
        if match := _POD.fullmatch(request.path):
            return await self._pod(request, user, match["namespace"], match["name"])
        if match := _PRODUCED.fullmatch(request.path):
            request.only("GET")
            user.require_path("get", request.path)
            found = self._produced(match["namespace"], match["name"])
            if found is None:
                raise errors.not_found(PODS, match["name"])
            return 200, found
        raise errors.no_such_path()

    async def _collection(
        self, request: Request, user: User, namespace: str | None
    ) -> tuple[int, Any]:
        if request.method == "POST" and namespace is not None:
            user.require("create", PODS, namespace)
            return 201, self._pods.create(namespace, await request.json())
        request.only("GET")
        user.require("list", PODS, namespace)
        return 200, self._pods.list(namespace, request.selector())

    async def _pod(
        self, request: Request, user: User, namespace: str, name: str
    ) -> tuple[int, Any]:
        if request.method == "DELETE":
            user.require("delete", PODS, namespace)
            return 200, self._pods.delete(namespace, name, grace_s=await request.grace_s())
        request.only("GET")
        user.require("get", PODS, namespace)
        return 200, self._pods.get(namespace, name)

    async def _watch(
        self, request: Request, namespace: str | None, receive: Receive, send: Send
    ) -> None:
        user = self._tokens.authenticate(request.header("authorization"))
        user.require("watch", PODS, namespace)
        since = request.number("resourceVersion", 0)
        if since:
            self._pods.check_version(since)
        events = self._pods.watch(
            namespace,
            since=since,
            timeout_s=request.number("timeoutSeconds", 0) or None,
            bookmarks=request.flag("allowWatchBookmarks"),
            selector=request.selector(),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_disconnected, receive, nursery.cancel_scope)
            await _stream(events, send)
            nursery.cancel_scope.cancel()


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


async def _stream(events: AsyncIterator[Json], send: Send) -> None:
    """Send watch events as JSON lines; an error after the start becomes the last event."""
    await _start(send, 200)
    try:
        async for event in events:
            await send(_body(event, more=True))
    except ApiError as error:
        await send(_body({"type": "ERROR", "object": error.status()}, more=True))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _respond(send: Send, code: int, answer: Any) -> None:
    await _start(send, code)
    await send(_body(answer, more=False))


async def _start(send: Send, code: int) -> None:
    headers = [(b"content-type", JSON.encode()), (b"cache-control", b"no-cache, private")]
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": code, "headers": headers})


def _body(answer: Any, *, more: bool) -> Json:
    text = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
    return {"type": "http.response.body", "body": text, "more_body": more}


async def _until_disconnected(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
