"""Relays of bytes beside which ours is measured: the floor, and what people use."""

from __future__ import annotations

from functools import partial

from planesplit.measure import openssh
from planesplit.measure.haproxy import find_haproxy
from planesplit.measure.lab import Helper, Lab
from planesplit.measure.rig import Rig
from planesplit.measure.subjects import Load, Start, open_rig


async def start_splice(lab: Lab, load: Load, *, name: str = "floor", buffer_bytes: int = 0) -> Rig:
    """Start the blocking-thread splice; `buffer_bytes` 0 is its default."""
    source, port = await _source(lab)
    extra = [str(buffer_bytes)] if buffer_bytes else []
    splice = await lab.start("splice", "planesplit.measure.splice", str(port), *extra)
    return await open_rig(lab, load, name, splice.pid, splice.ready["port"], "/", source)


async def start_pair(lab: Lab, load: Load) -> Rig:
    """Start two splices in a row: as many hops as ours has, relay and agent."""
    source, port = await _source(lab)
    inner = await lab.start("splice", "planesplit.measure.splice", str(port))
    outer = await lab.start("splice", "planesplit.measure.splice", str(inner.ready["port"]))
    rig = await open_rig(lab, load, "pair", outer.pid, outer.ready["port"], "/", source)
    rig.agent_pid = inner.pid
    return rig


async def start_haproxy(lab: Lab, load: Load) -> Rig:
    """Start HAProxy in TCP mode."""
    source, port = await _source(lab)
    command = ("planesplit.measure.haproxy", str(port), str(lab.directory))
    proxy = await lab.start("haproxy", *command)
    return await open_rig(lab, load, "haproxy", proxy.pid, proxy.ready["port"], "/", source)


async def start_openssh(lab: Lab, load: Load) -> Rig:
    """Start OpenSSH's reverse tunnel: sshd is the relay, ssh the agent."""
    source, port = await _source(lab)
    tunnel = await lab.start("openssh", "planesplit.measure.openssh", str(port), str(lab.directory))
    ready = tunnel.ready
    rig = await open_rig(lab, load, "openssh", ready["relay_pid"], ready["port"], "/", source)
    rig.agent_pid = ready["agent_pid"]
    return rig


async def start_websockets(lab: Lab, load: Load, *, library: str) -> Rig:
    """Start the usual relay over one WebSocket: `library` is trio or asyncio."""
    source, port = await _source(lab)
    name, module = f"websockets-{library}", f"planesplit.measure.websockets_{library}"
    relay = await lab.start(name, module, "relay")
    agent = await lab.start(
        f"{name}-agent", module, "agent", str(relay.ready["agent_port"]), str(port)
    )
    rig = await open_rig(lab, load, name, relay.pid, relay.ready["port"], "/", source)
    rig.agent_pid = agent.pid
    return rig


def websockets(library: str) -> Start:
    """Return what starts the usual relay of one library."""
    return partial(start_websockets, library=library)


def haproxy_missing() -> str:
    """Say why HAProxy cannot be measured here, "" if it can."""
    return "" if find_haproxy() else "haproxy is not installed (Debian package haproxy)"


def openssh_missing() -> str:
    """Say why OpenSSH cannot be measured here, "" if it can."""
    return openssh.missing()


async def _source(lab: Lab) -> tuple[Helper, int]:
    source = await lab.helper("source")
    return source, (await source.ask("port"))["port"]
