"""The control plane, put together: API, issuer, store and the dealings with the relay."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from control_stub import directory
from control_stub.access_push import AccessPusher
from control_stub.assignments import Assigner
from control_stub.client_auth import hash_secret
from control_stub.directory import Binding
from control_stub.identity import DEMO_SUBJECT, Access
from control_stub.issuer import Issuer
from control_stub.keys import KeyRing
from control_stub.kubernetes.parts import open_parts
from control_stub.kubernetes.provisioning import provisioner
from control_stub.notices import Notices
from control_stub.policy import Policy
from control_stub.public import public_app
from control_stub.relay_client import RelayClient
from control_stub.relay_link import RelayLink, relay_http
from control_stub.reports import Reports
from control_stub.services.desk import Desk
from control_stub.settings import ANY, ControlSettings
from control_stub.signing import Signer
from control_stub.store import Store
from tunnel.journal import Journal
from tunnel.messages.rpc import AsgiApp
from tunnel.row_counts import RowCounts
from tunnel.settings import SettingError


class ControlPlane:
    """A running control plane.

    Args:
        asgi: the public API: Connect services, OAuth, health.
        issuer: signs and verifies tokens.
    """

    def __init__(
        self,
        asgi: AsgiApp,
        store: Store,
        policy: Policy,
        link: RelayLink,
        issuer: Issuer,
        ring: KeyRing,
    ) -> None:
        self.asgi, self.issuer, self._ring = asgi, issuer, ring
        self._store, self._policy, self._link = store, policy, link

    @property
    def ready(self) -> bool:
        """Whether the relay has our policy, so that agents and viewers are let in."""
        return self._link.ready

    async def rotate_keys(self) -> None:
        """Make another signing key and publish it; it signs after `key_publish_s`."""
        await self._ring.rotate()

    async def revoke(self, subject: str, not_before_s: int) -> None:
        """Refuse a subject's tokens that were issued before, here and at the relay."""
        for org in await self._store.call(directory.orgs_of, subject):
            await self._store.call(directory.revoke, org, subject, not_before_s)
        await self._policy.reload()


@asynccontextmanager
async def control_plane(
    settings: ControlSettings,
    secrets: Mapping[str, str],
    url: str,
    *,
    journal: Journal,
    clock: Callable[[], float] = time.time,
    threaded: bool = True,
    relay_transport: httpx.AsyncBaseTransport | None = None,
    kubernetes_transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[ControlPlane]:
    """Run a control plane for as long as the context is open.

    Args:
        secrets: client id -> secret of every configured app; only hashes are kept.
        url: how clients reach us, the tokens' issuer.
        clock: seconds since the epoch.
        threaded: False for simulated time (see Store).
        relay_transport: replaces the network on the way to the relay, in one process.
        kubernetes_transport: the same for the control plane's own cluster.

    Raises:
        SettingError: flyteadmin cannot sign.
    """
    flyteadmin = settings.flyteadmin
    signer = Signer(flyteadmin, clock) if flyteadmin is not None else None
    failure = None  # raised outside the nursery, which would put it into an exception group
    store = Store(settings.db_file, threaded=threaded)
    try:
        await _bootstrap(store, settings, secrets, int(clock() * 1e9))
        keys = await store.call(directory.signing_keys)
        jwks = [key.jwk for key in keys]
        issuer = Issuer(url, jwks, token_s=settings.limits.token_s, clock=clock)
        notices = Notices()
        policy = Policy(store, notices, clock)
        await policy.reload()
        ring = KeyRing(store, issuer, policy, settings.limits, journal, clock)
        demo_org = settings.demo_org if settings.insecure else ""
        access = Access(issuer, policy, clock, demo_org)
        parts = open_parts(settings.kubernetes, kubernetes_transport)
        desk = Desk(settings, store, access, notices, journal, clock, RowCounts(), parts)
        async with relay_http(settings, relay_transport) as http, trio.open_nursery() as nursery:
            link = RelayLink(http, notices, settings.limits, journal, desk.rows, issuer)
            assigner = Assigner(desk, link)
            pusher = AccessPusher(desk, link, policy, issuer)
            relay = RelayClient(desk, link, policy, issuer, Reports(desk), assigner, pusher)
            nursery.start_soon(relay.run)
            nursery.start_soon(pusher.run)
            nursery.start_soon(ring.run)
            nursery.start_soon(assigner.run)
            if parts is not None:
                nursery.start_soon(parts.run)
                nursery.start_soon(provisioner(parts, settings, journal).run)
            try:
                asgi = public_app(desk, issuer, policy, signer, lambda: link.ready)
                yield ControlPlane(asgi, store, policy, link, issuer, ring)
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        store.close()
    if failure is not None:
        raise failure


def read_secrets(settings: ControlSettings) -> dict[str, str]:
    """Read the secret of every app.

    Raises:
        SettingError: a file is missing or empty.
    """
    secrets = {}
    for index, app in enumerate(settings.apps):
        try:
            secret = Path(app.secret_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            secret = ""
        if not secret:
            raise SettingError(
                f"setting 'apps[{index}].secret_file' is '{app.secret_file}', which is missing or "
                "empty; write the client's secret into it"
            )
        secrets[app.client_id] = secret
    return secrets


async def _bootstrap(
    store: Store, settings: ControlSettings, secrets: Mapping[str, str], now_ns: int
) -> None:
    await store.call(directory.bootstrap, settings.orgs, now_ns)
    for app in settings.apps:
        await store.call(directory.put_app, app, hash_secret(secrets[app.client_id]))
    if settings.insecure:
        demo = Binding(DEMO_SUBJECT, "Admin", settings.demo_org, ANY, ANY)
        await store.call(directory.set_bindings, DEMO_SUBJECT, [demo])
    if not await store.call(directory.signing_keys):
        await store.call(directory.put_signing_key, *Issuer.new_key(), now_ns)
