"""Watches: a snapshot, then every change, until the run or the caller's token ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from control_cast import (
    RUNS,
    Caller,
    Cast,
    answer_class,
    event,
    report,
    run_id,
    running,
    settings,
)
from flyteidl2.common import identifier_pb2, phase_pb2
from flyteidl2.workflow import run_service_pb2 as wire
from google.protobuf.message import Message

from control_stub.runs import RunKey
from control_stub.settings import Limits
from tunnel.http.server import cancel_when_left

RUNNING, SUCCEEDED = phase_pb2.ACTION_PHASE_RUNNING, phase_pb2.ACTION_PHASE_SUCCEEDED


class Stream:
    """The client's end of a server stream."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._put, self._get = trio.open_memory_channel[dict[str, Any]](100)
        self.left = trio.Event()
        self.ended = trio.Event()

    async def send(self, message: Any) -> None:
        """Take what the application sends."""
        if message["type"] == "http.response.body" and message["body"]:
            await self._put.send(message)

    async def receive(self) -> Any:
        """Return (flags, message): 0 and an answer, or 2 and how the stream ended."""
        with trio.fail_after(10):
            body = (await self._get.receive())["body"]
        if body[0] & 2:
            return 2, json.loads(body[5:])
        return 0, self._answer.FromString(body[5:])


@asynccontextmanager
async def watching(
    cast: Cast, caller: Caller, method: str, request: Message
) -> AsyncIterator[Stream]:
    """Open a server stream."""
    message = request.SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    stream = Stream(answer_class(RUNS, method))
    headers = {"content-type": "application/connect+proto", **caller.headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{RUNS}/{method}",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asked = False

    async def receive() -> Any:
        nonlocal asked
        if asked:
            await stream.left.wait()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def serve() -> None:
        await cancel_when_left(cast.plane.asgi, 30.0)(scope, receive, stream.send)
        stream.ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield stream
        nursery.cancel_scope.cancel()


def _requests(key: RunKey) -> dict[str, Message]:
    action = identifier_pb2.ActionIdentifier(run=run_id(key), name="a0")
    return {
        "WatchRunDetails": wire.WatchRunDetailsRequest(run_id=run_id(key)),
        "WatchActionDetails": wire.WatchActionDetailsRequest(action_id=action),
        "WatchActions": wire.WatchActionsRequest(run_id=run_id(key)),
    }


def _phase(method: str, answer: Any) -> int:
    match method:
        case "WatchRunDetails":
            status = answer.details.action.status
        case "WatchActionDetails":
            status = answer.details.status
        case _:
            status = answer.enriched_actions[0].action.status
    phase: int = status.phase
    return phase


@pytest.mark.parametrize("method", ["WatchRunDetails", "WatchActionDetails", "WatchActions"])
async def test_a_watch_tells_every_change_until_the_end(autojump_clock: Any, method: str) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await trio.sleep(1)
        async with watching(cast, alice, method, _requests(key)[method]) as stream:
            _, first = await stream.receive()
            assert _phase(method, first) == phase_pb2.ACTION_PHASE_QUEUED
            for sequence, phase in ((1, RUNNING), (2, SUCCEEDED)):
                await trio.sleep(5)
                await report(cast, event(key, phase, sequence))
                _, answer = await stream.receive()
                assert _phase(method, answer) == phase
            assert await stream.receive() == (2, {})
            await stream.ended.wait()


async def test_an_ended_run_is_told_once(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await report(cast, event(key, SUCCEEDED, 1))
        method = "WatchRunDetails"
        async with watching(cast, alice, method, _requests(key)[method]) as stream:
            assert _phase(method, (await stream.receive())[1]) == SUCCEEDED
            assert await stream.receive() == (2, {})


async def test_reports_that_change_nothing_are_not_told(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        method = "WatchActionDetails"
        running_event = event(key, RUNNING, 1)
        await report(cast, running_event)
        async with watching(cast, alice, method, _requests(key)[method]) as stream:
            await stream.receive()
            await report(cast, running_event)
            await report(cast, event(key, SUCCEEDED, 2))
            assert _phase(method, (await stream.receive())[1]) == SUCCEEDED


@pytest.mark.parametrize(
    "limits", [Limits(watch_s=60.0), Limits(token_s=60)], ids=["watch", "token"]
)
async def test_a_watch_ends_with_its_time_or_its_token(autojump_clock: Any, limits: Limits) -> None:
    async with running(settings(limits=limits)) as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await trio.sleep(1)
        started = trio.current_time()
        method = "WatchRunDetails"
        async with watching(cast, alice, method, _requests(key)[method]) as stream:
            await stream.receive()
            await stream.ended.wait()
            assert 58 <= trio.current_time() - started <= 60
            assert await stream.receive() == (2, {})


async def test_a_quiet_watch_ends_when_its_client_leaves(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        method = "WatchRunDetails"
        async with watching(cast, alice, method, _requests(key)[method]) as stream:
            await stream.receive()
            await trio.sleep(5)
            stream.left.set()
            with trio.fail_after(1.5):
                await stream.ended.wait()
