"""Raw bytes at every listener: one clear error and the end, or an answer, however they are cut."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest
import trio
from edge_cast import bodies, connection, exchange, pieces, serving
from edge_rows import CHUNKS, HEADS, LEGAL, LISTENERS, RELAY, UPGRADES, Row

from planesplit.pki import Authority
from tunnel.tls import client_context, server_context

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
READERS = ("viewer", "control plane", "customer")  # each reads bodies by code of its own
STATUS_LINE = re.compile(rb"HTTP/1\.1 [0-9]{3} ")
PROMPT_S = 5.0  # of simulated time: well before any deadline


async def check_refused(
    listener: str, row: Row, *, split: bool, contexts: Contexts | None = None, reads: bool = False
) -> None:
    """The listener answers once, says what is wrong, and closes: before any deadline."""
    begun_s = trio.current_time()
    async with connection(serving(listener, reads=reads), contexts) as client:
        parts = pieces(row.bytes_for(listener), split=split)
        answer = await exchange(client, parts)
    assert answer.startswith(b"HTTP/1.1 %d " % (row.status_for(listener) or 0)), answer[:80]
    assert len(STATUS_LINE.findall(answer)) == 1
    assert b"connection: close" in answer.lower()
    assert trio.current_time() - begun_s < PROMPT_S


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """A client's and a server's, of one authority."""
    authority = Authority(Path(tmp_path_factory.mktemp("edge") / "ca"))
    leaf = authority.server("relay")
    server = server_context(str(leaf.cert_file), str(leaf.key_file))
    return client_context(str(authority.ca_file)), server


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("name", HEADS)
async def test_a_head_that_is_refused(
    name: str, listener: str, split: bool, autojump_clock
) -> None:
    row = HEADS[name]
    if row.status_for(listener) is not None:
        await check_refused(listener, row, split=split)


@pytest.mark.parametrize("listener", LISTENERS)
async def test_the_same_inside_tls(listener: str, contexts: Contexts, autojump_clock) -> None:
    for row in HEADS.values():
        if row.status_for(listener) is not None:
            await check_refused(listener, row, split=False, contexts=contexts)
            if len(row.data) < 100:
                await check_refused(listener, row, split=True, contexts=contexts)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("name", UPGRADES)
async def test_an_upgrade_that_is_refused(name: str, split: bool, autojump_clock) -> None:
    await check_refused("agent", UPGRADES[name], split=split)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("listener", READERS)
@pytest.mark.parametrize("name", CHUNKS)
async def test_a_chunk_that_is_refused(
    name: str, listener: str, split: bool, autojump_clock
) -> None:
    await check_refused(listener, CHUNKS[name], split=split, reads=True)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("listener", READERS)
@pytest.mark.parametrize("name", LEGAL)
async def test_what_is_legal_is_served(
    name: str, listener: str, split: bool, autojump_clock
) -> None:
    data, expected = LEGAL[name]
    sent = Row(data).bytes_for(listener)
    async with connection(serving(listener, reads=True)) as client:
        answers = await exchange(client, pieces(sent, split=split))
    assert bodies(answers, len(expected)) == expected


@pytest.mark.parametrize("listener", RELAY)
async def test_garbage_behind_a_served_request_is_refused(listener: str, autojump_clock) -> None:
    good = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    row = HEADS["cl and te"]
    async with connection(serving(listener)) as client:
        answer = await exchange(client, [good + row.bytes_for(listener)])
    assert len(STATUS_LINE.findall(answer)) == 2
    assert b"HTTP/1.1 400 " in answer


@pytest.mark.parametrize("listener", READERS)
async def test_an_expectation_is_met_before_the_body(listener: str, autojump_clock) -> None:
    head = b"{OK}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with connection(serving(listener, reads=True)) as client:
        await client.send_all(Row(head).bytes_for(listener))
        assert (await client.receive_some()).startswith(b"HTTP/1.1 100 ")
        await client.send_all(b"ab")
        answer = b""
        while not answer.endswith(b"ab"):
            answer += await client.receive_some()
        assert answer.startswith(b"HTTP/1.1 200 ")
