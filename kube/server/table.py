"""Other forms of objects (meta.k8s.io/v1): the tables that kubectl prints, and metadata alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

Json = dict[str, Any]
Column = tuple[str, Callable[[Json], object]]

META_VERSION = "meta.k8s.io/v1"
UNKNOWN = "<unknown>"  # kubectl's
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def as_table(resource: str, answer: Any) -> Any:
    """Return an object or a list as a Table; anything else unchanged."""
    columns = _COLUMNS.get(resource, _ANY)
    if not isinstance(answer, dict) or answer.get("kind") == "Status":
        return answer
    listed = _is_list(answer)
    objects = answer["items"] if listed else [answer]
    head = [{"name": name, "type": "string", "format": "", "priority": 0} for name, _ in columns]
    head[0]["format"] = "name"
    return {
        "kind": "Table",
        "apiVersion": META_VERSION,
        "metadata": answer["metadata"] if listed else {},
        "columnDefinitions": head,
        "rows": [_row(obj, columns) for obj in objects],
    }


def as_metadata(answer: Any) -> Any:
    """Return an object or a list without anything but metadata; a Status unchanged."""
    if answer.get("kind") == "Status":
        return answer
    if not _is_list(answer):
        return _partial(answer)
    kind = {"kind": "PartialObjectMetadataList", "apiVersion": META_VERSION}
    items = [_partial(obj) for obj in answer["items"]]
    return {**kind, "metadata": answer["metadata"], "items": items}


def _is_list(answer: Json) -> bool:
    """Whether it is a list; objects too may have a field of that name."""
    return str(answer.get("kind")).endswith("List")


def _partial(obj: Json) -> Json:
    kind = {"kind": "PartialObjectMetadata", "apiVersion": META_VERSION}
    return {**kind, "metadata": obj["metadata"]}


def _row(obj: Json, columns: tuple[Column, ...]) -> Json:
    return {"cells": [_cell(cell, obj) for _, cell in columns], "object": _partial(obj)}


def _cell(read: Callable[[Json], object], obj: Json) -> object:
    """What a column shows; objects are kept as they come, and may lack what it reads."""
    try:
        return read(obj)
    except (KeyError, TypeError, ValueError, AttributeError):
        return UNKNOWN


def _age(stamp: str) -> str:
    left = max(0, int(time.time() - datetime.fromisoformat(stamp).timestamp()))
    for unit, size in _UNITS:
        if left >= 2 * size or unit == "s":
            return f"{left // size}{unit}"
    return ""


def _created(obj: Json) -> str:
    return _age(obj["metadata"]["creationTimestamp"])


def _name(obj: Json) -> str:
    return str(obj["metadata"]["name"])


def _ready(pod: Json) -> str:
    statuses = pod["status"].get("containerStatuses", [])
    return f"{sum(s['ready'] for s in statuses)}/{len(pod['spec']['containers'])}"


def _state(pod: Json) -> str:
    """What kubectl shows as STATUS: why a container waits or ended, else the phase."""
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    for status in pod["status"].get("containerStatuses", []):
        for state in ("waiting", "terminated"):
            if reason := status["state"].get(state, {}).get("reason"):
                return str(reason)
    return str(pod["status"]["phase"])


def _restarts(pod: Json) -> str:
    return str(sum(s["restartCount"] for s in pod["status"].get("containerStatuses", [])))


def _object(event: Json) -> str:
    about = event["involvedObject"]
    return f"{about['kind'].lower()}/{about['name']}"


_ANY: tuple[Column, ...] = (("Name", _name), ("Age", _created))
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        ("Name", _name),
        ("Ready", _ready),
        ("Status", _state),
        ("Restarts", _restarts),
        ("Age", _created),
    ),
    "secrets": (
        ("Name", _name),
        ("Type", lambda obj: obj["type"]),
        ("Data", lambda obj: len(obj["data"])),
        ("Age", _created),
    ),
    "events": (
        ("Last Seen", lambda obj: _age(obj["lastTimestamp"])),
        ("Type", lambda obj: obj["type"]),
        ("Reason", lambda obj: obj["reason"]),
        ("Object", _object),
        ("Message", lambda obj: obj["message"]),
    ),
    "namespaces": (
        ("Name", _name),
        ("Status", lambda obj: obj["status"]["phase"]),
        ("Age", _created),
    ),
    "nodes": (
        ("Name", _name),
        ("Status", lambda _: "Ready"),
        ("Age", _created),
        ("Version", lambda obj: obj["status"]["nodeInfo"]["kubeletVersion"]),
    ),
}
