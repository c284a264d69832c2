"""All objects of one cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from kube.server.kinds import KINDS, NAMESPACES, PODS, SECRETS
from kube.server.namespaces import FIRST, NamespaceApi
from kube.server.objects import Objects
from kube.server.pods import PodApi
from kube.server.secrets import SecretApi
from kube.server.store import ObjectStore
from kube.settings import ApiSettings


def random_uid() -> str:
    """Return a uid as Kubernetes makes them."""
    return str(uuid.uuid4())


class ClusterObjects:
    """Holds the objects of every kind.

    Attributes:
        store: where they are.
        kinds: reads and writes them, by `Kind.key`.
        pods, secrets, namespaces: three of them.
        clock, new_uid: as given.

    Args:
        settings: limits and defaults.
        clock: wall clock, nanoseconds since the epoch.
        new_uid: makes uids; seeded where runs must repeat.
        first_version: see `ObjectStore`.
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        clock: Callable[[], int] = time.time_ns,
        new_uid: Callable[[], str] = random_uid,
        first_version: int | None = None,
    ) -> None:
        self.clock, self.new_uid = clock, new_uid
        self.store = ObjectStore(
            history=settings.event_history,
            history_bytes=settings.event_history_bytes,
            first_version=first_version,
        )
        made: dict[str, Any] = {"clock": clock, "new_uid": new_uid}
        self.namespaces = NamespaceApi(self.store, settings, **made)
        made["used"] = self.namespaces.ensure
        self.pods = PodApi(self.store, settings, **made)
        self.secrets = SecretApi(self.store, settings, **made)
        own = {NAMESPACES.key: self.namespaces, PODS.key: self.pods, SECRETS.key: self.secrets}
        self.kinds: dict[str, Objects] = {
            key: own.get(key) or Objects(kind, self.store, settings, **made)
            for key, kind in KINDS.items()
        }
        self.namespaces.contents = [o for o in self.kinds.values() if o.kind.namespaced]
        for name in FIRST:
            self.namespaces.ensure(name)
