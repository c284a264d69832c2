"""The registry as an ASGI application: OCI distribution specification 1.1, pull and push."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import trio

from customer_stub.asgi import Answer, Body, FilePart, Receive, Scope, StoreApp
from customer_stub.objects.disk import Draft
from customer_stub.objects.errors import S3Error
from customer_stub.registry.errors import RegistryError
from customer_stub.registry.names import DIGEST, MAX_NAME_CHARS, NAME, TAG
from customer_stub.registry.settings import Credentials, RegistrySettings
from customer_stub.registry.store import RegistryStore
from customer_stub.rows import DirectRows
from tunnel.journal import Journal

ROW = "A7"
MAX_QUERY_FIELDS = 16
API = "docker-distribution-api-version"
_MANIFEST = re.compile(rf"/v2/({NAME})/manifests/({TAG}|{DIGEST})")
_BLOB = re.compile(rf"/v2/({NAME})/blobs/({DIGEST})")
_UPLOADS = re.compile(rf"/v2/({NAME})/blobs/uploads/?")
_UPLOAD = re.compile(rf"/v2/({NAME})/blobs/uploads/([0-9a-f]{{32}})")
_TAGS = re.compile(rf"/v2/({NAME})/tags/list")
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_CONTENT_RANGE = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")

Handler = Callable[["_Request", re.Match[str]], Awaitable[Answer]]


@dataclass(slots=True)
class _Upload:
    name: str
    draft: Draft
    touched_s: float
    busy: bool = False


class _Request:
    """Method, path, query and headers of a request, and its body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._query = _query(scope["query_string"])
        self._headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        self.receive = receive

    def header(self, name: str) -> str:
        """Return a header, empty if absent."""
        value: bytes = self._headers.get(name, b"")
        return value.decode("latin-1")

    def query(self, name: str) -> str:
        """Return a parameter, empty if absent."""
        return self._query.get(name, "")


