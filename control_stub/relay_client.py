"""What the control plane does with the relay: pushes policy, pulls tunnels and agents' reports.

It always dials; the relay never does.
"""

from __future__ import annotations

import re
from typing import Any

import trio

from control_stub import directory
from control_stub.access_push import AccessPusher
from control_stub.assignments import Assigner
from control_stub.directory import Tunnel
from control_stub.issuer import Issuer
from control_stub.policy import POLICY, Policy
from control_stub.relay_link import RelayAway, RelayLink
from control_stub.reports import Reports
from control_stub.services.desk import Desk
from tunnel.capabilities import CAPABILITIES

_EXCHANGE = re.compile(r"[A-Za-z0-9_-]{1,128}")


class RelayClient:
    """Runs the loops that keep relay and store in agreement."""

    def __init__(
        self,
        desk: Desk,
        link: RelayLink,
        policy: Policy,
        issuer: Issuer,
        reports: Reports,
        assigner: Assigner,
        pusher: AccessPusher,
    ) -> None:
        self._desk, self._link, self._policy, self._issuer = desk, link, policy, issuer
        self._reports, self._assigner, self._pusher = reports, assigner, pusher
        self._poll_s = desk.settings.limits.poll_s
        self._online: dict[tuple[str, str], Tunnel] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._push_policy)
            nursery.start_soon(self._pull_tunnels)
            for _ in range(self._desk.settings.limits.exchanges):
                nursery.start_soon(self._pull_exchanges)

    async def _push_policy(self) -> None:
        while True:
            due = self._desk.notices.event(POLICY)  # taken before reading the policy
            document = self._policy.document(self._issuer)
            try:
                response = await self._link.request("PUT", "/v1/policy", row="A11", json=document)
                if response.status_code != 204:
                    raise RelayAway
            except RelayAway:
                await self._link.pause()
                continue
            self._link.informed(response)
            self._desk.journal.event("policy_pushed", version=document["version"])
            await due.wait()

    async def _pull_tunnels(self) -> None:
        """Follow the tunnels; a relay that is away, or hangs, has none."""
        limits, since, heard_at = self._desk.settings.limits, 0, trio.current_time()
        while True:
            try:
                response = await self._link.request(
                    "GET",
                    "/v1/tunnels",
                    row="A12",
                    wait_s=limits.tunnels_s,
                    answer_s=limits.tunnels_s,
                    params={"since": since, "wait_s": limits.tunnels_s},
                )
                since, online = _tunnels(response.status_code, response)
            except RelayAway:
                since = 0  # another relay may answer next, and it counts from the start
                if trio.current_time() - heard_at >= 2 * limits.tunnels_s:
                    await self._note({})
                await self._link.pause()
                continue
            heard_at = trio.current_time()
            await self._note(online)

    async def _note(self, online: dict[tuple[str, str], Tunnel]) -> None:
        self._link.starts = {key: tunnel.server_id for key, tunnel in online.items()}
        changes = await self._desk.store.call(directory.set_tunnels, online, self._desk.now_ns())
        if online != self._online:
            self._online = online
            self._pusher.set_online(online)
        for org, cluster, state in changes:
            self._desk.journal.event("cluster_state", org=org, cluster=cluster, state=state)
            if state == "ONLINE":
                self._assigner.retry(org, cluster)

    async def _pull_exchanges(self) -> None:
        while True:
            try:
                response = await self._link.request(
                    "GET",
                    "/v1/exchanges/next",
                    wait_s=self._poll_s,
                    params={"wait_s": self._poll_s},
                )
                if response.status_code == 200:
                    await self._answer(response)
                elif response.status_code != 204:
                    raise RelayAway
            except RelayAway:
                await self._link.pause()

    async def _answer(self, exchange: Any) -> None:
        headers = exchange.headers
        path = headers.get("planesplit-path", "")
        exchange_id = headers.get("planesplit-exchange", "")
        if not _EXCHANGE.fullmatch(exchange_id):
            raise RelayAway
        answer = await self._reports.answer(
            org=headers.get("planesplit-org", ""),
            cluster=headers.get("planesplit-cluster", ""),
            path=path,
            content_type=headers.get("content-type", "application/proto"),
            body=exchange.content,
        )
        if (capability := CAPABILITIES.get(path)) is not None:
            self._desk.rows.add(capability.row, "up", len(exchange.content))
            self._desk.rows.add(capability.row, "down", len(answer.content))
        await self._link.request(
            "POST",
            f"/v1/exchanges/{exchange_id}",
            content=answer.content,
            headers={
                "content-type": answer.headers.get("content-type", "application/json"),
                "planesplit-status": str(answer.status_code),
            },
        )


def _tunnels(status: int, response: Any) -> tuple[int, dict[tuple[str, str], Tunnel]]:
    """Read the relay's tunnels: their version, and which clusters are online."""
    online: dict[tuple[str, str], Tunnel] = {}
    try:
        if status != 200:
            raise ValueError
        document = response.json()
        for tunnel in document["tunnels"]:
            if tunnel["state"] == "ONLINE":
                key = (str(tunnel["org"]), str(tunnel["cluster"]))
                since_ns = int(tunnel["since_s"] * 1e9)
                rtt_us = int((tunnel.get("rtt_ms") or 0) * 1000)
                others = online.get(key, Tunnel(()))
                times_ns = tuple(sorted((*others.times_ns, since_ns)))
                newest = since_ns == times_ns[-1]
                server_id = str(tunnel.get("server_id", "")) if newest else others.server_id
                online[key] = Tunnel(times_ns, rtt_us or others.rtt_us, server_id)
        return int(document["version"]), online
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise RelayAway from None
