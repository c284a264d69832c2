"""A whole split whose tokens live for a minute: tails end with them, and go on with new ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from planesplit.connect_client import ConnectError
from planesplit.ready import Credentials
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions
from planesplit.tail import Line
from planesplit.viewer import Viewer, open_viewer
from relay.app import Relay
from tunnel.verifier import expires_at

TOKEN_S = 60
LEEWAY_S = 5
RATE = 10.0
OPTIONS = SplitOptions(
    mode="inprocess", settings={"control_stub": {"limits": {"token_s": TOKEN_S}}}
)


async def running(split: Split, seconds: float) -> str:
    return await split.run(
        workload="plain", args=["--lines", f"{seconds * RATE:.0f}", "--rate", f"{RATE}"]
    )


@asynccontextmanager
async def with_one_token(split: Split) -> AsyncIterator[tuple[Viewer, float]]:
    """A viewer that gets no other token, and when the one that it has ends."""
    name, secret = split.ready.credentials.client_id, split.ready.credentials.client_secret_file
    ready = replace(split.ready, credentials=Credentials(name, secret))
    planes = split._planes
    async with open_viewer(ready, mounts=dict(planes.mounts), now_s=planes.now_s) as viewer:
        tokens = viewer.client._token
        assert tokens is not None
        token = await tokens()

        async def same() -> str:
            return token

        viewer.client._token = same
        yield viewer, expires_at(token)


async def _ended(lines: AsyncIterator[Line], saw: Callable[[], None]) -> str:
    """Read a tail to its end; return the error's code."""
    try:
        async for _ in lines:
            saw()
    except ConnectError as error:
        return error.code
    return "ok"


async def test_a_tail_of_many_tokens_loses_and_repeats_nothing(autojump_clock: MockClock) -> None:
    async with Split(OPTIONS) as split:
        run, received = await running(split, 300), list[Line]()
        told: list[ConnectError] = []
        async with split.tail(run, on_retry=told.append) as lines:
            async for line in lines:
                received.append(line)
        split.assert_delivered(run, received)
        assert {str(error) for error in told} == {"unauthenticated: the token has expired"}
        assert 4 <= len(told) <= 10, "a token is renewed at half of its life"


@pytest.mark.parametrize("end", ["the relay", "the agent"])
async def test_a_tail_ends_at_its_tokens_end(
    end: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if end == "the agent":  # the relay is one that lets everybody go on
        monkeypatch.setattr(Relay, "watch_tokens", lambda _: trio.sleep_forever())
    async with Split(OPTIONS) as split:
        run = await running(split, 600)
        came: list[float] = []
        told: list[ConnectError] = []
        async with (
            with_one_token(split) as (viewer, ends_at),
            viewer.tail(run, on_retry=told.append) as lines,
        ):
            error = await _ended(lines, lambda: came.append(split._planes.now_s()))
        assert error == "unauthenticated"
        assert str(told[0]) == "unauthenticated: the token has expired"
        print(f"ended by {end}: last line {came[-1] - ends_at:.2f} s after the token's end")
        assert LEEWAY_S - 1 <= came[-1] - ends_at <= LEEWAY_S
