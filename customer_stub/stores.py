"""The customer's object store and registry together: on one disk, with one account of bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from customer_stub.objects.app import ObjectsApp
from customer_stub.objects.settings import read_identities
from customer_stub.objects.store import ObjectStore
from customer_stub.pods.environment import Additions, store_env
from customer_stub.pods.images import Images, Registry
from customer_stub.registry.app import RegistryApp
from customer_stub.registry.demo import demo_image, publish
from customer_stub.registry.settings import read_credentials
from customer_stub.registry.store import RegistryStore
from customer_stub.rows import DirectRows
from customer_stub.settings import CustomerSettings
from policy.iam import TASK_PODS
from tunnel.journal import Journal
from tunnel.settings import SettingError


class Stores:
    """What is below `data_root`.

    Attributes:
        objects: the object store's ASGI application.
        registry: the registry's.
        rows: bytes that went straight to and from both.

    Args:
        settings: where, and the limits.
        journal: where events go.
        clock: wall clock, nanoseconds since the epoch.

    Raises:
        SettingError: the directory, a secret or a name can't be used.
    """

    def __init__(
        self, settings: CustomerSettings, *, journal: Journal, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._root = Path(settings.data_root)
        self.rows = DirectRows()
        self._objects = ObjectStore(
            self._root / "objects", settings.objects, rows=self.rows, clock=clock
        )
        self._identities = read_identities(settings.objects)
        self.objects = ObjectsApp(
            self._objects, self._identities, settings.objects, journal=journal, clock=clock
        )
        self._images = RegistryStore(self._root / "registry", settings.registry)
        self._pull, push = read_credentials(settings.registry)
        self.registry = RegistryApp(
            self._images, self._pull, push, settings.registry, rows=self.rows, journal=journal
        )
        publish(self._images, settings.registry.demo_image, demo_image())

    def rows_report(self) -> dict[str, Any]:
        """Return the bytes of each row that no other plane carries."""
        return {"direct": self.rows.report()}

    def stores_report(self) -> dict[str, Any]:
        """Return how much lies where; counts only."""
        return {"objects": self._objects.counts(), "registry": self._images.counts()}

    def additions(self, objects_url: str) -> Additions:
        """Return what pods get: the store's address, and credentials of their service account.

        Args:
            objects_url: where this store is reached; the setting `pods.objects_url` wins.
        """
        pods = self._settings.pods
        url = pods.objects_url or objects_url
        for identity in self._identities.values():
            if identity.name == TASK_PODS and url:
                secret = identity.secret.decode("utf-8", "surrogateescape")
                region = self._settings.objects.region
                env = store_env(url, identity.access_key, secret, region, pods.ca_file)
                return Additions(pods.path, env)
        return Additions(pods.path)

    def images(self, url: str, *, transport: Any = None) -> Images:
        """Return the node's images, pulled from this registry.

        Args:
            url: where it is reached; host and port are what images may be named by, beside the
                setting `registry.alias`.
            transport: another way there than a connection (httpx), for one-process mode.

        Raises:
            SettingError: the directory can't be used.
        """
        host = url.partition("://")[2]
        port = host.rpartition(":")[2]
        hosts = (self._settings.registry.alias, host, f"localhost:{port}")
        registry = Registry(url, hosts, self._pull, transport)
        try:
            return Images(self._root / "images", registry, self._settings.pods)
        except OSError as error:
            raise SettingError(
                f"setting 'data_root': cannot use '{self._root}': {error.strerror}"
            ) from None
