"""Writing objects of any kind. Some kinds have rules of their own."""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable
from typing import Any

from kube.server import status as errors
from kube.server.admission import Cause, check_metadata
from kube.server.collection import Collection
from kube.server.kinds import Kind
from kube.server.selectors import Selector
from kube.server.store import Conflict, ObjectStore
from kube.server.values import timestamp
from kube.settings import ApiSettings

OWN = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
GENERATED_CHARS = 5  # what Kubernetes adds to a generateName
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes': no vowels, so that no words come out

Json = dict[str, Any]


class Objects(Collection):
    """Reads, watches and writes the objects of one kind. What is returned is not to be changed.

    Args:
        kind: which.
        store: where the objects are.
        settings: limits and defaults.
        clock: wall clock, nanoseconds since the epoch.
        new_uid: makes the uid of an object.
        used: told the namespace of each new object.
    """

    def __init__(
        self,
        kind: Kind,
        store: ObjectStore,
        settings: ApiSettings,
        *,
        clock: Callable[[], int],
        new_uid: Callable[[], str],
        used: Callable[[str], None] = lambda namespace: None,
    ) -> None:
        super().__init__(kind, store, settings)
        self._clock, self._new_uid, self._used = clock, new_uid, used

    @property
    def limit(self) -> int:
        """Most objects of this kind."""
        return self._settings.max_objects

    def create(self, namespace: str, body: Any) -> Json:
        """Add an object.

        Raises:
            ApiError: 400, 403 (too many), 409, 422.
        """
        obj = self.admit(self.named(body), namespace)
        meta, name = obj["metadata"], obj["metadata"]["name"]
        meta.pop("resourceVersion", None)
        meta["uid"], meta["creationTimestamp"] = self._new_uid(), timestamp(self._clock())
        if self._store.count(self._name) >= self.limit:
            raise errors.quota_exceeded(name, self.limit, self.kind.name)
        self._check_room(name)
        if namespace:
            self._used(namespace)
        try:
            return self._store.create(self._name, obj)
        except Conflict:
            raise errors.already_exists(self._name, name) from None

    def replace(self, namespace: str, name: str, body: Any) -> Json:
        """Replace an object; what the server wrote into its metadata stays.

        Raises:
            ApiError: 400, 404, 409 (another resourceVersion than that given), 422.
        """
        old, new = self.get(namespace, name), self.admit(body, namespace)
        if new["metadata"]["name"] != name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        version = new["metadata"].pop("resourceVersion", None)
        if version not in (None, "", old["metadata"]["resourceVersion"]):
            raise errors.conflict(self._name, name)
        self.check_change(old, new)
        if len(json.dumps(new)) > len(json.dumps(old)):
            self._check_room(name)
        kept = {key: old["metadata"][key] for key in OWN if key in old["metadata"]}

        def change(current: Json) -> None:
            current.clear()
            current.update(copy.deepcopy(new))
            current["metadata"] |= kept
            if "status" in old:
                current["status"] = old["status"]

        if _content(old) == _content({**new, "metadata": {**new["metadata"], **kept}}):
            return old  # Kubernetes writes nothing either
        return self._store.update(self._name, namespace, name, change)

    def delete(self, namespace: str, name: str, *, grace_s: int | None = None) -> Json:
        """Remove an object and return a Status, as Kubernetes does.

        Raises:
            ApiError: 404.
        """
        gone = self.get(namespace, name)
        self._store.delete(self._name, namespace, name)
        details = {"name": name, "kind": self.kind.name, "uid": gone["metadata"]["uid"]}
        if self.kind.group:
            details["group"] = self.kind.group
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return {**answer, "details": details}

    def delete_all(
        self, namespace: str | None, selector: Selector | None, *, grace_s: int | None = None
    ) -> Json:
        """Remove the objects of a namespace or of all; return them as they were."""
        found = self.list(namespace, selector)
        for obj in found["items"]:
            meta = obj["metadata"]
            self.delete(meta.get("namespace", ""), meta["name"], grace_s=grace_s)
        return found

    def admit(self, body: Any, namespace: str) -> Json:
        """Return a new object made of a request's body.

        Raises:
            ApiError: 400, 422.
        """
        kind = self.kind
        named = isinstance(body, dict) and (body.get("kind"), body.get("apiVersion"))
        if named != (kind.kind, kind.version):
            raise errors.bad_request(f"the body is not a {kind.version} {kind.kind}")
        meta = body.get("metadata")
        if not isinstance(meta, dict):
            raise errors.bad_request(f"the {kind.kind} has no metadata")
        if meta.get("namespace", namespace) != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        causes = list(check_metadata(meta, namespace, kind))
        if causes:
            name = meta.get("name")
            raise invalid(kind, name if isinstance(name, str) else "", causes)
        unwanted = (*OWN, "managedFields", "generation", "selfLink")
        kept = {k: v for k, v in meta.items() if k not in unwanted and v is not None}
        if kind.namespaced:
            kept["namespace"] = namespace
        return {**{k: v for k, v in body.items() if k != "status"}, "metadata": kept}

    def check_change(self, old: Json, new: Json) -> None:
        """Refuse a change that this kind doesn't allow.

        Raises:
            ApiError: 422.
        """

    def _check_room(self, name: str) -> None:
        limit = self._settings.max_stored_bytes
        if self._store.stored_bytes >= limit:
            raise errors.store_full(name, limit, self.kind.name)

    def named(self, body: Any) -> Any:
        """Return the body with a name made of its `generateName`, if it has no other."""
        meta = body.get("metadata") if isinstance(body, dict) else None
        prefix = meta.get("generateName") if isinstance(meta, dict) else None
        if not isinstance(meta, dict) or not isinstance(prefix, str) or meta.get("name"):
            return body
        if not prefix:
            return body  # which has no name, then
        added = "".join(secrets.choice(_ALPHABET) for _ in range(GENERATED_CHARS))
        return {**body, "metadata": {**meta, "name": prefix + added}}


def _content(obj: Json) -> Json:
    """Return an object without what the server alone writes."""
    meta = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": meta}


def invalid(kind: Kind, name: str, causes: list[Cause]) -> errors.ApiError:
    """422: one cause for each field that is wrong."""
    listed = [{"reason": r, "message": m, "field": f} for f, r, m in causes]
    return errors.invalid(name, listed, kind.kind)
