"""Objects with resource versions, and the recent changes that watches resume from.

Every write raises the version by one and appends one event, so a version is a position in the
history. Stored objects are never changed in place: what a reader holds stays as it was.
"""

from __future__ import annotations

import copy
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import trio

Json = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class Conflict(Exception):
    """An object of that name exists already."""


class Missing(Exception):
    """There is no such object."""


class Expired(Exception):
    """The history does not reach back to the version asked for."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change: the object as it was after it (for DELETED: as it was last)."""

    version: int
    type: EventType
    resource: str
    object: Json


Events = list[Event]


class ObjectStore:
    """Holds objects by resource (plural, as in URLs), namespace and name.

    Attributes:
        version: of the last change.
        stored_bytes: of all objects, as JSON.

    Args:
        history: how many events are kept.
        history_bytes: fewer, if they have more than so many bytes as JSON.
        first_version: where versions start. The default, microseconds since the epoch, makes every
            version of an earlier process older than the history, so that its clients list again.
    """

    def __init__(
        self, *, history: int, history_bytes: int = 1 << 40, first_version: int | None = None
    ) -> None:
        self.version = time.time_ns() // 1000 if first_version is None else first_version
        self._objects: dict[str, dict[tuple[str, str], Json]] = defaultdict(dict)
        self._events: deque[Event] = deque()
        self._history, self._history_bytes = history, history_bytes
        self._sizes: deque[int] = deque()  # of the events
        self._events_bytes = self.stored_bytes = 0
        self._stored: dict[tuple[str, str, str], int] = {}
        self._change = trio.Event()
        self._changed_at: dict[str, int] = {}

    def create(self, resource: str, obj: Json) -> Json:
        """Add an object; its metadata names it. One without namespace belongs to the cluster.

        Raises:
            Conflict: the name is taken.
        """
        key = (resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if key[1:] in self._objects[resource]:
            raise Conflict
        return self._record("ADDED", key, copy.deepcopy(obj))

    def get(self, resource: str, namespace: str, name: str, *, uid: str | None = None) -> Json:
        """Return an object, not to be changed.

        Raises:
            Missing: there is none, or it is another one than `uid`.
        """
        found = self._objects[resource].get((namespace, name))
        if found is None or (uid is not None and found["metadata"]["uid"] != uid):
            raise Missing
        return found

    def list(self, resource: str, namespace: str | None = None) -> list[Json]:
        """Return the objects of one namespace or of all, in the order of their creation."""
        found = self._objects[resource].items()
        return [obj for (space, _), obj in found if namespace in (None, space)]

    def count(self, resource: str) -> int:
        """Return how many objects there are of a resource."""
        return len(self._objects[resource])

    def update(
        self,
        resource: str,
        namespace: str,
        name: str,
        change: Callable[[Json], object],
        *,
        uid: str | None = None,
    ) -> Json:
        """Replace an object by a copy that `change` has worked on.

        Raises:
            Missing: see `get`.
        """
        obj = copy.deepcopy(self.get(resource, namespace, name, uid=uid))
        change(obj)
        return self._record("MODIFIED", (resource, namespace, name), obj)

    def delete(self, resource: str, namespace: str, name: str, *, uid: str | None = None) -> Json:
        """Remove an object and return what it was.

        Raises:
            Missing: see `get`.
        """
        obj = copy.deepcopy(self.get(resource, namespace, name, uid=uid))
        return self._record("DELETED", (resource, namespace, name), obj)

    def events_since(self, version: int) -> Events:
        """Return every event after `version`, oldest first.

        Raises:
            Expired: some of them are forgotten.
        """
        count = self.version - version
        if count > len(self._events):
            raise Expired
        return [self._events[i] for i in range(-count, 0)] if count > 0 else []

    def changed_at(self, resource: str) -> int:
        """Return the version of the last change to a resource's objects; 0 if there was none."""
        return self._changed_at.get(resource, 0)

    async def changed(self, version: int) -> None:
        """Wait until there is a version after `version`."""
        await trio.lowlevel.checkpoint()
        while self.version <= version:
            await self._change.wait()

    def _record(self, type_: EventType, key: tuple[str, str, str], obj: Json) -> Json:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        resource, name = key[0], key[1:]
        self._changed_at[resource] = self.version
        if type_ == "DELETED":
            del self._objects[resource][name]
        else:
            self._objects[resource][name] = obj
        self._events.append(Event(self.version, type_, resource, obj))
        self._weigh(key, obj, kept=type_ != "DELETED")
        self._change.set()
        self._change = trio.Event()
        return obj

    def _weigh(self, key: tuple[str, str, str], obj: Json, *, kept: bool) -> None:
        """Count the bytes of the newest event, and forget the oldest ones for it."""
        size = len(json.dumps(obj))
        self.stored_bytes -= self._stored.pop(key, 0)
        if kept:
            self._stored[key] = size
            self.stored_bytes += size
        self._sizes.append(size)
        self._events_bytes += size
        while len(self._sizes) > self._history or self._events_bytes > self._history_bytes:
            self._events.popleft()
            self._events_bytes -= self._sizes.popleft()
