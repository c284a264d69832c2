"""Errors on purpose, at every layer: what is refused must leave no trace of what it carried."""

from __future__ import annotations

import httpx
import trio
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest

from planesplit.proof import claims
from planesplit.proof.canaries import Kind
from planesplit.proof.drive.logs import write_lines
from planesplit.proof.drive.recorder import open_raw
from planesplit.proof.stage import Stage
from planesplit.split.options import LOOPBACK
from planesplit.viewer import RUN_SERVICE, Viewer
from planesplit.workloads import container
from tunnel.capabilities import CREATE_SECRET, QUERY, TAIL_LOGS

OVERSIZE_BYTES = 6_000_000  # above every limit of a request's body
LONG_BYTES = 200_000  # above every limit of a request's head
PROTO = "application/proto"
STREAM = {"content-type": "application/connect+proto"}


async def provoke(stage: Stage, viewer: Viewer) -> None:
    """Send what must be refused: to the relay, the control plane and the cluster's endpoint."""
    secret = await viewer.endpoint(SelectClusterRequest.OPERATION_USE_SECRETS) + CREATE_SECRET
    data = await viewer.endpoint(SelectClusterRequest.OPERATION_UPLOAD_INPUTS)
    relay, control = stage.split.ready.urls.relay, stage.split.ready.urls.control
    token = await viewer.client.authorization()
    good = {"content-type": PROTO, **token}
    bad = {"content-type": PROTO, "authorization": f"Bearer {stage.make(claims.BAD_TOKEN)}"}
    value = _noise(stage, claims.BAD_SECRET)
    big = value * (OVERSIZE_BYTES // len(value))
    path = stage.name(claims.BAD_PATH)
    spec = _noise(stage, claims.BAD_SPEC)
    runs = f"{control}{RUN_SERVICE}"
    async with open_raw(stage, "whoever sends bad requests") as http:
        await _send(http, secret, bad, value)
        await _send(http, secret, good, value)
        await _send(http, secret, good, big)
        await _send(http, secret.replace("CreateSecret", path), good, value)
        await _send(http, f"{relay}/r/{path}/x/y/z{TAIL_LOGS}", good, b"")
        await _send(http, f"{relay}/{path}?q={path}", {**good, "x-note": path * 4}, b"")
        await _send(http, f"{relay}/{path}", {"x-note": path * (LONG_BYTES // len(path))}, b"")
        await _send(http, secret.replace(CREATE_SECRET, QUERY), {**good, **STREAM}, value)
        await _send(http, f"{runs}/CreateRun", good, spec)
        await _send(http, f"{runs}/CreateRun", bad, spec)
        await _send(http, f"{runs}/{path}", good, spec)
        await _send(http, f"{runs}/CreateRun", good, spec * (OVERSIZE_BYTES // len(spec)))
        await _send(http, f"{control}/oauth2/token", {}, b"grant_type=" + spec)
        await _send(http, f"{data}/flyteidl2.dataproxy.DataProxyService/UploadInputs", bad, value)
    await _garbage(stage)
    for kind in (claims.BAD_TOKEN, claims.BAD_SECRET, claims.BAD_PATH, claims.BAD_SPEC):
        stage.delivered_to(kind)


async def fail_run(stage: Stage, viewer: Viewer) -> None:
    """Let a task print canaries as a traceback would, and fail."""
    run = await viewer.run(container(exec=f"cat {write_lines(stage, 40)} >&2; exit 3"))
    if (await viewer.wait(run)).exit_code != 3:
        stage.failures.append("the task that fails on purpose did not")


def _noise(stage: Stage, kind: Kind) -> bytes:
    """Return bytes that are no message of any kind, with canaries in them."""
    return b"\xff\xff\xff" + stage.canaries.block(kind.row, kind.name, 4096)


async def _send(http: httpx.AsyncClient, url: str, headers: dict[str, str], body: bytes) -> None:
    try:
        await http.post(url, headers=headers, content=body)
    except (httpx.HTTPError, httpx.InvalidURL):
        return  # hung up in the middle of a request that is too large


async def _garbage(stage: Stage) -> None:
    """Send what is neither TLS nor HTTP to the agents' listener."""
    own = stage.own
    if own is None or not own.link.port:
        return
    noise = _noise(stage, claims.BAD_PATH)
    with trio.move_on_after(2.0):
        try:
            async with await trio.open_tcp_stream(LOOPBACK, own.link.port) as stream:
                await stream.send_all(b"GET /" + noise + b" HTTP/1.1\r\n\r\n" + noise)
                await stream.receive_some()
        except (OSError, trio.BrokenResourceError):
            return
