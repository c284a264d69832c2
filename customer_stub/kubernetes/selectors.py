"""Label and field selectors of list and watch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from customer_stub.kubernetes.status import bad_request

Json = dict[str, Any]
Selector = Callable[[Json], bool]

MAX_CHARS = 2048
_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*([-A-Za-z0-9_.]*)")
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s+\(([-A-Za-z0-9_., ]*)\)")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")
_FIELDS = ("metadata.name", "metadata.namespace")


def label_selector(text: str) -> Selector:
    """Parse `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

    Raises:
        ApiError: 400 for anything else.
    """
    requirements = [_requirement(part.strip()) for part in _parts(text)]
    return lambda obj: all(holds(obj["metadata"].get("labels", {})) for holds in requirements)


def field_selector(text: str) -> Selector:
    """Parse equalities of metadata.name and metadata.namespace.

    Raises:
        ApiError: 400 for anything else.
    """
    requirements = []
    for part in _parts(text):
        match = _EQUALITY.fullmatch(part.strip())
        if match is None or match[1] not in _FIELDS:
            raise bad_request("field selectors know metadata.name and metadata.namespace only")
        requirements.append((match[1].partition(".")[2], match[2] != "!=", match[3]))
    return lambda obj: all(
        (obj["metadata"].get(key) == value) is wanted for key, wanted, value in requirements
    )


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
