"""The HTTP side of the Kubernetes API: an ASGI application over its collections."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import trio

from kube.server import status as errors
from kube.server.collection import Collection
from kube.server.kinds import POD_LOG, REVIEWS, REVIEWS_GROUP, discovery
from kube.server.log_options import LogOptions
from kube.server.pods import PODS, PodApi
from kube.server.request import JSON, Receive, Request, Scope
from kube.server.secrets import SECRETS, SecretApi
from kube.server.status import ApiError
from kube.server.table import as_metadata, as_table
from kube.server.tokens import Tokens, User
from kube.settings import ApiSettings
from tunnel.http.disconnect import until_disconnected
from tunnel.journal import Journal

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+planesplit",
    "platform": "linux/amd64",
}
PUBLIC = {"/livez": "ok", "/readyz": "ok", "/version": VERSION}

_NAMED = r"(?:/(?P<name>[^/]+))?"
_CLUSTER = re.compile(rf"/api/v1/(?P<resource>[a-z]+){_NAMED}")
_NAMESPACED = re.compile(rf"/api/v1/namespaces/(?P<namespace>[^/]+)/(?P<resource>[a-z]+){_NAMED}")
_LOG = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods/(?P<name>[^/]+)/log")
_PRODUCED = re.compile(r"/_planesplit/produced/(?P<namespace>[^/]+)/(?P<name>[^/]+)")
_REVIEW = f"/apis/{REVIEWS_GROUP}/v1/{REVIEWS}"

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]


class Served(Protocol):
    """What is behind the API; `customer_stub.cluster.Cluster` is one."""

    @property
    def pods(self) -> PodApi:
        """Pods."""

    @property
    def secrets(self) -> SecretApi:
        """Secrets."""

    @property
    def collections(self) -> Mapping[str, Collection]:
        """Every resource by its plural name."""

    def produced(self, namespace: str, name: str) -> Json | None:
        """The account of a pod's output, None if it never ran."""

    def log(self, namespace: str, name: str, options: LogOptions) -> AsyncIterator[bytes]:
        """A pod's output; raises ApiError before its first piece."""


