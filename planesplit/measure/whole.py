"""The whole path of a log line: CRI file, the real agent, our relay, a viewer's tail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import tomli_w
import trio
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest

from planesplit.measure.access import push_access
from planesplit.measure.lab import Helper, Lab, MeasureError
from planesplit.measure.rig import Rig
from planesplit.measure.subjects import (
    SCOPE,
    Load,
    Via,
    start_plain_relay,
    straight,
    viewer_request,
)
from planesplit.measure.unit import ENVELOPE
from tunnel.capabilities import ASSIGN, TAIL_LOGS
from tunnel.messages.planesplit_v1_pb2 import Action, AssignRequest, Container

UP_S = 20.0
POLL_S = 0.05
ACTION = "a0"
QUIET_POD = ("sleep", "86400")  # its log is written by the node-log helper instead


async def start_whole(lab: Lab, load: Load, via: Via = straight, *, policy: str = "") -> Rig:
    """Start everything that a line crosses, with one pod and one tail a stream.

    Args:
        lab, load: as ever.
        via: what stands between agent and relay: given the relay's port, returns the one to dial.
        policy: of the agent, how it batches lines; its default if empty.
    """
    relay = await start_plain_relay(lab)
    dialled = await via(relay.ready["agent_port"])
    log_root, state = lab.path("logs"), lab.path("state")
    log_root.mkdir()
    state.mkdir()
    customer = await lab.start(
        "customer_stub",
        *_configured(lab, "customer_stub", {"log_root": str(log_root), "insecure": True}),
    )
    settings: dict[str, object] = {
        "org": SCOPE.org,
        "cluster": SCOPE.cluster,
        "relay_url": f"ws://127.0.0.1:{dialled}/tunnel",
        "kubernetes_url": f"http://127.0.0.1:{customer.ready['port']}",
        "log_root": str(log_root),
        "state_dir": str(state),
    }
    if policy:
        settings["logs"] = {"policy": policy}
    agent = await lab.start("compute_agent", *_configured(lab, "compute_agent", settings))
    await push_access(relay.ready["control_port"])
    source, sink = await lab.helper("node_log"), await lab.helper("sink")
    for stream in range(load.streams):
        await _assign(relay.ready["control_port"], run_name(stream))
        path = await _log_file(log_root, run_name(stream))
        await source.ask("open", path=str(path))
        await _tail(sink, relay.ready["viewer_port"], run_name(stream))
    return Rig(
        "whole",
        load.streams,
        relay.pid,
        source,
        sink,
        agent_pid=agent.pid,
        tails=True,
        viewer_port=relay.ready["viewer_port"],
        seal=str(relay.ready.get("seal", "")),
    )


async def start_prompt(lab: Lab, load: Load) -> Rig:
    """Start it all with an agent that does not wait for a batch to fill."""
    rig = await start_whole(lab, load, policy="latency")
    rig.name = "whole-latency"
    return rig


def run_name(stream: int) -> str:
    """Return the run whose log is a stream."""
    return f"measured-{stream}"


def _configured(lab: Lab, module: str, settings: Mapping[str, object]) -> tuple[str, str, str]:
    file = lab.path(f"{module}.toml")
    file.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return module, "--config", str(file)


async def _assign(control_port: int, run: str) -> None:
    """Have the agent start a pod."""
    action = Action(
        org=SCOPE.org, project=SCOPE.project, domain=SCOPE.domain, run=run, action=ACTION, attempt=1
    )
    request = AssignRequest(action=action, container=Container(image="any", command=QUIET_POD))
    await _call(control_port, ASSIGN, request.SerializeToString())


async def _call(control_port: int, path: str, message: bytes) -> None:
    """Call the agent through the relay; it may still be on its way there."""
    url = f"http://127.0.0.1:{control_port}{SCOPE.prefix}{path}"
    headers = {"content-type": "application/proto"}
    async with httpx.AsyncClient(trust_env=False, timeout=UP_S) as http:
        with trio.move_on_after(UP_S):
            while True:
                answer = await http.post(url, content=message, headers=headers)
                if answer.status_code == httpx.codes.OK:
                    return
                await trio.sleep(POLL_S)
    raise MeasureError(f"the agent did not answer {path.rpartition('/')[2]} in time")


async def _log_file(log_root: Path, run: str) -> Path:
    pattern = f"*_{run}-{ACTION}-1_*/main/0.log"
    with trio.move_on_after(UP_S):
        while True:
            found = sorted(log_root.glob(pattern))  # noqa: ASYNC240 - a small local directory
            if found:
                return found[0]
            await trio.sleep(POLL_S)
    raise MeasureError("the pod's log file did not appear in time")


async def _tail(sink: Helper, port: int, run: str) -> None:
    await sink.ask("open", port=port, request=tail_request(run))


def tail_request(run: str) -> str:
    """Return what a viewer sends that tails a run from its first line, one character a byte."""
    request = TailLogsRequest(attempt=1)
    request.action_id.name = ACTION
    where = request.action_id.run
    where.org, where.project, where.domain, where.name = (
        SCOPE.org,
        SCOPE.project,
        SCOPE.domain,
        run,
    )
    body = request.SerializeToString()
    message = (ENVELOPE.pack(0, len(body)) + body).decode("latin-1")
    return viewer_request(SCOPE.prefix + TAIL_LOGS, message)
