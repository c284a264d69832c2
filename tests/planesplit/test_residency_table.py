"""The table of rows and hops: what is added up, and what is not as claimed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.commands.residency import in_units
from planesplit.ready import ClusterAccess, Flyte, Place, Ready, Urls
from planesplit.residency import SIGNED_ROW, Counted, CountersAway, count, samples
from tunnel.rows import APPENDIX_A

RELAY = """# TYPE relay_row_bytes_total counter
relay_row_bytes_total{row="A8",direction="down"} 1000
relay_row_bytes_total{row="A8",direction="up"} 24
relay_row_bytes_total{row="B",direction="down"} 7
relay_bytes_total{direction="down"} 9999
"""
CONTROL = 'control_row_bytes_total{row="A1",direction="up"} 5\n'
DIRECT = {"direct": {"A4": {"up": 3, "down": 4}, "A7": {"up": 0, "down": 50}}}


def ready(tmp_path: Any) -> Ready:
    token = tmp_path / "token"
    token.write_text("t\n")
    clusters = (
        ClusterAccess(
            "c1", kubernetes="http://k1", data="http://d1", kubernetes_token_file=str(token)
        ),
        ClusterAccess("c2", kubernetes="http://k2", kubernetes_token_file=str(token)),
    )
    return Ready(
        1,
        1,
        "",
        True,
        Place("o", "p", "d", "c1"),
        Urls("http://control", "http://relay", "http://ops"),
        Flyte("", {}),
        {},
        clusters=clusters,
    )


def answers(request: httpx.Request) -> httpx.Response:
    match request.url.host:
        case "ops":
            return httpx.Response(200, text=RELAY)
        case "control":
            return httpx.Response(200, text=CONTROL)
        case "k1" | "k2" if request.headers.get("authorization") != "Bearer t":
            return httpx.Response(401)
        case _:
            return httpx.Response(200, json=DIRECT)


async def test_every_hop_is_added_up(tmp_path: Any) -> None:
    mounts: Any = {"all://": httpx.MockTransport(answers)}
    rows = {row.row.id: row for row in await count(ready(tmp_path), mounts)}
    assert [*rows] == [*APPENDIX_A, "B"]
    assert (rows["A8"].relay, rows["A8"].control, rows["A8"].direct) == (1024, 0, 0)
    assert (rows["A1"].relay, rows["A1"].control) == (0, 5)
    assert rows["A4"].direct == 3 * 7  # two clusters, and the data endpoint of one
    assert rows["B"].relay == 7
    assert all(row.as_claimed for row in rows.values())


@pytest.mark.parametrize("host", ["ops", "control", "k1", "d1"])
async def test_a_hop_that_does_not_answer_is_named(tmp_path: Any, host: str) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503) if request.url.host == host else answers(request)

    names = {"ops": "relay", "control": "control plane"}
    with pytest.raises(CountersAway, match=names.get(host, "cluster c1")):
        await count(ready(tmp_path), {"all://": httpx.MockTransport(broken)})


@pytest.mark.parametrize("row", [*APPENDIX_A.values(), SIGNED_ROW], ids=lambda row: row.id)
def test_what_is_not_as_claimed(row: Any) -> None:
    assert Counted(row, 0, 0, 10).as_claimed
    assert Counted(row, 1, 0, 0).as_claimed == (row.transits != "no")
    assert Counted(row, 0, 1, 0).as_claimed == (row.transits in {"yes", "metadata"})


@given(st.integers(0, 2**63))
def test_units_are_short_and_only_nothing_is_zero(amount: int) -> None:
    text = in_units(amount)
    assert (text == "0") == (amount == 0)
    assert len(text) <= 12


def test_other_counters_are_not_read() -> None:
    assert samples(RELAY) == [("A8", 1000), ("A8", 24), ("B", 7)]