class KubernetesApp:
    """Answers requests for objects, logs, and for what pods produced.

    Args:
        served: what is behind.
        tokens: who may call.
        settings: limits.
        journal: told of our own failures.
        pages: further answers for the operator, by path; called for each request.
    """

    def __init__(
        self,
        served: Served,
        *,
        tokens: Tokens,
        settings: ApiSettings,
        journal: Journal,
        pages: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self._served, self._pages = served, dict(pages or {})
        self._tokens, self._settings, self._journal = tokens, settings, journal
        self._requests = _Gate(settings.max_requests)
        self._watches = _Gate(settings.max_watches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._http(Request(scope, receive, self._settings), receive, send)

    async def _http(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            request.check_framing()
            if (target := _target(request.path)) and request.is_watch:
                with self._watches:
                    await self._watch(request, *target, receive, send)
            elif match := _LOG.fullmatch(request.path):
                with self._watches:
                    await self._log(request, match["namespace"], match["name"], receive, send)
            else:
                with self._requests:
                    code, answer = await self._route(request)
                if target:
                    answer = _shaped(request, target[0], answer)
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
        if target := _target(request.path):
            return await self._objects(request, user, *target)
        if (document := discovery(request.path)) is not None:
            request.only("GET")
            return 200, document
        if request.path == _REVIEW:
            request.only("POST")
            return 201, _reviewed(user, await request.json())
        return 200, self._own(request, user)

    def _own(self, request: Request, user: User) -> Any:
        match = _PRODUCED.fullmatch(request.path)
        page = self._pages.get(request.path)
        if match is None and page is None:
            raise errors.no_such_path()
        request.only("GET")
        user.require_path("get", request.path)
        if page is not None:
            return page()
        assert match is not None
        found = self._served.produced(match["namespace"], match["name"])
        if found is None:
            raise errors.not_found(PODS, match["name"])
        return found

    async def _objects(
        self, request: Request, user: User, resource: str, namespace: str | None, name: str | None
    ) -> tuple[int, Any]:
        collection = self._collection(resource, namespace, name)
        if request.method in ("POST", "PUT", "DELETE") and namespace is not None:
            return await self._write(request, user, resource, namespace, name)
        request.only("GET")
        if name is not None:
            user.require("get", resource, namespace)
            return 200, collection.get(namespace or "", name)
        user.require("list", resource, namespace)
        limit, after = request.number("limit", 0), request.query("continue")
        selector = request.selector(resource)
        return 200, collection.list(namespace, selector, limit=limit, after=after)

    async def _write(
        self, request: Request, user: User, resource: str, namespace: str, name: str | None
    ) -> tuple[int, Any]:
        pods, secrets = self._served.pods, self._served.secrets
        match request.method, resource, name:
            case "POST", "pods" | "secrets", None:
                user.require("create", resource, namespace)
                target = pods if resource == PODS else secrets
                return 201, target.create(namespace, await request.json())
            case "DELETE", "pods", str(name):
                user.require("delete", PODS, namespace)
                return 200, pods.delete(namespace, name, grace_s=await request.grace_s())
            case "DELETE", "secrets", str(name):
                user.require("delete", SECRETS, namespace)
                return 200, secrets.delete(namespace, name)
            case "PUT", "secrets", str(name):
                user.require("update", SECRETS, namespace)
                return 200, secrets.replace(namespace, name, await request.json())
        raise errors.method_not_allowed()

    def _collection(self, resource: str, namespace: str | None, name: str | None) -> Collection:
        collection = self._served.collections.get(resource)
        if collection is None:
            raise errors.no_such_path()
        namespaced = collection.resource.namespaced
        if namespace is not None and not namespaced:
            raise errors.no_such_path()
        if name is not None and namespace is None and namespaced:
            raise errors.no_such_path()
        return collection

    async def _watch(
        self,
        request: Request,
        resource: str,
        namespace: str | None,
        name: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        user = self._tokens.authenticate(request.header("authorization"))
        if name is not None:
            raise errors.method_not_allowed()
        collection = self._collection(resource, namespace, None)
        user.require("watch", resource, namespace)
        watch_list = request.flag("sendInitialEvents")  # everything first, also with a version
        since = 0 if watch_list else request.number("resourceVersion", 0)
        if since:
            collection.check_version(since)
        events = collection.watch(
            namespace,
            since=since,
            timeout_s=request.number("timeoutSeconds", 0) or None,
            bookmarks=request.flag("allowWatchBookmarks"),
            selector=request.selector(resource),
            initial_end=watch_list,
        )
        table = request.wants("Table")
        shown = _tabled(resource, events) if table else events
        await _while_connected(lambda: _stream(shown, send), receive)

    async def _log(
        self, request: Request, namespace: str, name: str, receive: Receive, send: Send
    ) -> None:
        user = self._tokens.authenticate(request.header("authorization"))
        request.only("GET")
        user.require("get", POD_LOG, namespace)
        pieces = self._served.log(namespace, name, request.log_options())
        await _while_connected(lambda: _text(pieces, send), receive)


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


def _target(path: str) -> tuple[str, str | None, str | None] | None:
    """Return the resource, namespace and name that a path is about."""
    if match := _NAMESPACED.fullmatch(path):
        return match["resource"], match["namespace"], match["name"]
    if match := _CLUSTER.fullmatch(path):
        return match["resource"], None, match["name"]
    return None


def _shaped(request: Request, resource: str, answer: Any) -> Any:
    """Return an answer as the client wants it: whole, as a table, or without its content."""
    if request.wants("Table") and request.method == "GET":
        return as_table(resource, answer)
    if request.wants("PartialObjectMetadata"):
        return as_metadata(answer)
    return answer


def _reviewed(user: User, body: Any) -> Json:
    """Answer a SelfSubjectAccessReview."""
    try:
        asked = body["spec"]["resourceAttributes"]
        words = {key: asked.get(key) or "" for key in ("verb", "resource", "subresource")}
        words["namespace"] = asked.get("namespace") or ""
        if not all(isinstance(word, str) for word in words.values()):
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise errors.bad_request("the body is no SelfSubjectAccessReview of a resource") from None
    resource = "/".join(filter(None, (words["resource"], words["subresource"])))
    allowed = user.may(words["verb"], resource, words["namespace"] or None)
    meta = {"kind": "SelfSubjectAccessReview", "apiVersion": f"{REVIEWS_GROUP}/v1"}
    return {**meta, "metadata": {}, "spec": body["spec"], "status": {"allowed": allowed}}


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
            await _start(send, 200, "text/plain")
            started = True
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if not started:
        await _start(send, 200, "text/plain")
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _respond(send: Send, code: int, answer: Any) -> None:
    await _start(send, code)
    await send(_body(answer, more=False))


async def _start(send: Send, code: int, kind: str = JSON) -> None:
    headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-cache, private")]
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": code, "headers": headers})


def _body(answer: Any, *, more: bool) -> Json:
    text = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
    return {"type": "http.response.body", "body": text, "more_body": more}
