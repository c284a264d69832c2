"""A part's picture of one kind of object in a cluster."""

from __future__ import annotations

from typing import Any, NoReturn

import trio

from kube.client import ClusterError, KubernetesApi, WatchExpired

RETRY_S = 0.5
MAX_OBJECTS = 10_000
MAX_PAST = 1_000  # deleted objects that are remembered

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
        self._past: dict[tuple[str, str], Json] = {}
        self.synced = trio.Event()
        self._change = trio.Event()

    def get(self, name: str, namespace: str = "") -> Json | None:
        """Return an object, None if there is none."""
        return self._objects.get((namespace, name))

    def latest(self, name: str, namespace: str = "") -> Json | None:
        """Return an object, also one that was deleted lately, as it was then."""
        return self.get(name, namespace) or self._past.get((namespace, name))

    def all(self) -> list[Json]:
        """Return every object."""
        return list(self._objects.values())

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._change.wait()

    def _notify(self) -> None:
        self._change.set()
        self._change = trio.Event()

    async def keep(self) -> NoReturn:
        """Stay in step with the cluster until cancelled."""
        while True:
            try:
                found: list[Json] = []
                version = await self._api.pages(self._path, {}, found.append)
                self._objects = {_key(obj): obj for obj in found[:MAX_OBJECTS]}
                self.synced.set()
                self._notify()
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
            self._past[_key(obj)] = obj
            if len(self._past) > MAX_PAST:
                del self._past[next(iter(self._past))]
        elif len(self._objects) < MAX_OBJECTS or _key(obj) in self._objects:
            self._objects[_key(obj)] = obj
        self._notify()


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
