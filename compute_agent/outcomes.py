"""Whether a task whose container ended well has failed all the same.

flyte's runtime exits with 0 and leaves `error.pb` beside the outputs; an attempt is reported as
succeeded only when the store was asked for one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio
from flyteidl2.common import phase_pb2

from compute_agent.attempts import Attempt
from compute_agent.objects.store import StoreError
from tunnel.messages.planesplit_v1_pb2 import Action, PhaseEvent

Key = tuple[str, str, str, int]  # namespace, pod, uid, phase as the cluster sees it
Events = dict[Key, PhaseEvent]
Failed = Callable[[Attempt], Awaitable[bool]]

LOOK_S = 5.0  # half of the time that an unanswered report may take
MAX_KNOWN = 20_000  # twice the pods that an agent remembers by default


class Outcomes:
    """Judges the events of reports, each attempt once.

    Args:
        failed: whether an attempt left an error, asked of the store; None where there is none.
    """

    def __init__(self, failed: Failed | None) -> None:
        self._failed = failed
        self._known: dict[Key, bool] = {}

    async def judge(self, events: Mapping[Key, PhaseEvent]) -> Events:
        """Correct the events that the store contradicts; return those it could not be asked of."""
        if self._failed is None:
            return {}
        ended = {key: event for key, event in events.items() if _went_well(event)}
        with trio.move_on_after(LOOK_S):
            async with trio.open_nursery() as nursery:
                for key in ended.keys() - self._known.keys():
                    nursery.start_soon(self._look, self._failed, key, ended[key].action)
        for key, event in ended.items():
            if self._known.get(key):
                event.phase = event.sequence = phase_pb2.ACTION_PHASE_FAILED
        return {key: event for key, event in ended.items() if key not in self._known}

    async def _look(self, failed: Failed, key: Key, action: Action) -> None:
        attempt = Attempt(
            action.org, action.project, action.domain, action.run, action.action, action.attempt
        )
        try:
            self._known[key] = await failed(attempt)
        except StoreError:
            return  # asked again before the next report
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]


def _went_well(event: PhaseEvent) -> bool:
    return bool(event.phase == phase_pb2.ACTION_PHASE_SUCCEEDED)
