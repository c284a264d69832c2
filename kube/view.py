"""A part's picture of one kind of object in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import trio

from kube.client import ClusterError, KubernetesApi, WatchExpired

RETRY_S = 0.5
MAX_OBJECTS = 10_000
MAX_PAST = 1_000  # deleted objects that are remembered

Json = dict[str, Any]
Key = tuple[str, str]  # namespace and name


class View:
    """Lists and watches; what it saw last holds while the API is away.

    Attributes:
        synced: set once everything has been read for the first time.
        change: set at the next change, and replaced by another then.
        current: whether the API is being followed now.

    Args:
        api: as the part's account.
        path: of the collection.
        kept: what is kept of an object; all of it unless given. An object that it raises KeyError,
            TypeError or ValueError for is left out.
    """

    def __init__(
        self, api: KubernetesApi, path: str, kept: Callable[[Json], Json] | None = None
    ) -> None:
        self._api, self._path, self._kept = api, path, kept
        self._objects: dict[Key, Json] = {}
        self._past: dict[Key, Json] = {}
        self.synced, self.current = trio.Event(), False
        self.change = trio.Event()

    def get(self, name: str, namespace: str = "") -> Json | None:
        """Return an object, None if there is none."""
        return self._objects.get((namespace, name))

    def latest(self, name: str, namespace: str = "") -> Json | None:
        """Return an object, also one that was deleted lately, as it was then."""
        key = namespace, name
        return self._objects.get(key, self._past.get(key))

    def all(self) -> list[Json]:
        """Return every object."""
        return list(self._objects.values())

    def _notify(self) -> None:
        self.change.set()
        self.change = trio.Event()

    async def keep(self) -> NoReturn:
        """Stay in step with the cluster until cancelled."""
        while True:
            try:
                self._objects, version = await self._list()
                self.synced.set()
                self.current = True
                self._notify()
                while True:
                    version = await self._api.watch(self._path, {}, version, self._changed)
                    await trio.lowlevel.checkpoint()
            except WatchExpired:
                continue
            except ClusterError:
                if self.current:
                    self.current = False
                    self._notify()
                await trio.sleep(RETRY_S)

    async def _list(self) -> tuple[dict[Key, Json], str]:
        found: dict[Key, Json] = {}
        version = await self._api.pages(self._path, {}, partial(self._take, found))
        return found, version

    def _take(self, objects: dict[Key, Json], obj: Json) -> None:
        """Keep an object, unless there are too many."""
        key = _key(obj)
        if len(objects) >= MAX_OBJECTS and key not in objects:
            return
        try:
            objects[key] = self._kept(obj) if self._kept else obj
        except (KeyError, TypeError, ValueError):
            objects.pop(key, None)

    def _changed(self, kind: str, obj: Json) -> None:
        if kind == "DELETED":
            key, gone = _key(obj), dict[Key, Json]()
            self._objects.pop(key, None)
            self._take(gone, obj)
            self._past |= gone
            if len(self._past) > MAX_PAST:
                del self._past[next(iter(self._past))]
        else:
            self._take(self._objects, obj)
        self._notify()


def _key(obj: Json) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
