"""Load and faults: a cut in mid-frame, a viewer that stalls and leaves, a relay that restarts."""

from __future__ import annotations

import socket
import ssl

import httpx
import trio
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy

from planesplit.connect_client import envelope
from planesplit.proof import claims
from planesplit.proof.detectors.memory import scan_memory
from planesplit.proof.drive.logs import leave_early, start_run, tail
from planesplit.proof.stage import Stage
from planesplit.split.core import Split
from planesplit.split.options import RELAY
from planesplit.viewer import Viewer
from tunnel.capabilities import TAIL_LOGS

CUT_AFTER_BYTES = 12_345  # no multiple of anything: in the middle of a frame
LIVE_LINES, LIVE_RATE = 1_500, 1_000
STALL_LINES = 30_000  # 6 MB: more than the sockets' buffers take
RECEIVE_BUFFER_BYTES = 4_096
FILLED_S = 0.5  # for the relay's queue to fill behind a viewer that takes nothing


async def disturbed(stage: Stage, viewer: Viewer) -> None:
    """Cut the tunnel under a tail, and stall another one; what memory holds meanwhile is kept."""
    own = stage.own
    async with trio.open_nursery() as nursery:
        if own:
            nursery.start_soon(_cut, stage, viewer, own)
        nursery.start_soon(_stalled, stage, viewer)
    stage.tell(f"faults: {'tunnel cut in mid-frame, ' if own else ''}viewer stalled and left")


async def restarted(stage: Stage, viewer: Viewer) -> None:
    """Look into the relay's memory, for it will be gone; then restart it in mid-tail."""
    own = stage.own
    if own is None:
        return
    await _settled(stage)
    _, finds = await scan_memory(stage, RELAY)
    stage.finds += finds
    await _restart(stage, viewer, own)
    stage.tell("faults: relay stopped by SIGTERM and started again")


async def _cut(stage: Stage, viewer: Viewer, split: Split) -> None:
    """Two viewers tail while the tunnel is cut; one leaves, the other must miss nothing."""
    run = await start_run(stage, viewer, LIVE_LINES, LIVE_RATE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave_early, stage, viewer, run)
        split.link.cut_after(CUT_AFTER_BYTES)
        await _whole(stage, viewer, run, LIVE_LINES, "a cut tunnel")


async def _restart(stage: Stage, viewer: Viewer, split: Split) -> None:
    """Restart the relay in mid-tail; the viewer asks again and must miss nothing."""
    run = await start_run(stage, viewer, LIVE_LINES, LIVE_RATE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_whole, stage, viewer, run, LIVE_LINES, "the relay's restart")
        await trio.sleep(FILLED_S)
        await stage.restart(split, RELAY)


async def _whole(stage: Stage, viewer: Viewer, run: str, lines: int, what: str) -> None:
    came = await tail(stage, viewer, run)
    if came != lines:
        stage.failures.append(f"{came} of {lines} lines came over {what}")


async def _stalled(stage: Stage, viewer: Viewer) -> None:
    """Open a tail, read nothing of it, look into the relay's memory, hang up."""
    run = await start_run(stage, viewer, STALL_LINES)
    await viewer.wait(run)
    url = await viewer.endpoint(SelectClusterRequest.OPERATION_TAIL_LOGS, run) + TAIL_LOGS
    request = dataproxy.TailLogsRequest(action_id=viewer.action_id(run), attempt=1)
    headers = {
        "content-type": "application/connect+proto",
        "connect-protocol-version": "1",
        "accept-encoding": "identity",
        **await viewer.client.authorization(),
    }
    async with (
        _narrow(stage) as http,
        http.stream(
            "POST", url, content=envelope(request.SerializeToString()), headers=headers
        ) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            stage.failures.append(f"the stalled viewer was refused ({answer.status_code})")
            return
        await trio.sleep(FILLED_S)
        _, finds = await scan_memory(stage, RELAY)
    if "memory" in stage.unseen:
        return
    mine = [find for find in finds if find.kind == claims.LOG_LINE.name]
    stage.tell(f"relay's memory in mid-stream: log lines in {len(mine)} mappings")
    if not mine:
        stage.failures.append(
            "no log line is in the relay's memory in mid-stream: the memory scan shows nothing"
        )


def _narrow(stage: Stage) -> httpx.AsyncClient:
    """Return a client that lets hardly anything rest in its socket."""
    ca_file = stage.split.ready.ca_file
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else False
    small = (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    transport = httpx.AsyncHTTPTransport(verify=verify, socket_options=[small])
    return httpx.AsyncClient(transport=transport, timeout=30.0)


async def _settled(stage: Stage) -> None:
    """Wait until the relay holds no open exchange, for a few seconds at most."""
    with trio.move_on_after(5.0):
        while True:
            metrics = await stage.split.metrics()
            if not metrics.get("relay_exchanges", 0):
                return
            await trio.sleep(0.05)
