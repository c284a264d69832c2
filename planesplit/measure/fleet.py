"""A fleet of agents that loses its relay: how long until all are back, and what that costs.

`python -m planesplit.measure.fleet --help`. The agents are light (no pods, no logs) but dial, back
off and authenticate with the code of the real one; all are processes on real sockets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import trio
from joserfc import jwt
from joserfc.jwk import OKPKey

from planesplit.measure.lab import Helper, Lab, MeasureError, open_lab
from planesplit.measure.procfs import cpu_s, rss_bytes
from planesplit.pki import Authority, Leaf
from planesplit.split.plane import PlaneProcess
from tunnel.peer import file_thumbprint
from tunnel.tls import client_context
from tunnel.verifier import TUNNEL

CLUSTERS_PER_ORG = 10
ISSUER = "https://control.fleet"
LOOK_S = 0.05
SETTLE_S = 1.0  # PINGs and garbage of the start; before memory is read
POLL_S = 25
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What to do.

    Args:
        agents: how many identities, each with one tunnel.
        processes: how many processes they share.
        secure: mTLS and tokens; else neither.
        down_s: how long the relay stays away.
        token_life_s: life of the agents' tokens; they are renewed at half of it.
        within_s: longest wait for all to be there, each time.
    """

    agents: int = 1_000
    processes: int = 4
    secure: bool = True
    down_s: float = 0.0
    token_life_s: int = 900
    within_s: float = 60.0


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What came of it; times in seconds from the moment the relay was ready again.

    Args:
        first_s: from the first dial until all were there at the start.
        away_s: from the relay's death until its successor had its policy.
        p50_s, p99_s, all_s: until so many of the agents were back.
        dials: of all agents, from the relay's death until the last was back.
        failures: dials that opened no tunnel, by code.
        token_requests: at the issuer, over the same time.
        relay_cpu_s: of the new relay, from ready until the last agent was back.
        rss_before, rss_after: the relay's memory in MB without agents, and with all of them idle.
    """

    plan: FleetPlan
    first_s: float
    away_s: float
    p50_s: float
    p99_s: float
    all_s: float
    dials: int
    failures: dict[str, int]
    token_requests: int
    relay_cpu_s: float
    rss_before: float
    rss_after: float


class TokenIssuer:
    """Stands for the control plane's issuer and whoever keeps the agents' token files fresh.

    Args:
        directory: where the files go.
        life_s: of a token.
    """

    def __init__(self, directory: Path, life_s: int) -> None:
        self._directory, self._life_s = directory, life_s
        self._key = OKPKey.generate_key("Ed25519", {"kid": "fleet"})
        self._bound: dict[tuple[str, str], str] = {}
        self.requests = 0

    def bind(self, org: str, cluster: str, cert_file: Path) -> None:
        """Bind an agent's tokens to its certificate from now on."""
        self._bound[org, cluster] = file_thumbprint(cert_file)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key."""
        return {"keys": [self._key.as_dict(private=False)]}

    def renew(self, org: str, cluster: str) -> Path:
        """Put a new token into an agent's file; what a token request is for."""
        self.requests += 1
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": TUNNEL.audience,
            "sub": f"agent:{org}/{cluster}",
            "org": org,
            "cluster": cluster,
            "iat": now,
            "exp": now + self._life_s,
            "cnf": {"x5t#S256": self._bound.get((org, cluster), "")},
        }
        header = {"alg": "Ed25519", "kid": "fleet", "typ": TUNNEL.type}
        file = self._directory / f"{org}-{cluster}.token"
        fresh = file.with_suffix(".new")
        fresh.write_text(jwt.encode(header, claims, self._key, algorithms=["Ed25519"]))
        fresh.replace(file)
        return file

    async def keep(self, identities: list[tuple[str, str]]) -> None:
        """Renew every file at half of a token's life, for ever."""
        while True:
            await trio.sleep(self._life_s / 2)
            for org, cluster in identities:
                self.renew(org, cluster)
                await trio.lowlevel.checkpoint()


