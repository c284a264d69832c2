"""Reports phases of attempts to the control plane: news, and everything after a reconnect."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

import trio
from flyteidl2.common import phase_pb2

from compute_agent.outcomes import Events, Failed, Key, Outcomes
from compute_agent.pods import Change, Pod, PodStore
from compute_agent.settings import ReportLimits
from compute_agent.tell import Teller
from tunnel.capabilities import REPORT
from tunnel.messages.planesplit_v1_pb2 import Action, PhaseEvent, ReportRequest
from tunnel.row_counts import RowCounts
from tunnel.session import Session

NANOS = 1_000_000_000


class Reporter:
    """Turns changes of pods into phase events and delivers them.

    An event's sequence is its phase's number, which rises over an attempt's life: after a restart
    the agent numbers the same state alike, and the receiver can drop what it knows.

    Args:
        org, cluster: whose reports.
        store: the agent's picture of its pods.
        limits: bounds.
        now_s: wall clock, seconds since the epoch.
        rows: where bodies are counted.
        failed: whether an attempt that ended well left an error; None where nobody can say.
    """

    def __init__(
        self,
        org: str,
        cluster: str,
        store: PodStore,
        limits: ReportLimits,
        now_s: Callable[[], float] = time.time,
        rows: RowCounts | None = None,
        failed: Failed | None = None,
    ) -> None:
        self._outcomes = Outcomes(failed)
        self._org, self._cluster, self._store = org, cluster, store
        self._limits, self._now_s = limits, now_s
        self._teller = Teller(org, cluster, rows or RowCounts(), limits.answer_s)
        self._pending: dict[Key, PhaseEvent] = {}
        self._latest: dict[tuple[str, str, str], int] = {}
        self.dropped = 0
        store.listen(self._observe)

    async def run(self, session: Session) -> NoReturn:
        """Report over one tunnel, beginning with everything, until cancelled."""
        full_due = True
        while True:
            full = full_due and self._store.synced
            events = self._everything() if full else dict(self._pending)
            held = await self._outcomes.judge(events)
            self._pending |= held
            for key in held:
                del events[key]
            full = full and not held  # what it does not name would count as lost
            request = ReportRequest(
                org=self._org,
                cluster=self._cluster,
                phases=events.values(),
                healthy=self._store.synced,
                full=full,
            )
            if await self._teller.tell(session, REPORT, request):
                full_due = full_due and not full
                for key, event in events.items():
                    if self._pending.get(key) is event:
                        del self._pending[key]
                await self._something_to_say(full_due, held)
            else:
                await trio.sleep(self._limits.retry_s)

    def _observe(self, change: Change) -> None:
        pod = change.pod
        identity = pod.namespace, pod.name, pod.uid
        before = self._latest.get(identity, 0)
        phase = phase_of(pod, deleted=change.deleted)
        if change.deleted:
            self._latest.pop(identity, None)
        else:
            self._latest[identity] = max(before, phase)
        if phase > before and not (change.deleted and before in TERMINAL):
            self._add((*identity, phase), self._event(pod, phase))

    def _add(self, key: Key, event: PhaseEvent) -> None:
        if len(self._pending) >= self._limits.max_pending:
            del self._pending[next(iter(self._pending))]
            self.dropped += 1  # the state itself is in the next full report
        self._pending[key] = event

    def _everything(self) -> dict[Key, PhaseEvent]:
        events = dict(self._pending)
        for pod in self._store.all():
            phase = phase_of(pod)
            key = (pod.namespace, pod.name, pod.uid, phase)
            if phase and key not in events:
                events[key] = self._event(pod, phase)
        return events

    def _event(self, pod: Pod, phase: int) -> PhaseEvent:
        attempt = pod.attempt
        event = PhaseEvent(
            action=Action(
                org=attempt.org,
                project=attempt.project,
                domain=attempt.domain,
                run=attempt.run,
                action=attempt.action,
                attempt=attempt.attempt,
            ),
            phase=phase,
            sequence=phase,
            pod=pod.name,
        )
        event.at.FromNanoseconds(int(_when(pod, phase, self._now_s()) * NANOS))
        if pod.exit_code is not None:
            event.exit_code, event.has_exit_code = pod.exit_code, True
        return event

    async def _something_to_say(self, full_due: bool, held: Events) -> None:
        """Wait for news; events that the store could not be asked of are tried again soon."""
        limits = self._limits
        with trio.move_on_after(limits.retry_s if held else limits.health_s):
            while self._pending.keys() <= held.keys() and not (full_due and self._store.synced):
                await self._store.changed()


TERMINAL = frozenset({phase_pb2.ACTION_PHASE_SUCCEEDED, phase_pb2.ACTION_PHASE_FAILED})

_PHASES = {
    "Running": phase_pb2.ACTION_PHASE_RUNNING,
    "Succeeded": phase_pb2.ACTION_PHASE_SUCCEEDED,
    "Failed": phase_pb2.ACTION_PHASE_FAILED,
}


def phase_of(pod: Pod, *, deleted: bool = False) -> int:
    """Return the flyteidl2.common.ActionPhase of a pod; 0 where the cluster does not know it."""
    if pod.phase == "Pending" and not deleted:
        started = pod.scheduled
        return int(
            phase_pb2.ACTION_PHASE_INITIALIZING if started else phase_pb2.ACTION_PHASE_QUEUED
        )
    phase = _PHASES.get(pod.phase, phase_pb2.ACTION_PHASE_UNSPECIFIED)
    if phase == phase_pb2.ACTION_PHASE_SUCCEEDED:
        return int(phase)
    aborted = (deleted and phase not in TERMINAL) or (pod.deleting and phase in TERMINAL)
    return int(phase_pb2.ACTION_PHASE_ABORTED if aborted else phase)


def _when(pod: Pod, phase: int, now_s: float) -> float:
    if phase >= phase_pb2.ACTION_PHASE_SUCCEEDED:
        return pod.finished_s or now_s
    if phase == phase_pb2.ACTION_PHASE_RUNNING:
        return pod.started_s or now_s
    return pod.created_s or now_s
