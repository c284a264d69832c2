"""Rows A1 to A3 and A8: a run's specification, name, log, events and abort."""

from __future__ import annotations

import secrets
from contextlib import aclosing

import trio
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.core import security_pb2
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.workflow import run_service_pb2

from planesplit.connect_client import ConnectError
from planesplit.events import open_events
from planesplit.proof import claims
from planesplit.proof.drive.strangers import refused
from planesplit.proof.stage import Stage
from planesplit.viewer import Viewer
from planesplit.workloads import container
from tunnel.capabilities import TAIL_LOGS

REPEATS = 6  # canaries in a line: one every 25 bytes
COLLECTED_S = 15.0


def write_lines(stage: Stage, lines: int) -> str:
    """Write a file of log lines that are nothing but canaries; return its path."""
    path = stage.workshop / f"lines-{secrets.token_hex(4)}.txt"
    path.write_text(
        "".join(f"{stage.canaries.line(*_WHOSE, repeats=REPEATS)}\n" for _ in range(lines))
    )
    return str(path)


_WHOSE = (claims.LOG_LINE.row, claims.LOG_LINE.name)


async def start_run(stage: Stage, viewer: Viewer, lines: int, rate: int = 0) -> str:
    """Start a run whose name, specification and log are canaries; return its name.

    Args:
        rate: lines a second; 0 prints as fast as it can.
    """
    path, env = write_lines(stage, lines), {"REMARK": stage.make(claims.TASK_SPEC)}
    if rate:
        made = container(replay=path, args=[str(rate)], env=env)
    else:
        made = container(exec=f"cat {path}", env=env)
    run = await viewer.run(made, stage.name(claims.RUN_NAME))
    stage.delivered_to(claims.TASK_SPEC)
    stage.delivered_to(claims.RUN_NAME)
    return run


async def tail(stage: Stage, viewer: Viewer, run: str) -> int:
    """Tail a run to its end; return how many lines came."""
    count = 0
    first = b""
    async with viewer.tail(run, on_retry=stage.retried) as lines, aclosing(lines):
        async for line in lines:
            first = first or line.text.encode()
            count += 1
    if first:
        stage.delivered_to(claims.LOG_LINE, first, times=count)
    return count


async def logs(stage: Stage, viewer: Viewer, lines: int = 300) -> None:
    """Run, tail live, and tail once more what the log aggregator has."""
    run = await start_run(stage, viewer, lines)
    url = await viewer.endpoint(SelectClusterRequest.OPERATION_TAIL_LOGS, run) + TAIL_LOGS
    request = dataproxy.TailLogsRequest(action_id=viewer.action_id(run), attempt=1)
    if await tail(stage, viewer, run) != lines:
        stage.failures.append("a tail ended with other lines than the run wrote")
    # Afterwards: a relay that mixes tenants up has something to mix up.
    await refused(stage, url, request, dataproxy.TailLogsResponse, stream=True)
    await viewer.wait(run)


async def events(stage: Stage, viewer: Viewer) -> None:
    """Let a pod fail with a message of its own, watch it, and abort the run with a reason."""
    missing, run = f"never-{secrets.token_hex(6)}", f"e{secrets.token_hex(6)}"
    stage.watch(f'Error: secret "{missing}" not found', claims.EVENT)
    request = run_service_pb2.CreateRunRequest()
    of, place = request.run_id, viewer.place
    of.org, of.project, of.domain, of.name = place.org, place.project, place.domain, run
    template = request.task_spec.task_template
    template.id.name, template.type = "lacking", "container"
    template.container.image = "any"
    template.container.command.append("true")
    wanted = security_pb2.Secret(
        key=missing, env_var="X", mount_requirement=security_pb2.Secret.MountType.ENV_VAR
    )
    template.security_context.secrets.append(wanted)
    await viewer.call("CreateRun", request, run_service_pb2.CreateRunResponse)
    async with open_events(viewer, run) as told:
        async for event in told:
            if event.reason == "Failed":
                stage.delivered_to(claims.EVENT, event.message.encode())
                break
    await viewer.abort(run, stage.make(claims.ABORT_REASON))
    await viewer.wait(run)
    stage.delivered_to(claims.ABORT_REASON)


async def leave_early(stage: Stage, viewer: Viewer, run: str) -> None:
    """Read one line and hang up."""
    try:
        async with viewer.tail(run, retry_for_s=5.0) as lines:
            async for _ in lines:
                return
    except ConnectError as error:
        stage.tell(f"a viewer that left early was told {error.code}")
    await trio.lowlevel.checkpoint()