class Fleet:
    """Relay, agents and what the control plane does for them.

    Args:
        lab: where processes run.
        plan: see FleetPlan.
    """

    def __init__(self, lab: Lab, plan: FleetPlan) -> None:
        self._lab, self._plan = lab, plan
        self._identities = [
            (f"org{n // CLUSTERS_PER_ORG}", f"c{n % CLUSTERS_PER_ORG}") for n in range(plan.agents)
        ]
        self.issuer = TokenIssuer(lab.directory, plan.token_life_s)
        self._authority = Authority(lab.directory / "pki") if plan.secure else None
        self._config = lab.directory / "relay.toml"
        self._helpers: list[Helper] = []
        self._ready: dict[str, Any] = {}
        self.relay: PlaneProcess | None = None

    @property
    def relay_pid(self) -> int:
        """Process id of the relay."""
        assert self.relay is not None
        return self.relay.pid

    async def start_relay(self) -> None:
        """Start the relay, the second time on the same ports, and push its policy."""
        lines = [f"{name} = {self._ready[name]}" for name in self._ready if name.endswith("_port")]
        if self._authority is None:
            lines.append("insecure = true")
        elif not self._ready:
            self._server, self._control = self._authority.server("relay"), self._authority.control()
        if self._authority is not None:
            files = _files(self._server, self._authority.ca_file)
            lines += ["[tls]", *(f"{name} = {json.dumps(path)}" for name, path in files.items())]
        self._config.write_text("\n".join(lines) + "\n")
        self.relay = await self._lab.start_relay(self._config)
        self._ready = self.relay.ready
        async with self._client() as http:
            (await http.put("/v1/policy", json=self._policy())).raise_for_status()

    async def start_agents(self) -> None:
        """Start all agents and return at once; see `all_open`."""
        agents = [self._agent(org, cluster) for org, cluster in self._identities]
        scheme = "wss" if self._authority else "ws"
        url = f"{scheme}://localhost:{self._ready['agent_port']}/tunnel"
        for number in range(self._plan.processes):
            helper = await self._lab.helper("light_agents")
            self._helpers.append(helper)
            share = agents[number :: self._plan.processes]
            await helper.ask("start", relay_url=url, agents=share)

    async def status(self, since_s: float = 0.0) -> dict[str, Any]:
        """What all agents together say; see LightAgents.status."""
        answers = [await helper.ask("status", since_s=since_s) for helper in self._helpers]
        failures: Counter[str] = Counter()
        for answer in answers:
            failures.update(answer["failures"])
        return {
            "open": sum(answer["open"] for answer in answers),
            "opened_at_s": sorted(t for answer in answers for t in answer["opened_at_s"]),
            "dials": sum(answer["dials"] for answer in answers),
            "failures": failures,
        }

    async def all_open(self, since_s: float) -> dict[str, Any]:
        """Wait until every agent has opened a tunnel after `since_s` and all are up.

        Raises:
            MeasureError: it took longer than `within_s`.
        """
        status: dict[str, Any] = {"open": 0}
        with trio.move_on_after(self._plan.within_s):
            while True:
                status = await self.status(since_s)
                if status["open"] == len(status["opened_at_s"]) == self._plan.agents:
                    return status
                await trio.sleep(LOOK_S)
        text = f"{status['open']} of {self._plan.agents} agents within {self._plan.within_s:g} s"
        raise MeasureError(text)

    async def watch_tunnels(self) -> None:
        """Ask for news of tunnels as the control plane does, over the relay's lives."""
        while True:
            try:
                async with self._client() as http:
                    since = 0
                    while True:
                        query = {"since": since, "wait_s": POLL_S}
                        since = (await http.get("/v1/tunnels", params=query)).json()["version"]
            except (httpx.HTTPError, ValueError):
                await trio.sleep(LOOK_S)

    async def keep_tokens(self) -> None:
        """Renew tokens as they age."""
        await self.issuer.keep(self._identities if self._authority else [])

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        port, verify, scheme = self._ready["control_port"], None, "http"
        if self._authority is not None:
            leaf, scheme = self._control, "https"
            ca_file = str(self._authority.ca_file)
            verify = client_context(ca_file, str(leaf.cert_file), str(leaf.key_file))
        async with httpx.AsyncClient(
            base_url=f"{scheme}://localhost:{port}",
            verify=verify or False,
            timeout=POLL_S + 10,
            trust_env=False,
        ) as http:
            yield http

    def _agent(self, org: str, cluster: str) -> dict[str, Any]:
        agent: dict[str, Any] = {"org": org, "cluster": cluster}
        if self._authority is not None:
            leaf = self._authority.agent(org, cluster)
            self.issuer.bind(org, cluster, leaf.cert_file)
            agent["token_file"] = str(self.issuer.renew(org, cluster))
            agent["tls"] = _files(leaf, self._authority.ca_file)
        return agent

    def _policy(self) -> dict[str, Any]:
        return {
            "version": 1,
            "issuer": ISSUER,
            "jwks": self.issuer.jwks,
            "bindings": [],
            "clusters": [{"org": org, "cluster": cluster} for org, cluster in self._identities],
            "revoked": {},
        }


