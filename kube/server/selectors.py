"""Label and field selectors of list and watch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kube.server.status import bad_request

Json = dict[str, Any]
Selector = Callable[[Json], bool]

MAX_CHARS = 2048
_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*([-A-Za-z0-9_.]*)")
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s+\(([-A-Za-z0-9_., ]*)\)")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")
_FIELDS = ("metadata.name", "metadata.namespace")
_FIELDS_OF = {
    "pods": ("status.phase", "spec.restartPolicy"),
    "secrets": ("type",),
    "events": (
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "reason",
        "type",
    ),
}


def label_selector(text: str) -> Selector:
    """Parse `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

    Raises:
        ApiError: 400 for anything else.
    """
    requirements = [_requirement(part.strip()) for part in _parts(text)]
    return lambda obj: all(holds(obj["metadata"].get("labels", {})) for holds in requirements)


def field_selector(text: str, resource: str = "") -> Selector:
    """Parse equalities of the fields that the resource can be selected by.

    Raises:
        ApiError: 400 for anything else.
    """
    known = (*_FIELDS, *_FIELDS_OF.get(resource, ()))
    requirements = []
    for part in _parts(text):
        match = _EQUALITY.fullmatch(part.strip())
        if match is None or match[1] not in known:
            raise bad_request(f"field selectors know {', '.join(known)} only")
        requirements.append((match[1].split("."), match[2] != "!=", match[3]))
    return lambda obj: all(
        (_field(obj, path) == value) is wanted for path, wanted, value in requirements
    )


def _field(obj: Json, path: list[str]) -> object:
    value: object = obj
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return "" if value is None else value


def _parts(text: str) -> list[str]:
    if len(text) > MAX_CHARS:
        raise bad_request(f"a selector has at most {MAX_CHARS} characters")
    return _COMMA.split(text) if text.strip() else []


def _requirement(text: str) -> Callable[[dict[str, str]], bool]:
    if match := _EQUALITY.fullmatch(text):
        key, equal, value = match[1], match[2] != "!=", match[3]
        return lambda labels: (labels.get(key) == value) is equal
    if match := _SET.fullmatch(text):
        key, inside = match[1], match[2] == "in"
        values = {value.strip() for value in match[3].split(",")}
        return lambda labels: (labels.get(key) in values) is inside
    if match := _EXISTS.fullmatch(text):
        key, exists = match[2], not match[1]
        return lambda labels: (key in labels) is exists
    raise bad_request("unable to parse the label selector")
