"""Hands runs to their clusters and takes them back: tried again until the agent has acknowledged.

The agent treats a repeated assignment or abort as the first one.
"""

from __future__ import annotations

import trio
from flyteidl2.core import security_pb2, tasks_pb2

from control_stub import runs, tasks
from control_stub.relay_link import RelayAway, RelayLink, RpcFailed
from control_stub.runs import ROOT_ACTION, Run, RunKey
from control_stub.services import views
from control_stub.services.desk import OPEN_RUNS, Desk
from tunnel.capabilities import ABORT, ASSIGN
from tunnel.exchange import Scope
from tunnel.messages import planesplit_v1_pb2 as wire

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0  # a cluster that comes back is told at once; this is for what nobody announces
SECRETS_DIRECTORY = "/etc/flyte/secrets"  # the one place that the SDK knows

# What no repetition will change. NOT_FOUND and UNAVAILABLE are also a relay without that tunnel.
_FINAL = frozenset(
    {
        "already_exists",
        "failed_precondition",
        "invalid_argument",
        "permission_denied",
        "unimplemented",
    }
)


class Assigner:
    """Works through the runs that their clusters must be told about, a bounded number at once."""

    def __init__(self, desk: Desk, link: RelayLink) -> None:
        self._desk, self._link = desk, link
        self._busy: dict[RunKey, str] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        at_once = self._desk.settings.limits.assignments
        async with trio.open_nursery() as nursery:
            while True:
                due = self._desk.notices.event(OPEN_RUNS)
                free = at_once - len(self._busy)
                for run in await self._desk.store.call(runs.open_runs, list(self._busy), free):
                    self._busy[run.key] = run.cluster
                    nursery.start_soon(self._tell, run.key)
                await due.wait()

    def retry(self, org: str, cluster: str) -> None:
        """Try a cluster's runs again now."""
        for key, where in self._busy.items():
            if (key.org, where) == (org, cluster):
                self._desk.notices.touch(key)

    async def _tell(self, key: RunKey) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                woken = self._desk.notices.event(key)
                run = await self._desk.store.call(runs.get, key)
                if run is None or not _is_open(run):
                    return
                try:
                    await (self._abort(run) if run.abort_at else self._assign(run))
                except RelayAway:
                    with trio.move_on_after(pause_s):
                        await woken.wait()
                    pause_s = min(pause_s * 2, MAX_PAUSE_S)
        finally:
            del self._busy[key]
            self._desk.notices.touch(OPEN_RUNS)

    async def _assign(self, run: Run) -> None:
        parts, key = self._desk.parts, run.key
        if parts and not parts.has_namespace("run-scheduler", key.project, key.domain):
            raise RelayAway  # it waits in the queue until the namespace is there
        spec = await self._desk.store.call(tasks.get_spec, run.digest)
        request = assignment(run, spec.task_template)
        await self._desk.store.call(runs.offered, run.key, self._desk.now_ns())
        now_ns = self._desk.now_ns
        try:
            await self._link.call(_scope(run), ASSIGN, request, wire.AssignResponse)
        except RpcFailed as failure:
            if failure.code not in _FINAL:
                raise RelayAway from None
            await self._desk.store.call(runs.refused, run.key, run.attempt, failure.code, now_ns())
            self._ended("run_refused", run)
        else:
            await self._desk.store.call(runs.assigned, run.key, run.attempt, now_ns())
            self._desk.journal.event(
                "run_assigned", org=run.key.org, run=run.key.run, attempt=run.attempt
            )

    async def _abort(self, run: Run) -> None:
        """End a run; that its cluster has acknowledged the abort ends it, whatever was running."""
        if run.offered_at:
            request = wire.AbortRequest(action=_action(run), reason=run.abort_reason)
            try:
                await self._link.call(_scope(run), ABORT, request, wire.AbortResponse)
            except RpcFailed as failure:
                if run.assigned_at or failure.code not in _FINAL:
                    raise RelayAway from None
        await self._desk.store.call(runs.aborted, run.key, self._desk.now_ns())
        self._ended("run_aborted", run)

    def _ended(self, event: str, run: Run) -> None:
        self._desk.journal.event(event, org=run.key.org, run=run.key.run, cluster=run.cluster)
        self._desk.notices.touch(run.key)


def _is_open(run: Run) -> bool:
    """Whether the cluster must still be told something."""
    return not run.done and bool(run.abort_at or not run.assigned_at)


def _scope(run: Run) -> Scope:
    return Scope(run.key.org, run.key.project, run.key.domain, run.cluster)


def assignment(run: Run, template: tasks_pb2.TaskTemplate) -> wire.AssignRequest:
    """Return what a cluster is told of an attempt: names, a command, addresses; never inputs."""
    container = template.container
    return wire.AssignRequest(
        action=_action(run),
        container=wire.Container(
            image=container.image,
            command=container.command,
            args=container.args,
            env={pair.key: pair.value for pair in container.env},
            secrets=map(_mount, template.security_context.secrets),
            requests=_requests(container.resources),
        ),
        inputs_uri=run.inputs_uri,
        created_at=views.timestamp(run.created_at),
        task_name=run.task_name,
        task_version=run.task_version,
    )


# Names in a task's specification -> Kubernetes resources.
_RESOURCES = {
    tasks_pb2.Resources.CPU: "cpu",
    tasks_pb2.Resources.MEMORY: "memory",
    tasks_pb2.Resources.GPU: "nvidia.com/gpu",
    tasks_pb2.Resources.EPHEMERAL_STORAGE: "ephemeral-storage",
}


def _requests(resources: tasks_pb2.Resources) -> dict[str, str]:
    known = (entry for entry in resources.requests if entry.name in _RESOURCES)
    return {_RESOURCES[entry.name]: entry.value for entry in known}


def _mount(secret: security_pb2.Secret) -> wire.SecretMount:
    """Return a secret's name and where it is wanted; the value never leaves the cluster."""
    made = wire.SecretMount(key=secret.key, env_var=secret.env_var)
    if secret.mount_requirement == security_pb2.Secret.FILE:
        parts = (SECRETS_DIRECTORY, secret.group, secret.key)
        made.mount_path = "/".join(part for part in parts if part)
    elif not secret.env_var:  # as the SDK names it
        name = f"{secret.group}_{secret.key}" if secret.group else secret.key
        made.env_var = name.replace("-", "_").upper()
    return made


def _action(run: Run) -> wire.Action:
    key = run.key
    return wire.Action(
        org=key.org,
        project=key.project,
        domain=key.domain,
        run=key.run,
        action=ROOT_ACTION,
        attempt=run.attempt,
    )