class RegistryApp(StoreApp):
    """Serves `/v2/` over a store.

    Args:
        store: blobs and manifests.
        pull, push: who may read, and who may write too (None: nobody).
        settings: limits.
        rows: counts content as row A7.
        journal: told of refusals by code, and of our own failures.
    """

    def __init__(
        self,
        store: RegistryStore,
        pull: Credentials,
        push: Credentials | None,
        settings: RegistrySettings,
        *,
        rows: DirectRows,
        journal: Journal,
    ) -> None:
        super().__init__(settings.max_requests, journal)
        self._store, self._settings = store, settings
        self._pull, self._push = pull, push
        self._rows = rows
        self._uploads: dict[str, _Upload] = {}
        self._routes: list[tuple[re.Pattern[str], dict[str, Handler]]] = [
            (_MANIFEST, {"GET": self._get_manifest, "PUT": self._put_manifest}),
            (_BLOB, {"GET": self._get_blob}),
            (_UPLOADS, {"POST": self._begin}),
            (
                _UPLOAD,
                {
                    "GET": self._progress,
                    "PATCH": self._append,
                    "PUT": self._finish,
                    "DELETE": self._cancel,
                },
            ),
            (_TAGS, {"GET": self._list_tags}),
        ]

    async def _answer(self, scope: Scope, body: Body) -> Answer:
        try:
            answer = await self._accept(_Request(scope, body))
        except RegistryError as problem:
            self._journal.event("image_refused", code=problem.code, status=problem.status)
            answer = _error(problem)
            await body.drain()
        except S3Error:  # of a draft: the disk is full
            answer = _error(RegistryError("DENIED", "the registry takes no more"))
            await body.drain()
        answer.headers[API] = "registry/2.0"
        return answer

    async def _accept(self, request: _Request) -> Answer:
        if self._free < 0:
            raise RegistryError("TOOMANYREQUESTS", "too many requests at once")
        may_push = self._authenticate(request.header("authorization"))
        if request.path in ("/v2/", "/v2"):
            return _json({})
        handler = self._handler(request)
        if request.method not in ("GET", "HEAD") and not may_push:
            raise RegistryError("DENIED", "these credentials are for pulls")
        return await handler()

    def _handler(self, request: _Request) -> Callable[[], Awaitable[Answer]]:
        method = "GET" if request.method == "HEAD" else request.method
        for pattern, handlers in self._routes:
            match = pattern.fullmatch(request.path)
            if match is not None and len(match[1]) <= MAX_NAME_CHARS:
                if method not in handlers:
                    raise RegistryError("UNSUPPORTED", "the method is not supported here")
                return partial(handlers[method], request, match)
        raise RegistryError("NAME_INVALID", "there is nothing at this path")

    def _authenticate(self, authorization: str) -> bool:
        """Tell whether the caller may push.

        Raises:
            RegistryError: he may not even pull.
        """
        scheme, _, value = authorization.partition(" ")
        user, password = "", ""
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                user = ""
        elif scheme.lower() == "bearer":
            user, password = self._pull.user, value
        if self._push is not None and _same(self._push, user, password):
            return True
        if not _same(self._pull, user, password):
            raise RegistryError("UNAUTHORIZED", "authentication required")
        return False

    async def _get_manifest(self, request: _Request, match: re.Match[str]) -> Answer:
        digest, media_type = self._store.manifest(match[1], match[2])
        headers = {"content-type": media_type, "docker-content-digest": digest}
        return await self._content(request, digest, headers)

    async def _get_blob(self, request: _Request, match: re.Match[str]) -> Answer:
        headers = {"content-type": "application/octet-stream", "docker-content-digest": match[2]}
        return await self._content(request, match[2], headers)

    async def _content(self, request: _Request, digest: str, headers: dict[str, str]) -> Answer:
        size = self._store.size(digest)
        headers |= {"etag": f'"{digest}"', "accept-ranges": "bytes"}
        start, end, status = 0, size, 200
        if (match := _RANGE.fullmatch(request.header("range"))) is not None:
            start, status = int(match[1]), 206
            end = min(int(match[2]) + 1, size) if match[2] else size
            if start >= end:
                raise RegistryError("RANGE_INVALID", "nothing of the range is there")
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        if request.method == "HEAD":
            return Answer(status, {**headers, "content-length": str(end - start)})
        descriptor = await self._store.open(digest)
        down = partial(self._rows.add, ROW, "down")
        return Answer(status, headers, file=FilePart(descriptor, start, end - start, down))

    async def _put_manifest(self, request: _Request, match: re.Match[str]) -> Answer:
        name, wanted = match[1], match[2]
        body = bytearray()
        async for piece in self._body(request, self._settings.max_manifest_bytes):
            body += piece
        media_type = request.header("content-type").partition(";")[0].strip()
        digest = self._store.add_manifest(name, wanted, media_type, bytes(body))
        location = f"/v2/{name}/manifests/{digest}"
        return Answer(201, {"location": location, "docker-content-digest": digest})

    async def _begin(self, request: _Request, match: re.Match[str]) -> Answer:
        self._forget_idle()
        name, mount = match[1], request.query("mount")
        if mount and re.fullmatch(DIGEST, mount):
            try:
                self._store.size(mount)
            except RegistryError:
                pass  # the specification: then begin an upload
            else:
                return _created(name, mount)
        if len(self._uploads) >= self._settings.max_uploads:
            raise RegistryError("TOOMANYREQUESTS", "too many uploads at once")
        upload_id = uuid.uuid4().hex
        upload = _Upload(name, self._store.new_draft(), trio.current_time())
        self._uploads[upload_id] = upload
        if request.query("digest"):
            await self._receive(request, upload)
            return self._keep(upload_id, upload, request.query("digest"))
        return _accepted(upload_id, upload)

    async def _progress(self, request: _Request, match: re.Match[str]) -> Answer:
        answer = _accepted(match[2], self._find(match))
        answer.status = 204
        return answer

    async def _append(self, request: _Request, match: re.Match[str]) -> Answer:
        upload = self._find(match)
        self._check_offset(request, upload)
        await self._receive(request, upload)
        return _accepted(match[2], upload)

    async def _finish(self, request: _Request, match: re.Match[str]) -> Answer:
        upload = self._find(match)
        self._check_offset(request, upload)
        await self._receive(request, upload)
        return self._keep(match[2], upload, request.query("digest"))

    async def _cancel(self, request: _Request, match: re.Match[str]) -> Answer:
        self._find(match)
        self._uploads.pop(match[2]).draft.discard()
        return Answer(204)

    async def _list_tags(self, request: _Request, match: re.Match[str]) -> Answer:
        return _json({"name": match[1], "tags": self._store.tags(match[1])})

    def _keep(self, upload_id: str, upload: _Upload, digest: str) -> Answer:
        del self._uploads[upload_id]
        try:
            if not re.fullmatch(DIGEST, digest):
                raise RegistryError("DIGEST_INVALID", "a SHA-256 digest is needed")
            self._store.keep(upload.draft, digest)
        finally:
            if not upload.draft.kept:
                upload.draft.discard()
        return _created(upload.name, digest)

    def _find(self, match: re.Match[str]) -> _Upload:
        upload = self._uploads.get(match[2])
        if upload is None or upload.name != match[1] or upload.busy:
            raise RegistryError("BLOB_UPLOAD_UNKNOWN", "there is no such upload")
        return upload

    def _check_offset(self, request: _Request, upload: _Upload) -> None:
        text = request.header("content-range")
        match = _CONTENT_RANGE.fullmatch(text)
        if text and (match is None or int(match[1]) != upload.draft.size_bytes):
            raise RegistryError("RANGE_INVALID", "the upload does not go on there")

    async def _receive(self, request: _Request, upload: _Upload) -> None:
        """Take a body in. A part that breaks off ends the upload: nobody knows what came."""
        upload.busy = True
        try:
            left = self._settings.max_blob_bytes - upload.draft.size_bytes
            async for piece in self._body(request, left):
                upload.draft.write(piece)
        except BaseException:
            self._uploads = {key: one for key, one in self._uploads.items() if one is not upload}
            upload.draft.discard()
            raise
        finally:
            upload.busy = False
            upload.touched_s = trio.current_time()

    async def _body(self, request: _Request, limit_bytes: int) -> AsyncIterator[bytes]:
        size, more = 0, True
        while more:
            message: dict[str, Any] = {}
            with trio.move_on_after(self._settings.idle_s):
                message = await request.receive()
            if message.get("type") != "http.request":
                raise RegistryError("BLOB_UPLOAD_INVALID", "the content stopped coming")
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > limit_bytes:
                raise RegistryError("SIZE_INVALID", f"more than {limit_bytes} bytes")
            self._rows.add(ROW, "up", len(piece))
            yield piece

    def _forget_idle(self) -> None:
        limit_s = trio.current_time() - self._settings.upload_s
        for key in [k for k, u in self._uploads.items() if u.touched_s < limit_s and not u.busy]:
            self._uploads.pop(key).draft.discard()


def _query(raw: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(raw.decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS))
    except ValueError:
        raise RegistryError("UNSUPPORTED", "the query is malformed") from None


def _same(expected: Credentials, user: str, password: str) -> bool:
    given = f"{user}:{password}".encode("utf-8", "replace")
    return hmac.compare_digest(f"{expected.user}:{expected.password}".encode(), given)


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json"}, json.dumps(value).encode())


def _error(problem: RegistryError) -> Answer:
    answer = _json({"errors": [{"code": problem.code, "message": problem.message}]}, problem.status)
    if problem.status == 401:
        answer.headers["www-authenticate"] = 'Basic realm="planesplit"'
    return answer


def _accepted(upload_id: str, upload: _Upload) -> Answer:
    headers = {
        "location": f"/v2/{upload.name}/blobs/uploads/{upload_id}",
        "range": f"0-{max(0, upload.draft.size_bytes - 1)}",
        "docker-upload-uuid": upload_id,
    }
    return Answer(202, headers)


def _created(name: str, digest: str) -> Answer:
    location = f"/v2/{name}/blobs/{digest}"
    return Answer(201, {"location": location, "docker-content-digest": digest})
