"""The agent's signing against the real object store, both in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from compute_agent.attempts import Attempt
from compute_agent.exchange import current_exchange
from compute_agent.objects.keys import Place
from compute_agent.objects.objects import Objects
from compute_agent.objects.service import ObjectService
from compute_agent.objects.settings import ObjectSettings, StoreIdentity
from compute_agent.objects.signer import Identity
from customer_stub.objects.app import ObjectsApp
from customer_stub.objects.settings import IdentityFile, ObjectsSettings, read_identities
from customer_stub.objects.store import ObjectStore
from customer_stub.rows import DirectRows
from tunnel.capabilities import SIGN_DOWNLOAD
from tunnel.exchange import RequestHead, Scope
from tunnel.journal import Journal

SCOPE = Scope("acme", "demo", "dev", "c1")
ATTEMPT = Attempt("acme", "demo", "dev", "run1", "a0", 1)
ENDPOINT = "http://127.0.0.1:9000"
METADATA, BUNDLES = "planesplit-metadata", "planesplit-fast-registration"


class Stage:
    """A store, the agent's side of it, and a client that has nothing but URLs.

    Args:
        root: a directory of the test.
        settings: of the agent's `[objects]`.
    """

    def __init__(self, root: Path, **settings: Any) -> None:
        self.ahead_s = 0.0  # of the store's clock
        self.down = False
        self.asked: list[str] = []  # methods of the requests so far
        names = ("executor", "proxy-system")
        for name in names:
            (root / name).write_text(f"secret-of-{name}\n")
        bounds = ObjectsSettings(
            identities=tuple(IdentityFile(name, f"AK-{name}", str(root / name)) for name in names)
        )
        self.journal: list[str] = []
        journal = Journal("customer", write=self.journal.append, clock=lambda: 0.0)
        store = ObjectStore(root / "objects", bounds, rows=DirectRows(), clock=self._now_ns)
        self._app = ObjectsApp(
            store, read_identities(bounds), bounds, journal=journal, clock=self._now_ns
        )
        executor, proxy = (StoreIdentity(f"AK-{name}", str(root / name)) for name in names)
        self.settings = ObjectSettings(ENDPOINT, executor, proxy, **settings)
        self.objects = Objects.open(self.settings, time.time, self._transport())
        self.service = ObjectService(self.objects)
        self.client = httpx.AsyncClient(transport=self._transport())

    def _now_ns(self) -> int:
        return int((time.time() + self.ahead_s) * 1e9)

    def _transport(self) -> httpx.AsyncBaseTransport:
        inner = httpx.ASGITransport(self._app)  # type: ignore[arg-type]
        outer = self

        class Transport(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                outer.asked.append(request.method)
                if outer.down:
                    raise httpx.ConnectError("down", request=request)
                return await inner.handle_async_request(request)

        return Transport()

    async def put(self, bucket: str, key: str, body: bytes) -> Place:
        """Put an object as executor."""
        place = Place(bucket, key)
        await self.objects.store.put(Identity.EXECUTOR, place, body, "application/octet-stream")
        return place

    async def read(self, place: Place) -> bytes | None:
        """Return an object."""
        return await self.objects.store.get(Identity.EXECUTOR, place, 1 << 20)


def exchange(scope: Scope = SCOPE) -> None:
    """Be inside an exchange of `scope`."""
    head = RequestHead("POST", SIGN_DOWNLOAD, scope, "alice", ())
    current_exchange.set(SimpleNamespace(request=head))  # type: ignore[arg-type]


@contextmanager
def refused(code: Code) -> Iterator[list[ConnectError]]:
    """Expect a ConnectError."""
    seen: list[ConnectError] = []
    with pytest.raises(ConnectError) as caught:
        yield seen
    seen.append(caught.value)
    assert caught.value.code == code
