"""A tail goes on over lost relays with every line once, or ends with an error; never in silence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse
from flyteidl2.logs.dataplane.payload_pb2 import LogLineOriginator
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from planesplit.connect_client import ConnectError
from planesplit.tail import Line, OpenStream, tail_lines

GONE = ConnectError("unavailable")
LOG = ["one\n", "two\n", "drei €\n", "four\n"]


def message(*texts: str, originator: int = LogLineOriginator.USER) -> TailLogsResponse:
    answer = TailLogsResponse()
    lines = answer.logs.add().lines
    for text in texts:
        lines.add(message=text, originator=originator, short_pod_name="p").timestamp.nanos = 7
    return answer


def streams(*attempts: Sequence[TailLogsResponse | ConnectError]) -> OpenStream:
    """Each opening plays the next attempt: its messages, then its error or an orderly end."""
    left = list(attempts)

    async def play(attempt: Sequence[TailLogsResponse | ConnectError]) -> AsyncIterator[object]:
        for item in attempt:
            if isinstance(item, ConnectError):
                raise item
            yield item

    @asynccontextmanager
    async def open_stream() -> AsyncIterator[AsyncIterator[object]]:
        yield play(left.pop(0))

    return open_stream


async def collect(open_stream: OpenStream, *, may_reopen: bool = True) -> list[Line]:
    async with aclosing(tail_lines(open_stream, may_reopen=may_reopen)) as lines:
        return [line async for line in lines]


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


async def test_lines_carry_what_the_message_says() -> None:
    (line,) = await collect(streams([message("a\n")]))
    assert (line.text, line.at_ns, line.originator, line.pod) == ("a\n", 7, "USER", "p")
    assert line.complete
    assert line.received_ns > 0


async def test_keepalives_yield_nothing() -> None:
    assert await collect(streams([TailLogsResponse(), message("a\n"), TailLogsResponse()]))


@pytest.mark.parametrize("at", range(len(LOG) + 1))
async def test_after_a_lost_relay_the_rest_follows_once(at: int, autojump_clock: MockClock) -> None:
    lost = [message(*LOG[:at]), GONE]
    assert texts(await collect(streams(lost, [GONE], [message(*LOG)]))) == LOG


async def test_pieces_may_be_cut_differently_the_second_time(autojump_clock: MockClock) -> None:
    lines = await collect(streams([message("aa", "bb"), GONE], [message("aabb", "cc\n")]))
    assert "".join(texts(lines)) == "aabbcc\n"
    lines = await collect(streams([message("aa"), GONE], [message("aabb\n")]))
    assert texts(lines) == ["aa", "bb\n"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=5), max_size=6), st.data())
async def test_any_number_of_losses_at_any_line(log: list[str], data: st.DataObject) -> None:
    attempts: list[Sequence[TailLogsResponse | ConnectError]] = [
        [message(*log[: data.draw(st.integers(0, len(log)))]), GONE]
        for _ in range(data.draw(st.integers(0, 1)))
    ]
    assert texts(await collect(streams(*attempts, [message(*log)]))) == log


async def test_another_beginning_is_data_loss(autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectError, match="no longer begins"):
        await collect(streams([message("one\n"), GONE], [message("own\n", "two\n")]))


async def test_a_shorter_log_is_data_loss(autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectError, match="shorter"):
        await collect(streams([message("one\n", "two\n"), GONE], [message("one\n")]))


async def test_gap_records_are_delivered_and_not_part_of_the_log(autojump_clock: MockClock) -> None:
    gap = message("gap\n", originator=LogLineOriginator.SYSTEM)
    lines = await collect(streams([gap, message("a\n"), GONE], [message("a\n", "b\n")]))
    assert [(line.text, line.originator) for line in lines] == [
        ("gap\n", "SYSTEM"),
        ("a\n", "USER"),
        ("b\n", "USER"),
    ]


@pytest.mark.parametrize("code", ["data_loss", "permission_denied", "internal"])
async def test_other_ends_are_ends(code: str) -> None:
    with pytest.raises(ConnectError, match=code):
        await collect(streams([message("a\n"), ConnectError(code)]))


@pytest.mark.parametrize("at", range(1, len(LOG) + 1))
async def test_after_its_tokens_end_the_rest_follows_once(at: int) -> None:
    ended = ConnectError("unauthenticated")
    lives = [message(*LOG[:1]), ended], [message(*LOG[:at]), ended], [message(*LOG)]
    assert texts(await collect(streams(*lives))) == LOG


@pytest.mark.parametrize("before", [[], [[message("a\n"), ConnectError("unauthenticated")]]])
async def test_who_gets_no_token_is_told_so(before: list[list[TailLogsResponse]]) -> None:
    with pytest.raises(ConnectError, match="unauthenticated"):
        await collect(streams(*before, [ConnectError("unauthenticated")]))


async def test_a_tail_that_cannot_be_repeated_is_not_reopened(autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectError, match="unavailable"):
        await collect(streams([message("a\n"), GONE]), may_reopen=False)
    again = streams([GONE], [message("a\n")])  # nothing was delivered: nothing can double
    assert texts(await collect(again, may_reopen=False)) == ["a\n"]


async def test_it_gives_up_after_a_minute_of_silence(autojump_clock: MockClock) -> None:
    tries: list[ConnectError] = []
    lines = tail_lines(streams(*[[GONE]] * 1000), on_retry=tries.append)
    with pytest.raises(ConnectError, match="unavailable"):
        await anext(lines)
    assert 120 <= len(tries) < 130
