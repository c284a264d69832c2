"""What all objects have in common: get, list in pages, watch."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import trio

from kube.server import status as errors
from kube.server.bodies import parsed
from kube.server.kinds import Kind
from kube.server.selectors import Selector
from kube.server.store import Events, Expired, Missing, ObjectStore
from kube.settings import ApiSettings

INITIAL_END = "k8s.io/initial-events-end"

Json = dict[str, Any]


class Collection:
    """Reads and watches the objects of one kind. Objects returned are not to be changed.

    Args:
        kind: which.
        store: where the objects are.
        settings: limits and defaults.
    """

    def __init__(self, kind: Kind, store: ObjectStore, settings: ApiSettings) -> None:
        self.kind, self._name = kind, kind.key
        self._store, self._settings = store, settings

    def get(self, namespace: str, name: str) -> Json:
        """Return an object.

        Raises:
            ApiError: 404.
        """
        try:
            return self._store.get(self._name, namespace, name)
        except Missing:
            raise errors.not_found(self._name, name) from None

    def has(self, namespace: str, name: str) -> bool:
        """Tell whether there is an object by this name."""
        try:
            self._store.get(self._name, namespace, name)
        except Missing:
            return False
        return True

    def list(
        self,
        namespace: str | None,
        selector: Selector | None = None,
        *,
        limit: int = 0,
        after: str = "",
    ) -> Json:
        """Return a list of one namespace or of all, in the order of names.

        Args:
            selector: which objects.
            limit: most objects of one page; 0 means all.
            after: the `continue` token of the page before.

        Raises:
            ApiError: 400 for a token that is none, 410 for one that is too old.
        """
        version, last = self._continued(after) if after else (self._store.version, None)
        found = [
            obj
            for obj in sorted(self._store.list(self._name, namespace), key=_key)
            if (last is None or _key(obj) > last) and _holds(selector, obj)
        ]
        page = found[:limit] if limit else found
        meta: Json = {"resourceVersion": str(version)}
        if left := len(found) - len(page):
            meta |= {"continue": _token(version, page[-1]), "remainingItemCount": left}
        items = [{k: v for k, v in obj.items() if k not in ("kind", "apiVersion")} for obj in page]
        head = {"kind": f"{self.kind.kind}List", "apiVersion": self.kind.version}
        return {**head, "metadata": meta, "items": items}

    def _continued(self, token: str) -> tuple[int, tuple[str, str]]:
        """Return the first page's version, from which to watch, and the last name before."""
        try:
            version, namespace, name = parsed(base64.urlsafe_b64decode(token))
            valid = type(version) is int and isinstance(namespace, str) and isinstance(name, str)
        except (ValueError, TypeError):  # base64's error is a ValueError
            valid = False
        if not valid:
            raise errors.bad_request("continue key is not valid")
        self._changes_since(version)
        return version, (namespace, name)

    def check_version(self, since: int) -> None:
        """Raise ApiError 410 or 504 if a watch can't start after version `since`."""
        if since > self._store.version:
            raise errors.version_too_large(since, self._store.version)
        self._changes_since(since)

    def _changes_since(self, version: int) -> Events:
        try:
            return self._store.events_since(version)
        except Expired:
            raise errors.expired() from None

    async def watch(
        self,
        namespace: str | None,
        *,
        since: int = 0,
        timeout_s: float | None = None,
        bookmarks: bool = False,
        selector: Selector | None = None,
        initial_end: bool = False,
    ) -> AsyncIterator[Json]:
        """Yield watch events: ADDED, MODIFIED, DELETED, BOOKMARK; ERROR with 410 is the last one.

        Args:
            namespace: None for all.
            since: version after which to start; 0 means everything there is, as ADDED, first.
            timeout_s: the watch then ends, with a bookmark if there are bookmarks.
            bookmarks: tell the version now and then.
            selector: which objects.
            initial_end: a bookmark says where the events of what there is end (a WatchList).

        Raises:
            ApiError: 410 or 504 before the first event.
        """
        longest_s = self._settings.watch_timeout_s
        deadline = trio.current_time() + min(timeout_s or longest_s, longest_s)
        bookmark_at = trio.current_time() + self._settings.bookmark_s

        def chosen(obj: Json) -> bool:
            inside = namespace in (None, obj["metadata"].get("namespace", ""))
            return inside and _holds(selector, obj)

        seen = since
        if since:
            self.check_version(since)
        else:
            seen = self._store.version
            for obj in filter(chosen, self._store.list(self._name)):
                yield {"type": "ADDED", "object": obj}
        if initial_end:
            yield {"type": "BOOKMARK", "object": self._bookmark(seen, {INITIAL_END: "true"})}
        while trio.current_time() < deadline:
            with trio.move_on_at(min(deadline, bookmark_at) if bookmarks else deadline):
                await self._store.changed(seen)
            try:
                events = self._store.events_since(seen)
            except Expired:
                yield {"type": "ERROR", "object": errors.expired().status()}
                return
            for event in events:
                seen = event.version
                if event.resource == self._name and chosen(event.object):
                    yield {"type": event.type, "object": event.object}
            if bookmarks and trio.current_time() >= min(deadline, bookmark_at):
                bookmark_at = trio.current_time() + self._settings.bookmark_s
                yield {"type": "BOOKMARK", "object": self._bookmark(seen)}

    def _bookmark(self, version: int, annotations: Json | None = None) -> Json:
        meta: Json = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        bookmark: Json = {"kind": self.kind.kind, "apiVersion": self.kind.version}
        bookmark["metadata"] = meta
        if self._name == "pods":
            bookmark |= {"spec": {"containers": None}, "status": {}}
        return bookmark


def _holds(selector: Selector | None, obj: Json) -> bool:
    return selector is None or selector(obj)


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _token(version: int, last: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *_key(last)]).encode()).decode()
