"""The registry in this process, images to put into it, and a client."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import httpx
import trio

from customer_stub.pods.images import Images, Registry
from customer_stub.pods.settings import PodsSettings
from customer_stub.registry.app import RegistryApp
from customer_stub.registry.settings import Credentials, RegistrySettings
from customer_stub.registry.store import RegistryStore
from customer_stub.rows import DirectRows
from planesplit.split.memory_http import AsgiTransport
from tunnel.journal import Journal

PULL, PUSH = Credentials("kubelet", "pull-secret"), Credentials("builder", "push-secret")
URL = "http://registry.test"


class Stage:
    """A registry, its application, and clients that may pull and push."""

    def __init__(self, root: Path, nursery: trio.Nursery, **settings: Any) -> None:
        self.root = root
        self.rows, self.journal = DirectRows(), list[str]()
        self.settings = RegistrySettings(**settings).check()
        self.store = RegistryStore(root / "registry", self.settings)
        journal = Journal("customer", write=self.journal.append)
        self.app = RegistryApp(
            self.store, PULL, PUSH, self.settings, rows=self.rows, journal=journal
        )
        self.transport = AsgiTransport(lambda: self.app, nursery.start_soon)
        self.anyone = self.client(None)
        self.puller, self.pusher = self.client(PULL), self.client(PUSH)

    def client(self, credentials: Credentials | None) -> httpx.AsyncClient:
        """A client with these credentials."""
        auth = (credentials.user, credentials.password) if credentials else None
        return httpx.AsyncClient(transport=self.transport, base_url=URL, auth=auth)

    def images(self, credentials: Credentials = PULL, **settings: Any) -> Images:
        """A node's images that are pulled from here."""
        registry = Registry(URL, ("registry.local",), credentials, self.transport)
        return Images(self.root / "images", registry, PodsSettings(**settings))


def archive(*members: tuple[str, bytes | str, Any]) -> bytes:
    """A tar archive of (name, content or link target, type or None for a file)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if kind is not None:
                info.type, info.linkname = kind, str(content)
                tar.addfile(info)
            else:
                data = content.encode() if isinstance(content, str) else content
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
