"""Compression of tails: only if configured and asked for; the lines are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from crilog import CriLog
from fakes import ATTEMPT, World, pod_of
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse

from compute_agent.settings import LogLimits
from planesplit.connect_client import EnvelopeReader
from tunnel.messages.compression import ENCODINGS

LINES = [b"epoch %d loss 0.%d" % (n, n) for n in range(3_000)] + ["\u00e9\u20ac".encode() * 90_000]
EXPECTED = b"".join(line + b"\n" for line in LINES).decode()


def world_with(tmp_path: Path, nursery: trio.Nursery, *, compress: bool) -> World:
    world = World(tmp_path, nursery, logs=LogLimits(compress=compress))
    log = CriLog(world.root / "logs", pod=f"{ATTEMPT.namespace}_{ATTEMPT.pod}_uid-{ATTEMPT.pod}")
    log.write_all(LINES)
    world.cluster.change(pod_of(phase="Succeeded", exit_code=0))
    return world


async def tail(world: World, accepts: str) -> tuple[str, str, int]:
    """Return encoding, text and size of the answer."""
    headers = (("connect-accept-encoding", accepts),) if accepts else ()
    call = await (await world.relay.tail(headers=headers)).finish()
    name = call.answer.get("connect-content-encoding", "identity")
    reader = EnvelopeReader(encoding=ENCODINGS.get(name))
    messages = reader.feed(bytes(call.body))
    text = ""
    for flags, message in messages:
        if not flags & 2:
            logs = TailLogsResponse.FromString(message).logs
            text += "".join(line.message for each in logs for line in each.lines)
    assert max(len(unit) for unit in call.units) <= 65_536
    return name, text, sum(len(unit) for unit in call.units)


@pytest.mark.parametrize("asked", ["gzip", "zstd", "br, zstd, gzip"])
async def test_lines_are_the_same_and_fewer_bytes(
    asked: str, tmp_path: Path, nursery: trio.Nursery, autojump_clock
):
    world = world_with(tmp_path, nursery, compress=True)
    plain = await tail(world, "")
    packed = await tail(world, asked)
    assert plain[:2] == ("identity", EXPECTED)
    assert packed[:2] == ("gzip" if asked == "gzip" else "zstd", EXPECTED)
    assert packed[2] < plain[2] / 3


@pytest.mark.parametrize(("compress", "asked"), [(False, "gzip"), (True, "br"), (True, "")])
async def test_identity_unless_configured_and_asked_for(
    compress: bool, asked: str, tmp_path: Path, nursery: trio.Nursery, autojump_clock
):
    world = world_with(tmp_path, nursery, compress=compress)
    assert (await tail(world, asked))[:2] == ("identity", EXPECTED)
