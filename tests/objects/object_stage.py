"""The object store in this process, and requests to it signed by AWS's own library."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import trio
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from customer_stub.objects.app import ObjectsApp
from customer_stub.objects.aws_chunked import UNSIGNED_TRAILER
from customer_stub.objects.settings import Identity, ObjectsSettings
from customer_stub.objects.store import ObjectStore
from customer_stub.rows import DirectRows
from planesplit.split.memory_http import AsgiTransport
from policy.iam import iam_accounts
from tunnel.journal import Journal

META, FAST = "planesplit-metadata", "planesplit-fast-registration"
REGION = "us-east-1"
HOST = "http://objects.test"
SECRETS = {name: f"secret-of-{name}" for name in iam_accounts()}


def access_key(name: str) -> str:
    """The access key of a service account."""
    return f"AK-{name}"


def credentials(name: str) -> Credentials:
    """What a service account signs with."""
    return Credentials(access_key(name), SECRETS[name])


class Stage:
    """A store, its application, and a client.

    Attributes:
        offset_s: how far the store's clock is ahead of the signers'.
        journal: lines it wrote.
    """

    def __init__(self, root: Path, nursery: trio.Nursery, **settings: Any) -> None:
        self.offset_s = 0.0
        self.journal: list[str] = []
        self.rows = DirectRows()
        self.settings = ObjectsSettings(**settings).check()
        journal = Journal("customer", write=self.journal.append)
        self.store = ObjectStore(root, self.settings, rows=self.rows, clock=self._clock)
        identities = {
            access_key(name): Identity(name, access_key(name), secret.encode())
            for name, secret in SECRETS.items()
        }
        self.app = ObjectsApp(
            self.store, identities, self.settings, journal=journal, clock=self._clock
        )
        transport = AsgiTransport(lambda: self.app, nursery.start_soon)
        self.http = httpx.AsyncClient(transport=transport, base_url=HOST)

    def _clock(self) -> int:
        return time.time_ns() + int(self.offset_s * 1e9)

    async def send(self, request: AWSRequest, change: Callable[[Any], None] | None = None) -> Any:
        """Send a signed request, altered by `change` after it was signed."""
        prepared = request.prepare()
        raw = httpx.Request(
            prepared.method, prepared.url, headers=dict(prepared.headers), content=request.body
        )
        if change is not None:
            change(raw)
        return await self.http.send(raw)

    async def header(
        self,
        method: str,
        path: str,
        *,
        by: str = "executor",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        change: Callable[[Any], None] | None = None,
        region: str = REGION,
    ) -> Any:
        """Send a request signed in its header."""
        request = AWSRequest(method, HOST + path, headers=headers or {}, data=body)
        if (headers or {}).get("x-amz-content-sha256") == UNSIGNED_TRAILER:
            request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
        S3SigV4Auth(credentials(by), "s3", region).add_auth(request)
        return await self.send(request, change)

    async def presigned(
        self,
        method: str,
        path: str,
        *,
        by: str = "executor",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        expires_s: int = 3600,
        change: Callable[[Any], None] | None = None,
        region: str = REGION,
    ) -> Any:
        """Send a request signed in its query, with every header given signed too."""
        request = AWSRequest(method, HOST + path, headers=headers or {})
        S3SigV4QueryAuth(credentials(by), "s3", region, expires=expires_s).add_auth(request)
        request.data = body
        return await self.send(request, change)


def code(answer: Any) -> str:
    """The error code of an answer, empty if it is none."""
    text: str = answer.text
    return text.partition("<Code>")[2].partition("</Code>")[0]
