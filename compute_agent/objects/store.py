"""The agent's own requests to the customer's object store: look, read, write."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import trio

from compute_agent.objects.keys import Place
from compute_agent.objects.settings import ObjectSettings
from compute_agent.objects.signer import CannotSign, Identity, Signer, usable_url
from tunnel.settings import SettingError
from tunnel.tls import client_context

NOT_FOUND, SERVER_ERRORS = 404, 500
TRANSIENT = frozenset({408, 425, 429})
READ_BYTES = 262_144

_MD5 = re.compile(r"[0-9a-f]{32}")


class StoreError(Exception):
    """The store cannot be asked now; worth a retry."""


class StoreRefused(StoreError):
    """The store refuses the request; `status` is its HTTP status. A retry does not help."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the object store answered {status}")


class TooLarge(StoreError):
    """An object is larger than what may be read of one."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the object has {size_bytes} bytes, the limit is {limit_bytes}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at an object tells.

    Args:
        size_bytes: its length.
        md5: of its content in hex; empty where the store does not say.
    """

    size_bytes: int
    md5: str


class ObjectStore:
    """The store behind its HTTP API, path style.

    Args:
        settings: where it is, and bounds.
        signer: signs every request.
        transport: instead of the network, for tests.

    Raises:
        SettingError: URL or CA file cannot be used.
    """

    def __init__(
        self,
        settings: ObjectSettings,
        signer: Signer,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._signer = signer
        self._request_s, self._copy_s = settings.request_s, settings.copy_s
        self._copies = trio.Semaphore(settings.connections // 2)  # each needs two connections
        self._client = httpx.AsyncClient(
            timeout=settings.request_s,
            verify=_context(settings) or False,
            limits=httpx.Limits(max_connections=settings.connections),
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def head(self, identity: Identity, place: Place) -> Found | None:
        """Look at an object; None if there is none.

        Raises:
            StoreError
        """
        async with self._asked(identity, "HEAD", place) as response:
            if response.status_code == NOT_FOUND:
                return None
            return Found(_length(response), response.headers.get("etag", "").strip('"'))

    async def head_bucket(self, identity: Identity, bucket: str) -> None:
        """Look at a bucket, whether it is there or not.

        Raises:
            StoreRefused: this identity may not.
            StoreError
        """
        async with self._asked(identity, "HEAD", Place(bucket, "")):
            pass

    async def get(self, identity: Identity, place: Place, limit_bytes: int) -> bytes | None:
        """Read an object; None if there is none.

        Raises:
            TooLarge: it is over `limit_bytes`.
            StoreError
        """
        async with self._asked(identity, "GET", place) as response:
            if response.status_code == NOT_FOUND:
                return None
            if (size := _length(response)) > limit_bytes:
                raise TooLarge(size, limit_bytes)
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > size:
                    raise StoreError("the object store sent more than it said")
        if len(body) != size:
            raise StoreError("the object store sent less than it said")
        return bytes(body)

    async def put(self, identity: Identity, place: Place, body: bytes, content_type: str) -> None:
        """Write an object, whatever was there.

        Raises:
            StoreError
        """
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"Content-MD5": base64.b64encode(digest).decode(), "Content-Type": content_type}
        async with self._asked(identity, "PUT", place, body, headers) as response:
            if response.status_code == NOT_FOUND:  # of the bucket
                raise StoreRefused(NOT_FOUND)

    async def copy(self, identity: Identity, source: Place, target: Place) -> bool:
        """Copy an object, unless it is there already; False if there is none.

        Nothing of it is held: what comes in goes out, and the store checks its MD5.

        Raises:
            StoreError
        """
        found = await self.head(identity, source)
        if found is None:
            return False
        if await self.head(identity, target) != found:
            async with (
                self._copies,
                self._asked(identity, "GET", source, deadline_s=self._copy_s) as reading,
            ):
                if reading.status_code == NOT_FOUND:
                    return False
                await self._write(identity, target, found, reading)
        return True

    async def _write(
        self, identity: Identity, target: Place, found: Found, reading: httpx.Response
    ) -> None:
        """Write what is being read, by a URL: a header cannot sign bytes that are yet to come."""
        headers = {"Content-Length": str(found.size_bytes)}
        if _MD5.fullmatch(found.md5):  # of an object that came in parts it is no digest
            headers["Content-MD5"] = base64.b64encode(bytes.fromhex(found.md5)).decode()
        ttl_s = math.ceil(self._copy_s)
        signed = self._signer.url(identity, "PUT", target, ttl_s, headers, own=True)
        answer = await self._client.put(
            signed.url, headers=headers, content=reading.aiter_raw(READ_BYTES)
        )
        if answer.status_code == NOT_FOUND:
            raise StoreRefused(NOT_FOUND)
        _check(answer.status_code)

    @asynccontextmanager
    async def _asked(
        self,
        identity: Identity,
        method: str,
        place: Place,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request; the answer is a success or NOT_FOUND. The deadline covers its body."""
        try:
            url, signed = self._signer.own(identity, method, place, body, headers or {})
            with trio.fail_after(deadline_s or self._request_s):
                async with self._client.stream(
                    method, url, headers=signed, content=body if method == "PUT" else None
                ) as response:
                    _check(response.status_code)
                    yield response
        except CannotSign as error:
            raise StoreError(str(error)) from None
        except (httpx.HTTPError, httpx.StreamError, trio.TooSlowError):
            raise StoreError("the object store does not answer") from None


def _check(status: int) -> None:
    if status >= SERVER_ERRORS or status in TRANSIENT:
        raise StoreError(f"the object store answered {status}")
    if not httpx.codes.is_success(status) and status != NOT_FOUND:
        raise StoreRefused(status)


def _length(response: httpx.Response) -> int:
    length = response.headers.get("content-length", "")
    if not length.isdecimal():
        raise StoreError("the object store did not say how long the object is")
    return int(length)


def _context(settings: ObjectSettings) -> ssl.SSLContext | None:
    for name in ("endpoint_url", "public_url"):
        url = getattr(settings, name)
        if not usable_url(url) and (url or name == "endpoint_url"):
            raise SettingError(
                f"setting 'objects.{name}' must be https://host, or http:// on loopback"
            )
    if settings.endpoint_url.startswith("http://"):
        return None
    try:
        return client_context(settings.ca_file or None)
    except OSError:
        raise SettingError("setting 'objects.ca_file' must name a PEM file") from None
