"""CloudWatch Logs as the log aggregator, laid out as Container Insights' Fluent Bit does.

Log group `/aws/containerinsights/{cluster}/application`, one stream for each container of a pod:
`{pod}_{namespace}_{container}-{pod uid}`. An event is a JSON object with `log`, `stream`,
`kubernetes` and, in `planesplit`, the record's number: events of one millisecond have no order.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from customer_stub.collector.follower import LogSource
from customer_stub.collector.records import Entry
from customer_stub.collector.settings import CloudWatchTarget
from customer_stub.collector.sink import Collected, SinkFailed, log_attributes
from tunnel.settings import SettingError

# PutLogEvents' limits (AWS' API reference)
BATCH_EVENTS = 10_000
BATCH_BYTES = 1_048_576
EVENT_BYTES = 262_144  # a larger event is left out: a reader then tells one record as missing
EVENT_OVERHEAD_BYTES = 26
NS_PER_MS = 1_000_000
PREFIX = "planesplit."

Event = tuple[int, str]


class CloudWatchSink:
    """Puts rows as log events; boto3 works in a thread.

    Args:
        target: where.
        cluster: part of the log group's name.

    Raises:
        SettingError: the secret's file can't be read.
    """

    def __init__(self, target: CloudWatchTarget, cluster: str) -> None:
        self._group = target.log_group or f"/aws/containerinsights/{cluster}/application"
        self._client = _client(target)
        self._made: set[str] = set()
        self._thread = trio.CapacityLimiter(1)

    async def insert(self, rows: list[Collected]) -> None:
        """See `Sink`."""
        events: dict[str, list[Event]] = {}
        for source, entry in rows:
            text = event_text(source, entry)
            if len(text.encode()) <= EVENT_BYTES - EVENT_OVERHEAD_BYTES:
                at_ms = entry.at_ns // NS_PER_MS
                events.setdefault(stream_name(source.resource), []).append((at_ms, text))
        await trio.to_thread.run_sync(
            self._put_all, events, abandon_on_cancel=True, limiter=self._thread
        )

    async def aclose(self) -> None:
        """See `Sink`; a thread that is still putting is abandoned."""

    def _put_all(self, events: dict[str, list[Event]]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            for stream, found in events.items():
                for batch in _batches(sorted(found, key=lambda event: event[0])):
                    self._put(stream, batch)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            code = error.response.get("Error", {}).get("Code", "")
            retryable = status >= 500 or "Throttl" in code or code == "ResourceNotFoundException"
            self._made.clear()
            raise SinkFailed(retryable=retryable) from None
        except BotoCoreError:
            raise SinkFailed(retryable=True) from None

    def _put(self, stream: str, batch: list[Event]) -> None:
        self._make(stream)
        answer = self._client.put_log_events(
            logGroupName=self._group,
            logStreamName=stream,
            logEvents=[{"timestamp": at_ms, "message": text} for at_ms, text in batch],
        )
        if answer.get("rejectedLogEventsInfo"):  # too old, or in the future
            raise SinkFailed(retryable=False)

    def _make(self, stream: str) -> None:
        """Make the group and the stream if they don't exist."""
        if stream in self._made:
            return
        exists = self._client.exceptions.ResourceAlreadyExistsException
        with contextlib.suppress(exists):
            self._client.create_log_group(logGroupName=self._group)
        with contextlib.suppress(exists):
            self._client.create_log_stream(logGroupName=self._group, logStreamName=stream)
        self._made.add(stream)


def stream_name(resource: dict[str, str]) -> str:
    """Return the log stream of a container."""
    pod, namespace = resource["k8s.pod.name"], resource["k8s.namespace.name"]
    return f"{pod}_{namespace}_{resource['k8s.container.name']}-{resource['k8s.pod.uid']}"


def event_text(source: LogSource, entry: Entry) -> str:
    """Return the message of one log event."""
    resource = source.resource
    body, attributes = log_attributes(source.restart, entry)
    labels = {k.removeprefix(PREFIX): v for k, v in resource.items() if k.startswith(PREFIX)}
    marks = {k.removeprefix(PREFIX): v for k, v in attributes.items() if k.startswith(PREFIX)}
    event: dict[str, Any] = {
        "log": body,
        "stream": entry.stream,
        "kubernetes": {
            "pod_name": resource["k8s.pod.name"],
            "pod_id": resource["k8s.pod.uid"],
            "namespace_name": resource["k8s.namespace.name"],
            "container_name": resource["k8s.container.name"],
            "host": resource["k8s.node.name"],
            "labels": {f"planesplit/{name}": value for name, value in labels.items()},
        },
        "planesplit": {**marks, "time_ns": str(entry.at_ns)},
    }
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def _batches(events: list[Event]) -> Iterator[list[Event]]:
    batch: list[Event] = []
    size = 0
    for event in events:
        event_bytes = len(event[1].encode()) + EVENT_OVERHEAD_BYTES
        if batch and (len(batch) >= BATCH_EVENTS or size + event_bytes > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += event_bytes
    if batch:
        yield batch


def _client(target: CloudWatchTarget) -> Any:
    import boto3  # 0.3 s: only collectors with this sink need it
    from botocore.config import Config

    secret = None
    if target.secret_file:
        try:
            secret = Path(target.secret_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise SettingError(
                f"setting 'collector.cloudwatch.secret_file': cannot read '{target.secret_file}'"
            ) from None
    return boto3.client(
        "logs",
        region_name=target.region,
        endpoint_url=target.endpoint_url or None,
        verify=target.ca_file or None,
        aws_access_key_id=target.access_key or None,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=10),
    )
