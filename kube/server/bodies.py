"""JSON that somebody else wrote, within what can be stored, copied and written again."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 100  # of objects in objects: a CustomResourceDefinition's schema has some 30
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(body: bytes | str) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: it is none (RFC 8259), holds half a character, a number that is not finite, or
            is too deep. Holds no content.
    """
    text = body if isinstance(body, str) else body.decode()
    try:
        value = json.loads(text, parse_constant=_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("too deep") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise ValueError("too deep")
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def depth(value: Any) -> int:
    """Return how many containers are in each other, `MAX_DEPTH` + 1 for any number beyond."""
    level, deep = [value], 0
    while deep <= MAX_DEPTH and (held := [one for one in level if isinstance(one, (dict, list))]):
        level = [x for one in held for x in (one.values() if isinstance(one, dict) else one)]
        deep += 1
    return deep


def _constant(_text: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number that is not finite")
    return value
