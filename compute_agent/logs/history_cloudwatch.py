"""Reads logs from CloudWatch Logs, laid out as Container Insights' Fluent Bit does.

Log group `/aws/containerinsights/{cluster}/application`, one stream for each container of a pod:
`{pod}_{namespace}_{container}-{pod uid}`. Events of one millisecond come in no order, and are only
found by time: rows are ordered by their number here, and a bookmark tells where to go on.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import boto3
import trio
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from compute_agent.attempts import Attempt
from compute_agent.logs.cri import NO_OFFSET, Record
from compute_agent.logs.history import At, HistoryDown, LogId, Row
from compute_agent.logs.settings import CloudWatchSettings, HistoryLimits
from tunnel.settings import SettingError

NS_PER_MS = 1_000_000
PAGE_EVENTS = 10_000  # the most that GetLogEvents returns
MAX_PAGES = 20  # of one call; a bookmark lets the next call go on
MAX_BOOKMARKS = 1_024
MAX_ATTEMPTS = 100  # looked for when the latest is asked for

T = TypeVar("T")


class _Event(NamedTuple):
    row: Row
    at_ns: int
    file_start: bool


class CloudWatchHistory:
    """The aggregator, as `History` describes it. boto3 works in threads.

    Args:
        settings: where.
        cluster: part of the log group's name.
        limits: bounds.

    Raises:
        SettingError: the secret's file can't be read.
    """

    def __init__(self, settings: CloudWatchSettings, cluster: str, limits: HistoryLimits) -> None:
        self._group = settings.log_group or f"/aws/containerinsights/{cluster}/application"
        self._limits = limits
        self._client = _client(settings, limits)
        self._threads = trio.CapacityLimiter(limits.max_queries)
        self._bookmarks: dict[LogId, tuple[At, str]] = {}

    async def find(self, attempt: Attempt, container: str, *, latest: bool) -> LogId | None:
        """See `History`."""
        return await self._run(lambda: self._find(attempt, container, latest=latest))

    async def page(self, log: LogId, start: At, hint_ns: int) -> list[Row]:
        """See `History`."""
        return await self._run(lambda: self._page(log, start, hint_ns))

    async def page_before(self, log: LogId, stop: At | None) -> list[Row]:
        """See `History`."""
        return await self._run(lambda: self._page_before(log, stop))

    async def first_since(self, log: LogId, since_ns: int) -> At | None:
        """See `History`."""

        def work() -> At | None:
            for page, _ in self._pages(log, startTime=since_ns // NS_PER_MS):
                found = [e.row.at for e in page if e.at_ns >= since_ns]
                if found:
                    return min(found)
            return None

        return await self._run(work)

    async def file_start(self, log: LogId, restart: int, stamp_ns: int) -> int | None:
        """See `History`."""

        def work() -> int | None:
            at_ms = stamp_ns // NS_PER_MS
            found = {
                e.row.record.sequence
                for page, _ in self._pages(log, startTime=at_ms, endTime=at_ms + 1)
                for e in page
                if e.file_start and e.at_ns == stamp_ns and e.row.restart == restart
            }
            return found.pop() if len(found) == 1 else None

        return await self._run(work)

    def _find(self, attempt: Attempt, container: str, *, latest: bool) -> LogId | None:
        if not latest:
            return self._stream_of(attempt, container)
        found = None
        for number in range(1, MAX_ATTEMPTS + 1):
            log = self._stream_of(attempt.numbered(number), container)
            if log is None:
                break
            found = log
        return found

    def _stream_of(self, attempt: Attempt, container: str) -> LogId | None:
        """Find an attempt's newest stream whose events are really of that attempt."""
        prefix = f"{attempt.pod}_{attempt.namespace}_{container}-"
        streams = sorted(self._streams(prefix), key=lambda s: s.get("creationTime", 0))
        for stream in reversed(streams):
            log = LogId(attempt, stream["logStreamName"].removeprefix(prefix), container)
            page, _ = next(self._pages(log), ([], ""))
            if page:
                return log
        return None

    def _streams(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield the streams whose names begin so, in the order of names: of age there is none."""
        arguments = {"logGroupName": self._group, "logStreamNamePrefix": prefix}
        for _ in range(MAX_PAGES):
            try:
                answer = self._client.describe_log_streams(**arguments)
            except self._client.exceptions.ResourceNotFoundException:
                return
            yield from answer["logStreams"]
            if not answer.get("nextToken"):
                return
            arguments["nextToken"] = answer["nextToken"]

    def _page(self, log: LogId, start: At, hint_ns: int) -> list[Row]:
        """Return the rows of some pages, in order; a bookmark spares the pages before."""
        at, token = self._bookmarks.get(log, (At(0, 0), ""))
        where: dict[str, Any] = {}
        if token and at <= start:
            where["nextToken"] = token
        elif hint_ns:
            where["startTime"] = hint_ns // NS_PER_MS
        rows: dict[At, Row] = {}
        for page, used in self._pages(log, **where):
            wanted = {e.row.at: e.row for e in page if e.row.at >= start}
            if page and not rows and used:
                self._mark(log, min(e.row.at for e in page), used)
            rows |= wanted
            if len(rows) >= self._limits.page_rows:
                break
        ordered = [rows[at] for at in sorted(rows)]
        return ordered[: self._limits.page_rows]

    def _page_before(self, log: LogId, stop: At | None) -> list[Row]:
        rows: dict[At, Row] = {}
        for page, _ in self._pages(log, startFromHead=False):
            rows |= {e.row.at: e.row for e in page if stop is None or e.row.at < stop}
            if len(rows) >= self._limits.page_rows:
                break
        return [rows[at] for at in sorted(rows)][-self._limits.page_rows :]

    def _mark(self, log: LogId, at: At, token: str) -> None:
        self._bookmarks.pop(log, None)
        self._bookmarks[log] = at, token
        while len(self._bookmarks) > MAX_BOOKMARKS:
            del self._bookmarks[next(iter(self._bookmarks))]

    def _pages(self, log: LogId, **where: Any) -> Iterator[tuple[list[_Event], str]]:
        """Yield pages of events that are of this log, each with the token that got it."""
        attempt = log.attempt
        stream = f"{attempt.pod}_{attempt.namespace}_{log.container}-{log.uid}"
        direction = "nextForwardToken" if where.get("startFromHead", True) else "nextBackwardToken"
        arguments = {"startFromHead": True, **where, "limit": PAGE_EVENTS}
        for _ in range(MAX_PAGES):
            try:
                answer = self._client.get_log_events(
                    logGroupName=self._group, logStreamName=stream, **arguments
                )
            except self._client.exceptions.ResourceNotFoundException:
                return
            yield _events(answer["events"], log), arguments.get("nextToken", "")
            if answer[direction] == arguments.get("nextToken"):
                return
            arguments["nextToken"] = answer[direction]

    async def _run(self, work: Callable[[], T]) -> T:
        """Work in a thread, which is abandoned when the caller is cancelled."""

        def guarded() -> T:
            try:
                return work()
            except (BotoCoreError, ClientError, KeyError, ValueError, TypeError):
                raise HistoryDown from None  # errors may quote what was asked

        return await trio.to_thread.run_sync(guarded, abandon_on_cancel=True, limiter=self._threads)


def _events(events: list[dict[str, Any]], log: LogId) -> list[_Event]:
    """Read events; those of another attempt, whose pod has the same name, are left out."""
    labels = log.attempt.labels()
    found = []
    for event in events:
        value = json.loads(event["message"])
        kubernetes = value["kubernetes"]
        if kubernetes["labels"] == labels and kubernetes["pod_id"] == log.uid:
            found.append(_event(value))
    return found


def _event(value: dict[str, Any]) -> _Event:
    marks, stream = value["planesplit"], value["stream"].encode()
    encoded, at_ns = marks.get("base64"), int(marks["time_ns"])
    content = b64decode(encoded) if encoded else value["log"].encode()
    final = marks.get("partial") != "true"
    shown_ns, sequence = at_ns if stream else 0, int(marks["sequence"])
    record = Record(NO_OFFSET, NO_OFFSET, stream, final, shown_ns, content, sequence)
    row = Row(int(marks["restart"]), record, marks.get("end") == "true")
    return _Event(row, at_ns, marks.get("file_start") == "true")


def _client(settings: CloudWatchSettings, limits: HistoryLimits) -> Any:
    secret = None
    if settings.secret_file:
        try:
            secret = Path(settings.secret_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise SettingError(
                "setting 'history.cloudwatch.secret_file' must name a file with the secret"
            ) from None
    return boto3.client(
        "logs",
        region_name=settings.region,
        endpoint_url=settings.endpoint_url or None,
        verify=settings.ca_file or None,
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=secret,
        config=Config(
            retries={"max_attempts": 1}, connect_timeout=5, read_timeout=limits.request_s
        ),
    )
