"""The customer's infrastructure without its HTTP side: what one-process mode uses directly."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import trio

from customer_stub.kubernetes.pods import PodApi
from customer_stub.kubernetes.store import ObjectStore
from customer_stub.objects.app import ObjectsApp
from customer_stub.objects.settings import read_identities
from customer_stub.objects.store import ObjectStore as S3Store
from customer_stub.pods.kubelet import Kubelet
from customer_stub.rows import DirectRows
from customer_stub.settings import CustomerSettings
from tunnel.journal import Journal
from tunnel.settings import SettingError


def _random_uid() -> str:
    return str(uuid.uuid4())


class Cluster:
    """An object store, the pod API over it, and the kubelet that runs the pods.

    Attributes:
        pods: create, get, list, delete, watch.
        kubelet: runs containers; `produced` tells what they wrote.
        rows: bytes that went straight to and from the stores.
        objects: the object store's application; None without a `data_root`.

    Args:
        settings: limits and the root of the log directories.
        journal: where events go.
        clock: wall clock, nanoseconds since the epoch; simulated in simulated time.
        new_uid: makes pod uids; seeded where runs must repeat.
        first_version: see `ObjectStore`.

    Raises:
        SettingError: the log root can't be made.
    """

    def __init__(
        self,
        settings: CustomerSettings,
        *,
        journal: Journal,
        clock: Callable[[], int] = time.time_ns,
        new_uid: Callable[[], str] = _random_uid,
        first_version: int | None = None,
    ) -> None:
        try:
            Path(settings.log_root).mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(
                f"setting 'log_root': cannot make '{settings.log_root}': {error.strerror}"
            ) from None
        store = ObjectStore(history=settings.event_history, first_version=first_version)
        self.pods = PodApi(store, settings, clock=clock, new_uid=new_uid)
        self.rows = DirectRows()
        self.objects = self._objects(settings, journal, clock) if settings.data_root else None
        self.kubelet = Kubelet(store, settings, journal=journal, node=_random_uid(), clock=clock)

    def _objects(
        self, settings: CustomerSettings, journal: Journal, clock: Callable[[], int]
    ) -> ObjectsApp:
        root = Path(settings.data_root) / "objects"
        store = S3Store(root, settings.objects, rows=self.rows, clock=clock)
        identities = read_identities(settings.objects)
        return ObjectsApp(store, identities, settings.objects, journal=journal, clock=clock)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run pods until cancelled; cancelled, it kills them."""
        await self.kubelet.run(task_status=task_status)
