"""Namespaces: what is in one goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kube.server.kinds import NAMESPACES
from kube.server.objects import Objects
from kube.server.store import ObjectStore
from kube.settings import ApiSettings

FIRST = ("default", "kube-system", "union")  # the last one is the white paper's own

Json = dict[str, Any]


class NamespaceApi(Objects):
    """See Objects.

    Attributes:
        contents: the kinds whose objects live in namespaces.
    """

    def __init__(self, store: ObjectStore, settings: ApiSettings, **made: Any) -> None:
        super().__init__(NAMESPACES, store, settings, **made)
        self.contents: Iterable[Objects] = ()

    def ensure(self, name: str) -> None:
        """Make a namespace unless it is there."""
        if not self.has("", name):
            self.create("", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})

    def admit(self, body: Any, namespace: str) -> Json:
        """See Objects."""
        admitted = super().admit(body, namespace)
        admitted |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        return admitted

    def delete(self, namespace: str, name: str, *, grace_s: int | None = None) -> Json:
        """Remove a namespace and everything in it.

        Raises:
            ApiError: 404.
        """
        self.get("", name)
        for objects in self.contents:
            objects.delete_all(name, None, grace_s=0)
        return super().delete(namespace, name)
