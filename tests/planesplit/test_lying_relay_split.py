"""A whole split whose relay lies: the agent refuses by itself and says why; viewers go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest, TailLogsResponse

import relay.viewer
from planesplit.connect_client import ConnectError
from planesplit.ready import Credentials
from planesplit.split.core import Split
from planesplit.split.options import Client, SplitOptions
from planesplit.viewer import open_viewer
from relay.registry import Registry
from tunnel.capabilities import ASSIGN, PUT_ACCESS, TAIL_LOGS
from tunnel.events import Head, Reset
from tunnel.exchange import RequestHead, Scope
from tunnel.messages.planesplit_v1_pb2 import AccessRequest, Binding
from tunnel.wipe import Owned

OUTSIDER = Client("outsider", "acme", "Viewer", project="elsewhere")
CLUSTER = Scope("acme", "-", "-", "c1")
PROTO = (("content-type", "application/proto"),)
FORGED = AccessRequest(
    version=2**40,
    jwks='{"keys":[]}',
    bindings=[Binding(subject="outsider", role="Admin", org="acme", project="*", domain="*")],
)


def options() -> SplitOptions:
    return SplitOptions(mode="inprocess", clients=(OUTSIDER,))


def refusals(split: Split) -> list[str]:
    """What the agent has said of exchanges that it refused."""
    lines = split.journal("compute_agent").lines
    return [line for line in lines if '"event":"exchange_refused"' in line]


async def asked(split: Split, path: str, body: bytes, proof: str = "") -> int:
    """Open an exchange at the agent as the relay alone can; return the answer's status."""
    registry: Registry = split._planes._relay._core.registry
    stream = registry.open(RequestHead("POST", path, CLUSTER, "control", PROTO, proof))
    assert stream is not None
    await stream.send(Owned(body))
    stream.end()
    status = 0
    while not status:
        await stream.ready()
        for event in stream.take():
            if isinstance(event, Head):
                status = event.head.status
            assert not isinstance(event, Reset)
    return status


async def tail_as(split: Split, client_id: str, run: str) -> str:
    """Tail at the relay as a client; return how that ended."""
    secret = split._files.secret_file(client_id)
    ready = replace(split.ready, credentials=Credentials(client_id, str(secret)))
    planes = split._planes
    async with open_viewer(ready, mounts=dict(planes.mounts), now_s=planes.now_s) as viewer:
        request = TailLogsRequest(attempt=1)
        request.action_id.name = "a0"
        name = request.action_id.run
        name.org, name.project, name.domain, name.name = "acme", "demo", "development", run
        url = f"{split.ready.urls.relay}/r/acme/demo/development/c1{TAIL_LOGS}"
        try:
            async with viewer.client.stream(url, request, TailLogsResponse) as messages:
                async for _ in messages:
                    return "lines"
        except ConnectError as error:
            return error.code
    return "nothing"


LIES: dict[str, tuple[dict[str, str], str, str]] = {
    "lets everybody do everything": ({}, "permission_denied", ""),
    "names somebody mightier": ({"viewer": "demo"}, "permission_denied", "other_subject"),
    "leaves the proof out": ({"viewer": "demo", "proof": ""}, "unauthenticated", "no_proof"),
    "makes a proof up": ({"viewer": "demo", "proof": "a.b.c"}, "unauthenticated", "bad_proof"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_relay_asks_for_more_than_a_viewer_may_see(
    lie: str, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, code, flaw = LIES[lie]
    async with Split(options()) as split:
        run = await split.run(exec="echo the line")
        await split.wait(run)
        assert await tail_as(split, "outsider", run) == "permission_denied"  # by an honest relay
        assert refusals(split) == []
        with monkeypatch.context() as patched:
            patched.setattr(relay.viewer, "_permitted", lambda *_: True)
            patched.setattr(relay.viewer, "shared", lambda head: replace(head, **changes))
            assert await tail_as(split, "outsider", run) == code
        said = refusals(split)
        assert [f'"reason":"{flaw}"' in line for line in said] == ([True] if flaw else [])
        assert await tail_as(split, "demo", run) == "lines"


async def test_a_relay_that_forges_asks_in_vain(autojump_clock: Any) -> None:
    async with Split(options()) as split:
        body, proofs = FORGED.SerializeToString(), list[str]()
        opened = Registry.open

        def listening(self: Registry, head: RequestHead, cursor: bytes = b"") -> Any:
            if head.path == PUT_ACCESS:
                proofs.append(head.proof)
            return opened(self, head, cursor)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Registry, "open", listening)
            split.cut()
            await trio.sleep(5)  # the agent comes back and is told the roles anew
        assert proofs
        for path, proof, flaw in (
            (PUT_ACCESS, "", "no_proof"),
            (PUT_ACCESS, "x.y.z", "bad_proof"),
            (PUT_ACCESS, proofs[-1], "replayed_proof"),
            (ASSIGN, proofs[-1], "other_exchange"),
        ):
            assert await asked(split, path, body, proof) in (401, 403)
            assert f'"reason":"{flaw}"' in refusals(split)[-1]
        run = await split.run(exec="echo still served")
        await split.wait(run)
        assert await tail_as(split, "outsider", run) == "permission_denied"
        assert await tail_as(split, "demo", run) == "lines"


async def test_what_was_used_before_a_restart_is_not_good_after_it(autojump_clock: Any) -> None:
    async with Split(options()) as split:
        proofs, opened = list[str](), Registry.open

        def listening(self: Registry, head: RequestHead, cursor: bytes = b"") -> Any:
            proofs.append(head.proof)
            return opened(self, head, cursor)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Registry, "open", listening)
            split.cut()
            await trio.sleep(2)
            used = proofs[-1]
            await split.kill("compute_agent")
            await split.restart("compute_agent")
            await trio.sleep(1)
        assert await asked(split, PUT_ACCESS, FORGED.SerializeToString(), used) == 503
        assert '"reason":"other_start"' in refusals(split)[-1]
        run = await split.run(exec="echo served, by calls that were signed for this start")
        assert (await split.wait(run)).exit_code == 0


class _Altering:
    """A stream of the tunnel that changes what is sent."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def send(self, data: Any, *, alone: bool = False) -> None:
        await self._stream.send(Owned(bytes(data) + FORGED.SerializeToString()), alone=alone)


async def test_a_relay_that_alters_what_is_pushed(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Split(options()) as split:
        await trio.sleep(1)  # it is told the roles once by an honest relay
        opened = Registry.open

        def altering(self: Registry, head: RequestHead, cursor: bytes = b"") -> Any:
            stream = opened(self, head, cursor)
            return _Altering(stream) if head.path == PUT_ACCESS and stream else stream

        with monkeypatch.context() as patched:
            patched.setattr(Registry, "open", altering)
            split.cut()
            await trio.sleep(5)
            assert '"reason":"altered_body"' in refusals(split)[-1]
            run = await split.run(exec="echo still served")
            await split.wait(run)
            assert await tail_as(split, "outsider", run) == "permission_denied"
            assert await tail_as(split, "demo", run) == "lines"  # by what it was told before
