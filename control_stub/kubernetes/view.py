"""One part's picture of one kind of object in the control plane's own cluster."""

from __future__ import annotations

from typing import Any, NoReturn

import trio

from kube.client import ClusterError, KubernetesApi, WatchExpired

RETRY_S = 0.5
MAX_OBJECTS = 10_000

Json = dict[str, Any]


class View:
    """Lists and watches; what it saw last holds while the API is away.

    Attributes:
        synced: set once everything has been read for the first time.

    Args:
        api: as the part's account.
        path: of the collection.
    """

    def __init__(self, api: KubernetesApi, path: str) -> None:
        self._api, self._path = api, path
        self._objects: dict[tuple[str, str], Json] = {}
        self.synced = trio.Event()

    def get(self, name: str, namespace: str = "") -> Json | None:
        """Return an object, None if there is none."""
        return self._objects.get((namespace, name))

    def all(self) -> list[Json]:
        """Return every object."""
        return list(self._objects.values())

    async def keep(self) -> NoReturn:
        """Stay in step with the cluster until cancelled."""
        while True:
            try:
                found: list[Json] = []
                version = await self._api.pages(self._path, {}, found.append)
                self._objects = {_key(obj): obj for obj in found[:MAX_OBJECTS]}
                self.synced.set()
                while True:
                    version = await self._api.watch(self._path, {}, version, self._changed)
                    await trio.lowlevel.checkpoint()
            except WatchExpired:
                continue
            except ClusterError:
                await trio.sleep(RETRY_S)

    def _changed(self, kind: str, obj: Json) -> None:
        if kind == "DELETED":
            self._objects.pop(_key(obj), None)
        elif len(self._objects) < MAX_OBJECTS or _key(obj) in self._objects:
            self._objects[_key(obj)] = obj


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
