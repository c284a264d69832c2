"""What is measured: how each relay is started and its exchanges are opened."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from planesplit.measure.lab import Helper, Lab, MeasureError
from planesplit.measure.rig import Rig
from planesplit.split.plane import PlaneProcess
from tunnel.capabilities import ASSIGN, TAIL_LOGS
from tunnel.exchange import Scope

SCOPE = Scope("acme", "flytesnacks", "development", "c1")
STREAMING = "application/connect+proto"
PUSH_S = 10.0
OPEN_EACH_S = 0.5
EMPTY_MESSAGE = "\0\0\0\0\0"
RELAY_CONFIG = """\
insecure = true
[limits]
keepalive_s = 600.0  # a subject is silent while the others have their turn
"""
POLICY: dict[str, Any] = {
    "version": 1,
    "issuer": "",
    "jwks": {"keys": []},
    "bindings": [
        {"subject": "demo", "role": "Admin", "org": SCOPE.org, "project": "*", "domain": "*"}
    ],
    "clusters": [{"org": SCOPE.org, "cluster": SCOPE.cluster, "enabled": True}],
    "revoked": {},
}


@dataclass(frozen=True, slots=True)
class Load:
    """The exchanges of a rig.

    Args:
        streams: how many.
        duplex: whether requests stay open, so that bytes can go up too.
        receive_buffer_bytes: of the viewers' sockets; 0 leaves it to the system.
    """

    streams: int = 1
    duplex: bool = False
    receive_buffer_bytes: int = 0

    def request(self, path: str) -> str:
        """Return what each viewer sends."""
        return viewer_request(path, None if self.duplex else EMPTY_MESSAGE)


def viewer_request(path: str, body: str | None) -> str:
    """Return an HTTP request, one character a byte; without a body it stays open."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {STREAMING}\r\n"
    if body is None:
        return head + "transfer-encoding: chunked\r\n\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}"


Start = Callable[[Lab, Load], Awaitable[Rig]]
Via = Callable[[int], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Subject:
    """One relay that can be measured.

    Args:
        name: on the command line and in tables.
        what: one line for people.
        start: starts it and opens the exchanges of a load.
        parts: what can be measured of it.
        missing: says why it cannot be measured here, "" if it can.
    """

    name: str
    what: str
    start: Start = field(repr=False)
    parts: frozenset[str]
    missing: Callable[[], str] = field(default=lambda: "", repr=False)


async def start_splice(lab: Lab, load: Load, *, name: str = "floor", buffer_bytes: int = 0) -> Rig:
    """Start the blocking-thread splice; `buffer_bytes` 0 is its default."""
    source = await lab.helper("source")
    port = (await source.ask("port"))["port"]
    extra = [str(buffer_bytes)] if buffer_bytes else []
    splice = await lab.start("splice", "planesplit.measure.splice", str(port), *extra)
    return await _open(lab, load, name, splice.pid, splice.ready["port"], "/", source)


async def straight(port: int) -> int:
    """Let nothing stand in between: the port to dial is the one that was given."""
    return port


async def start_bare(lab: Lab, load: Load, via: Via = straight) -> Rig:
    """Start a plain server and viewers of it: no relay at all.

    Args:
        lab, load: as ever.
        via: what stands in between: given the server's port, returns the one to dial.
    """
    source = await lab.helper("source")
    port = await via((await source.ask("port"))["port"])
    return await _open(lab, load, "bare", 0, port, "/", source)


async def start_haproxy(lab: Lab, load: Load) -> Rig:
    """Start HAProxy in TCP mode."""
    source = await lab.helper("source")
    port = (await source.ask("port"))["port"]
    command = ("planesplit.measure.haproxy", str(port), str(lab.directory))
    proxy = await lab.start("haproxy", *command)
    return await _open(lab, load, "haproxy", proxy.pid, proxy.ready["port"], "/", source)


async def start_relay(lab: Lab, load: Load, *, resumable: bool = True) -> Rig:
    """Start our relay and an agent that sends canned bytes.

    Args:
        lab, load: as ever.
        resumable: a viewer's tail, whose units are held until their MARK; otherwise an exchange of
            the control plane, whose bytes are passed on as they come.
    """
    relay = await start_plain_relay(lab)
    ports = relay.ready
    agent = await lab.helper("canned_agent")
    await agent.ask("dial", port=ports["agent_port"], org=SCOPE.org, cluster=SCOPE.cluster)
    viewers, path = ("viewer_port", TAIL_LOGS) if resumable else ("control_port", ASSIGN)
    name = "relay" if resumable else "relay-direct"
    rig = await _open(lab, load, name, relay.pid, ports[viewers], SCOPE.prefix + path, agent)
    rig.agent_pid = agent.pid
    return rig


async def start_plain_relay(lab: Lab) -> PlaneProcess:
    """Start our relay without TLS, with a policy for the demo subject and one cluster."""
    config_file = lab.path("relay.toml")
    config_file.write_text(RELAY_CONFIG, encoding="utf-8")
    relay = await lab.start("relay", "relay", "--config", str(config_file))
    await push_policy(relay.ready["control_port"])
    return relay


async def start_relay_direct(lab: Lab, load: Load) -> Rig:
    """Start our relay with exchanges that are not resumable."""
    return await start_relay(lab, load, resumable=False)


async def push_policy(control_port: int) -> None:
    """Give an insecure relay the policy that admits the demo subject.

    Raises:
        MeasureError: it refused.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=PUSH_S) as http:
        url = f"http://127.0.0.1:{control_port}/v1/policy"
        answer = await http.put(url, content=json.dumps(POLICY))
    if answer.status_code != httpx.codes.NO_CONTENT:
        raise MeasureError(f"the relay answered {answer.status_code} to the policy")


async def _open(
    lab: Lab, load: Load, name: str, pid: int, port: int, path: str, source: Helper
) -> Rig:
    sink = await lab.helper("sink")
    await sink.ask(
        "open",
        within_s=10.0 + OPEN_EACH_S * load.streams,
        port=port,
        request=load.request(path),
        count=load.streams,
        receive_buffer_bytes=load.receive_buffer_bytes,
    )
    if load.duplex:
        await source.ask("echo")
    return Rig(name, load.streams, pid, source, sink, viewer_port=port)
