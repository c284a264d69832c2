"""`planesplit get events`: each event once, also when the relay is lost; tables and JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flyteidl2.workflow.run_definition_pb2 import ClusterEvent
from flyteidl2.workflow.run_service_pb2 import (
    WatchClusterEventsRequest,
    WatchClusterEventsResponse,
)

from planesplit.commands import events as command
from planesplit.connect_client import ConnectError
from planesplit.events import Event, open_events

LOST = ConnectError("unavailable", "gone")


def told(reason: str, count: int = 1, **fields: Any) -> ClusterEvent:
    event = ClusterEvent(reason=reason, count=count, type=ClusterEvent.TYPE_NORMAL, **fields)
    event.occurred_at.FromSeconds(1_800_000_000)
    return event


class FakeViewer:
    """Answers each request with the next script: events, and an error at its end."""

    def __init__(self, *scripts: list[ClusterEvent | ConnectError]) -> None:
        self.place = SimpleNamespace(org="acme", project="demo", domain="dev")
        self.client = self
        self.scripts = list(scripts)
        self.requests: list[tuple[str, WatchClusterEventsRequest, dict[str, str]]] = []
        self.waited = False

    async def wait(self, run: str, **_: Any) -> None:
        self.waited = True

    async def endpoint(self, operation: int, run: str) -> str:
        return "https://relay/r/acme"

    @asynccontextmanager
    async def stream(self, url: str, request: Any, answer: Any, headers: Any) -> Any:
        self.requests.append((url, request, headers))
        yield self._answers(self.scripts.pop(0))

    async def _answers(
        self, script: list[ClusterEvent | ConnectError]
    ) -> AsyncIterator[WatchClusterEventsResponse]:
        for item in script:
            if isinstance(item, ConnectError):
                raise item
            yield WatchClusterEventsResponse(cluster_events=[item])
            yield WatchClusterEventsResponse()


async def events_of(viewer: Any, **options: Any) -> list[Event]:
    async with open_events(viewer, "run1", **options) as found:
        return [event async for event in found]


async def test_a_relay_that_is_back_repeats_nothing(autojump_clock: Any) -> None:
    a, b, b2, c = told("A"), told("B"), told("B", 2), told("C")
    viewer = FakeViewer([a, b, LOST], [LOST], [a, b2, c])
    retries: list[ConnectError] = []
    events = await events_of(viewer, on_retry=retries.append)
    assert [(e.reason, e.count) for e in events] == [("A", 1), ("B", 1), ("B", 2), ("C", 1)]
    assert len(retries) == 2
    assert viewer.waited
    url, request, headers = viewer.requests[0]
    assert url.endswith("/flyteidl2.workflow.RunService/WatchClusterEvents")
    assert (request.id.run.name, request.id.name) == ("run1", "a0")
    assert headers == {"planesplit-follow": "true"}


async def test_other_errors_and_lost_patience(autojump_clock: Any) -> None:
    with pytest.raises(ConnectError, match="denied"):
        await events_of(FakeViewer([ConnectError("permission_denied", "denied")]))
    with pytest.raises(ConnectError, match="gone"):
        await events_of(FakeViewer(*[[LOST]] * 99), retry_for_s=2)


async def test_what_is_there_needs_no_waiting() -> None:
    viewer = FakeViewer([told("A")])
    assert len(await events_of(viewer, follow=False)) == 1
    assert not viewer.waited
    assert viewer.requests[0][2] == {"planesplit-follow": "false"}


@pytest.mark.parametrize("watch", [False, True])
@pytest.mark.parametrize("output", ["table", "json"])
async def test_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: Any, watch: bool, output: str
) -> None:
    @asynccontextmanager
    async def viewer(_ready: object) -> AsyncIterator[FakeViewer]:
        yield FakeViewer([told("Started", message="evil\x1b]0;title\x07\nline"), told("Done")])

    monkeypatch.setattr(command, "open_viewer", viewer)
    monkeypatch.setattr(command, "find", lambda file: file)
    options: dict[str, Any] = {"watch": watch, "attempt": 0, "output": output}
    assert await command.get_events("run1", **options, ready_file=Path("x")) == 0
    lines = capfd.readouterr().out.splitlines()
    if output == "json":
        assert [json.loads(line)["reason"] for line in lines] == ["Started", "Done"]
        assert json.loads(lines[0])["time"] == "2027-01-15T08:00:00Z"
    else:
        assert lines[0].split() == ["TIME", "TYPE", "REASON", "SOURCE", "COUNT", "MESSAGE"]
        assert lines[1].split()[2] == "Started"
        assert lines[1].endswith("evil line")
        assert len(lines) == 3
