"""Sixteen of thirty-two viewers stop reading: the others and the relay's memory don't care."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest

from planesplit.connect_client import envelope
from planesplit.harness import Harness
from tunnel.capabilities import TAIL_LOGS
from tunnel.settings import TunnelSettings

pytestmark = pytest.mark.integration

VIEWERS = 16
LINES = 15_000  # of 200 bytes: 3 MB for each viewer
STALL_LINES = 60_000  # 12 MB: more than sockets and windows hold
STALL_AFTER_BYTES = 4_000_000  # by then a viewer that drained has the largest window it gets
RECEIVE_BUFFER_BYTES = 262_144  # a kernel may keep 32 MB, and then the relay holds nothing back
ROUNDS = 3
MOST_ROUNDS = 9  # neighbours on the machine can spoil a round; starvation would spoil them all
MIN_SHARE = 0.9
MIB = 1_048_576
SLACK_BYTES = 8 * MIB  # what 32 connections and the allocator themselves need
LAST_CHUNK = b"\r\n0\r\n\r\n"


async def open_tail(split: Harness, run: str) -> trio.SocketStream:
    request = TailLogsRequest(attempt=1)
    request.action_id.name = "a0"
    name = request.action_id.run
    name.org, name.project, name.domain, name.name = "acme", "demo", "development", run
    body = envelope(request.SerializeToString())
    relay = urlsplit(split.ready.urls.relay)
    stream = await trio.open_tcp_stream(str(relay.hostname), int(relay.port or 0))
    head = (
        f"POST /r/acme/demo/development/c1{TAIL_LOGS} HTTP/1.1\r\nHost: relay\r\n"
        "Content-Type: application/connect+proto\r\nConnect-Protocol-Version: 1\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    await stream.send_all(head.encode() + body)
    return stream


async def read(stream: trio.SocketStream, enough: float = float("inf")) -> int:
    """Read to the end of the answer, or until there were enough bytes."""
    count, end = 0, b""
    while count < enough and not end.endswith(LAST_CHUNK):
        data = await stream.receive_some(262_144)
        assert data, "the answer ends in order"
        count += len(data)
        end = (end + data)[-len(LAST_CHUNK) :]
    return count


async def throughput(split: Harness, run: str) -> float:
    """Bytes per second of sixteen viewers together, each reading a whole log."""
    counts: list[int] = []

    async def view() -> None:
        async with await open_tail(split, run) as stream:
            counts.append(await read(stream))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(VIEWERS):
            nursery.start_soon(view)
    return sum(counts) / (time.perf_counter() - began)


async def stall(split: Harness, run: str) -> list[trio.SocketStream]:
    """Open sixteen tails that grow their windows and then are not read any more."""
    streams: list[trio.SocketStream] = []

    async def view() -> None:
        stream = await open_tail(split, run)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        streams.append(stream)
        await read(stream, STALL_AFTER_BYTES)

    async with trio.open_nursery() as nursery:
        for _ in range(VIEWERS):
            nursery.start_soon(view)
    await still(split)
    return streams


async def still(split: Harness) -> None:
    """Wait until nothing moves any more: windows and sockets of the stalled ones are full."""
    moved = -1.0
    with trio.fail_after(20):
        while moved != (moved := split.metrics()['relay_bytes_total{direction="down"}']):
            await trio.sleep(0.3)


async def exchanges(split: Harness, count: int) -> None:
    """Wait until so many exchanges are under way: those that ended are booked a little later."""
    with trio.move_on_after(20) as scope:
        while (found := split.metrics()["relay_exchanges"]) != count:
            await trio.sleep(0.02)
    assert not scope.cancelled_caught, f"{found:g} exchanges are under way, not {count}"


def resident_bytes(split: Harness) -> int:
    status = Path(f"/proc/{split.ready.pids['relay']}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def finished(split: Harness, lines: int) -> str:
    run = split.run(workload="plain", args=["--lines", str(lines), "--rate", "0"])
    split.wait(run)
    return run


async def test_stalled_viewers(insecure: Harness) -> None:
    log, long_log = finished(insecure, LINES), finished(insecure, STALL_LINES)
    await throughput(insecure, log)  # warm-up: the relay's own working set
    before = resident_bytes(insecure)
    shares, stalled_bytes, left_bytes = list[float](), list[int](), list[int]()
    while len(shares) < ROUNDS or (max(shares) < MIN_SHARE and len(shares) < MOST_ROUNDS):
        alone = await throughput(insecure, log)
        stalled = await stall(insecure, long_log)
        beside = await throughput(insecure, log)
        stalled_bytes.append(resident_bytes(insecure))
        await exchanges(insecure, VIEWERS)  # they are stalled, not gone
        for stream in stalled:
            await stream.aclose()
        await exchanges(insecure, 0)
        left_bytes.append(resident_bytes(insecure))
        shares.append(beside / alone)
        print(f"alone {alone / 1e6:.0f} MB/s, beside stalled ones {beside / 1e6:.0f} MB/s")
    settings = TunnelSettings()
    bound = settings.growth_bytes + VIEWERS * settings.window_bytes + SLACK_BYTES
    print(f"share of throughput: {', '.join(f'{share:.2f}' for share in shares)}")
    for what, sizes in {"": [before], ", stalled": stalled_bytes, ", left": left_bytes}.items():
        print(f"relay RSS in MiB{what}: {', '.join(f'{size / MIB:.1f}' for size in sizes)}")
    assert max(shares) >= MIN_SHARE
    assert max(stalled_bytes) - before <= bound
    # Windows grow as fast as a viewer reads, so what a round holds differs; what it leaves doesn't.
    assert left_bytes[-1] - left_bytes[0] <= SLACK_BYTES, "every round leaves something"
    assert left_bytes[-1] - before <= SLACK_BYTES + 16 * MIB, "not only what the allocator keeps"
