"""What the log aggregator has may be malformed: who asks is told that it cannot be had."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fakes import ATTEMPT

from compute_agent.logs.history import At, HistoryDown, LogId
from compute_agent.logs.history_clickhouse import ClickHouseHistory
from compute_agent.logs.settings import HistoryLimits

LOG = LogId(ATTEMPT, "uid", "main")
ROW = {
    "restart": 0, "sequence": 1, "at_ns": 5, "body": "SECRET", "stream": "stdout",
    "partial": "", "base64": "", "last": "",
}  # fmt: skip


class Answering:
    """A ClickHouse that answers every query with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def client(self) -> Answering:
        return self

    def forget(self) -> None:
        """Nothing is kept."""

    @contextmanager
    def raw_stream(self, *_: Any, **__: Any) -> Iterator[io.BytesIO]:
        yield io.BytesIO(self._answer)


def history(*rows: Any) -> ClickHouseHistory:
    answer = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return ClickHouseHistory(Answering(answer), HistoryLimits())  # type: ignore[arg-type]


async def test_a_good_row_is_read() -> None:
    [row] = await history(ROW).page(LOG, At(0, 1), 0)
    assert (row.at, row.record.content) == (At(0, 1), b"SECRET")


@pytest.mark.parametrize(
    "change",
    [{"base64": "A"}, {"sequence": "x"}, {"body": None}, {"at_ns": None}, {"body": "\ud800"}],
    ids=["base64", "sequence", "body", "time", "surrogate"],
)
async def test_a_malformed_row_is_no_fault_of_ours(change: dict[str, Any]) -> None:
    bad = history(ROW, {**ROW, **change})
    for asking in (bad.page(LOG, At(0, 1), 0), bad.page_before(LOG, None)):
        with pytest.raises(HistoryDown) as caught:
            await asking
        assert "SECRET" not in repr(caught.value)


@pytest.mark.parametrize("row", [[], 1, {"restart": 0}], ids=["list", "number", "short"])
async def test_what_is_no_row_at_all(row: Any) -> None:
    bad = history(row)
    for asking in (
        bad.page(LOG, At(0, 1), 0),
        bad.page_before(LOG, None),
        bad.first_since(LOG, 1),
        bad.file_start(LOG, 0, 1),
        bad.find(ATTEMPT, "main", latest=True),
    ):
        with pytest.raises(HistoryDown):
            await asking
