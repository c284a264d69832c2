"""Tells every cluster's agent who may do what in its org, so that the customer can judge too.

Pushed whenever a tunnel comes up, whenever roles, keys or revocations change, and before what was
told runs out: a relay that keeps pushes back gains no more than that time. Tried again until the
agent has taken it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import trio

from control_stub.directory import Tunnel
from control_stub.issuer import Issuer
from control_stub.policy import ACCESS, Policy
from control_stub.relay_link import RelayAway, RelayLink, RpcFailed
from control_stub.services.desk import Desk
from tunnel.capabilities import PUT_ACCESS
from tunnel.exchange import NONE, Scope
from tunnel.messages import planesplit_v1_pb2 as wire

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0  # a tunnel that comes back is told at once

Key = tuple[str, str]


class AccessPusher:
    """Keeps the agents' copies of the roles in step with ours."""

    def __init__(self, desk: Desk, link: RelayLink, policy: Policy, issuer: Issuer) -> None:
        self._desk, self._link, self._policy, self._issuer = desk, link, policy, issuer
        self._online: dict[Key, Tunnel] = {}
        self._kept: set[Key] = set()
        self._at_once = trio.CapacityLimiter(desk.settings.limits.assignments)

    def set_online(self, online: Mapping[Key, Tunnel]) -> None:
        """Take which clusters have which tunnels now."""
        self._online = dict(online)
        self._desk.notices.touch(ACCESS)

    async def run(self) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                due = self._desk.notices.event(ACCESS)
                for key in self._online.keys() - self._kept:
                    self._kept.add(key)
                    nursery.start_soon(self._keep, key)
                await due.wait()

    def document(self, org: str) -> wire.AccessRequest:
        """Return what an org's agents are told: nothing of any other org."""
        bindings = self._policy.bindings(org)
        return wire.AccessRequest(
            version=self._policy.version,
            issuer=self._issuer.url,
            jwks=json.dumps(self._issuer.jwks()),
            bindings=[wire.Binding(**binding._asdict()) for binding in bindings],
            revoked=self._policy.revoked(org),
            expires_s=int(self._desk.clock()) + self._desk.settings.limits.access_s,
        )

    async def _keep(self, key: Key) -> None:
        told, pause_s = None, FIRST_PAUSE_S
        while True:
            due = self._desk.notices.event(ACCESS)  # taken before reading what it is about
            tunnel, request = self._online.get(key), self.document(key[0])
            news = (tunnel.times_ns if tunnel else (), _content(request))
            if tunnel is None:
                await due.wait()
            elif told == news:
                with trio.move_on_after(self._desk.settings.limits.access_s / 2):
                    await due.wait()
                    continue
                told = None  # what it was told runs out
            elif await self._push(key, request):
                told, pause_s = news, FIRST_PAUSE_S
            else:
                with trio.move_on_after(pause_s):
                    await due.wait()
                pause_s = min(pause_s * 2, MAX_PAUSE_S)

    async def _push(self, key: Key, request: wire.AccessRequest) -> bool:
        org, cluster = key
        scope = Scope(org, NONE, NONE, cluster)
        try:
            async with self._at_once:
                answer = await self._link.call(scope, PUT_ACCESS, request, wire.AccessResponse)
        except (RelayAway, RpcFailed):
            return False
        self._desk.journal.event("access_pushed", org=org, cluster=cluster, version=answer.version)
        return True


def _content(request: wire.AccessRequest) -> bytes:
    """Return what a push says, whatever its version: another org's changes are none of this one."""
    said = wire.AccessRequest()
    said.CopyFrom(request)
    said.version = said.expires_s = 0
    return said.SerializeToString(deterministic=True)