def _files(leaf: Leaf, ca_file: Path) -> dict[str, str]:
    return {
        "ca_file": str(ca_file),
        "cert_file": str(leaf.cert_file),
        "key_file": str(leaf.key_file),
    }


async def measure(plan: FleetPlan) -> FleetReport:
    """Start a fleet, kill its relay, start the relay again, and report.

    Raises:
        MeasureError: something did not come up in time.
    """
    try:
        return await _measure(plan)
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _measure(plan: FleetPlan) -> FleetReport:
    async with open_lab() as lab, trio.open_nursery() as nursery:
        fleet = Fleet(lab, plan)
        await fleet.start_relay()
        rss_before = rss_bytes(fleet.relay_pid) / MB
        began_s = time.monotonic()
        await fleet.start_agents()
        nursery.start_soon(fleet.watch_tunnels)
        nursery.start_soon(fleet.keep_tokens)
        first = await fleet.all_open(0.0)
        await trio.sleep(SETTLE_S)
        rss_after = rss_bytes(fleet.relay_pid) / MB
        before, requests = await fleet.status(), fleet.issuer.requests
        killed_s = time.monotonic()
        assert fleet.relay is not None
        fleet.relay.kill()
        await fleet.relay.wait()
        await trio.sleep(plan.down_s)
        await fleet.start_relay()
        ready_s, ready_cpu_s = time.monotonic(), cpu_s(fleet.relay_pid)
        after = await fleet.all_open(killed_s)
        relay_cpu_s = cpu_s(fleet.relay_pid) - ready_cpu_s
        nursery.cancel_scope.cancel()
    back = [at_s - ready_s for at_s in after["opened_at_s"]]
    return FleetReport(
        plan=plan,
        first_s=first["opened_at_s"][-1] - began_s,
        away_s=ready_s - killed_s,
        p50_s=back[len(back) // 2],
        p99_s=back[len(back) * 99 // 100],
        all_s=back[-1],
        dials=after["dials"] - before["dials"],
        failures=dict(after["failures"] - before["failures"]),
        token_requests=fleet.issuer.requests - requests,
        relay_cpu_s=relay_cpu_s,
        rss_before=rss_before,
        rss_after=rss_after,
    )


def main() -> int:
    """Measure once and print the report as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m planesplit.measure.fleet",
        description="Has a fleet of agents reconnect after its relay was killed.",
    )
    parser.add_argument("--agents", type=int, default=1_000, metavar="N")
    parser.add_argument("--processes", type=int, default=4, metavar="N")
    parser.add_argument("--plain", action="store_true", help="no TLS and no tokens")
    parser.add_argument("--down", type=float, default=0.0, metavar="S", help="relay stays away")
    options = parser.parse_args()
    plan = FleetPlan(options.agents, options.processes, not options.plain, options.down)
    try:
        report = trio.run(measure, plan)
    except MeasureError as error:
        sys.stderr.write(f"fleet: {error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
