"""Every body byte is counted for its row of the white paper, whoever opened the exchange."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import pytest
import trio.testing
from hypothesis import given, settings
from stage import Stage, bearer, report_head, request_of, stage

from relay.metrics import Metrics
from tunnel.capabilities import ASSIGN, CAPABILITIES, CREATE_UPLOAD_LOCATION, QUERY, TAIL_LOGS
from tunnel.errors import Code
from tunnel.exchange import ResponseHead
from tunnel.rows import APPENDIX_A, ROWS

UNARY = "application/proto"
NEVER = [row.id for row in APPENDIX_A.values() if row.transits == "no"]


def counted(metrics: Metrics) -> dict[tuple[str, str], int]:
    """What is not zero."""
    table = metrics.rows.table().items()
    return {(row, d): n for row, by_direction in table for d, n in by_direction.items() if n}


def path(rpc: str) -> str:
    return "/r/acme/p/d/c1" + rpc


async def answer(stream, size: int) -> None:
    await request_of(stream)
    stream.head(ResponseHead(200, (("content-type", UNARY),)))
    if size:
        await stream.send(bytes(size))
    stream.end()


async def call(s: Stage, agent, rpc: str, asked: int, answered: int) -> None:
    """One exchange opened by whoever may, over the caller's listener."""
    opener = CAPABILITIES[rpc].opened_by
    if opener == "agent":
        await report(s, agent, rpc, asked, answered)
        return
    client = s.viewer() if opener == "viewer" else s.control()
    headers = bearer("root", UNARY) if opener == "viewer" else {"content-type": UNARY}
    await client.send("POST", path(rpc), bytes(asked), headers)
    await answer(await agent.stream(), answered)
    response = await client.response()
    assert (response.status_code, len(await client.rest())) == (200, answered)


async def report(s: Stage, agent, rpc: str, asked: int, answered: int) -> None:
    head = report_head()
    stream = agent.session.open(type(head)("POST", rpc, head.scope, head.viewer, head.headers))
    if asked:
        await stream.send(bytes(asked))
    stream.end()
    control = s.control()
    response = await control.ask("GET", "/v1/exchanges/next?wait_s=5")
    assert len(await control.rest()) == asked
    name = dict(response.headers)[b"planesplit-exchange"].decode()
    await s.control().ask("POST", f"/v1/exchanges/{name}", bytes(answered))
    stream.reset(Code.NO_ERROR)


ROOT = {"subject": "root", "role": "Admin", "org": "acme", "project": "*", "domain": "*"}


@pytest.mark.parametrize("rpc", CAPABILITIES)
async def test_each_exchange_is_counted_for_its_own_row_only(autojump_clock, rpc: str) -> None:
    async with stage() as s:
        await s.push(bindings=[ROOT])
        agent = await s.agent()
        await call(s, agent, rpc, 1_000, 60_000)
        row = CAPABILITIES[rpc].row
        assert counted(s.relay.metrics) == {(row, "up"): 1_000, (row, "down"): 60_000}
        assert s.relay.metrics.get("relay_bytes_total", "up") == 1_000
        assert s.relay.metrics.get("relay_bytes_total", "down") == 60_000


CALLS = st.tuples(
    st.sampled_from(sorted(CAPABILITIES)), st.integers(0, 3_000), st.integers(0, 60_000)
)


@given(program=st.lists(CALLS, max_size=6))
@settings(max_examples=20, deadline=None)
async def test_whatever_is_called_rows_that_never_transit_stay_at_zero(program) -> None:
    async with stage() as s:
        await s.push(bindings=[ROOT])
        agent = await s.agent()
        expected: Counter[tuple[str, str]] = Counter()
        for rpc, asked, answered in program:
            await call(s, agent, rpc, asked, answered)
            expected[CAPABILITIES[rpc].row, "up"] += asked
            expected[CAPABILITIES[rpc].row, "down"] += answered
        assert counted(s.relay.metrics) == {k: n for k, n in expected.items() if n}
        for row in NEVER:
            assert s.relay.metrics.rows.table()[row] == {"up": 0, "down": 0}


async def test_a_refused_call_is_counted_for_no_row(autojump_clock) -> None:
    async with stage() as s:
        await s.agent()
        unknown = await s.viewer().ask("POST", path("/x.Y/Z"), b"body", bearer())
        forbidden = await s.viewer().ask(
            "POST", path(CREATE_UPLOAD_LOCATION), b"body", bearer("ann", UNARY)
        )
        assert (unknown.status_code, forbidden.status_code) == (200, 403)
        await trio.testing.wait_all_tasks_blocked()
        assert counted(s.relay.metrics) == {}


async def test_the_operators_page_has_every_row(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=[ROOT])
        agent = await s.agent()
        await call(s, agent, TAIL_LOGS, 10, 20)
        text = s.relay.metrics.render().decode()
        for row in ROWS:
            for direction in ("up", "down"):
                assert f'relay_row_bytes_total{{row="{row}",direction="{direction}"}} ' in text
        assert 'relay_row_bytes_total{row="A8",direction="down"} 20\n' in text
        assert QUERY not in text
        assert ASSIGN not in text
