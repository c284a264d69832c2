"""The customer's object store as one thing: where objects lie, who signs, who reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from compute_agent.attempts import Attempt
from compute_agent.objects.copies import Copies
from compute_agent.objects.keys import Layout
from compute_agent.objects.records import Records
from compute_agent.objects.settings import ObjectSettings
from compute_agent.objects.signer import Identity, Signer
from compute_agent.objects.store import ObjectStore

ERROR = "error.pb"


@dataclass(frozen=True, slots=True)
class Objects:
    """What the agent's services need of the store.

    Args:
        layout: names of objects.
        signer: signs URLs.
        store: reads and writes.
        copies: stages code bundles; its `run` must run.
        records: where inputs and code of an attempt came from.
        url_ttl_s: default and longest life of a URL.
    """

    layout: Layout
    signer: Signer
    store: ObjectStore
    copies: Copies
    records: Records
    url_ttl_s: float

    @classmethod
    def open(
        cls,
        settings: ObjectSettings,
        now_s: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> Objects:
        """Make it of its settings; nothing is asked yet.

        Raises:
            SettingError: a URL or a file cannot be used.
        """
        layout = Layout(settings.metadata_bucket, settings.fast_registration_bucket)
        signer = Signer(settings, now_s)
        store = ObjectStore(settings, signer, transport)
        records = Records(store, layout)
        return cls(layout, signer, store, Copies(store), records, settings.url_ttl_s)

    async def failed(self, attempt: Attempt) -> bool:
        """Whether a task that ended with exit code 0 says that it failed.

        flyte's runtime exits with 0 and leaves `error.pb`; whoever runs it is to look.

        Raises:
            StoreError
        """
        place = self.layout.of(attempt, ERROR)
        return await self.store.head(Identity.PROXY_SYSTEM, place) is not None
