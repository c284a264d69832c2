"""Request bodies in Kubernetes' protobuf encoding, which kubectl's typed commands use.

An object is the magic `k8s\\0` and a `runtime.Unknown` around it. Only what this API takes in is
known here: what kubectl makes without a file, reviews and DeleteOptions. The numbers are those of
k8s.io/api and k8s.io/apimachinery `generated.proto`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"

Json = dict[str, Any]
Value = int | bytes
Reader = Callable[[Value], Any]
Fields = dict[int, tuple[str, Reader]]

_FIXED64 = 1
_MAX_SHIFT = 63


def decode(body: bytes) -> Json:
    """Return the object in a body, as JSON would have it.

    Raises:
        ValueError: it is none, or of a kind that is not known here. Holds no content.
    """
    if not body.startswith(MAGIC):
        raise ValueError("not Kubernetes' protobuf")
    unknown = dict(_fields(body[len(MAGIC) :]))
    meta = _object(_bytes(unknown.get(1, b"")), _TYPE_META)
    kind = meta.get("kind", "")
    if kind not in _KINDS:
        raise ValueError("a kind that is not known")
    return {**meta, **_object(_bytes(unknown.get(2, b"")), _KINDS[kind])}


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
                yield key >> 3, value
            case 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise ValueError("cut short")
                yield key >> 3, data[at : at + size]
                at += size
            case 1 | 5 as wire:
                at += 8 if wire == _FIXED64 else 4
            case _:
                raise ValueError("a wire type that is not known")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift <= _MAX_SHIFT:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where there are bytes")  # noqa: TRY004 - of a peer's body
    return value


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where there is a number")  # noqa: TRY004 - of a peer's body
    return value


def _text(value: Value) -> str:
    return _bytes(value).decode(errors="replace")


def _binary(value: Value) -> str:
    return base64.b64encode(_bytes(value)).decode()


def _object(data: bytes, fields: Fields) -> Json:
    """Read a message; maps are collected, fields that are empty are left out as JSON does."""
    found: Json = {}
    for number, value in _fields(data):
        if number in fields:
            name, read = fields[number]
            item = read(value)
            if isinstance(item, tuple):
                found.setdefault(name, {})[item[0]] = item[1]
            elif item not in ("", {}):
                found[name] = item
    return found


def _message(fields: Fields) -> Reader:
    return lambda value: _object(_bytes(value), fields)


def _entry(read: Reader) -> Reader:
    def entry(value: Value) -> tuple[str, Any]:
        parts = dict(_fields(_bytes(value)))
        return _text(parts.get(1, b"")), read(parts.get(2, b""))

    return entry


_TYPE_META: Fields = {1: ("apiVersion", _text), 2: ("kind", _text)}
_OBJECT_META: Fields = {
    1: ("name", _text),
    2: ("generateName", _text),
    3: ("namespace", _text),
    6: ("resourceVersion", _text),
    11: ("labels", _entry(_text)),
    12: ("annotations", _entry(_text)),
}
_ATTRIBUTES: Fields = {
    1: ("namespace", _text),
    2: ("verb", _text),
    3: ("group", _text),
    5: ("resource", _text),
    6: ("subresource", _text),
    7: ("name", _text),
}
_URL_ATTRIBUTES: Fields = {1: ("path", _text), 2: ("verb", _text)}
_META = ("metadata", _message(_OBJECT_META))
_KINDS: dict[str, Fields] = {
    "Secret": {
        1: _META,
        2: ("data", _entry(_binary)),
        3: ("type", _text),
        4: ("stringData", _entry(_text)),
        5: ("immutable", lambda value: bool(_number(value))),
    },
    "ConfigMap": {1: _META, 2: ("data", _entry(_text)), 3: ("binaryData", _entry(_binary))},
    "Namespace": {1: _META},
    "ServiceAccount": {1: _META},
    "SelfSubjectAccessReview": {
        1: _META,
        2: (
            "spec",
            _message(
                {
                    1: ("resourceAttributes", _message(_ATTRIBUTES)),
                    2: ("nonResourceAttributes", _message(_URL_ATTRIBUTES)),
                }
            ),
        ),
    },
    "SelfSubjectRulesReview": {1: _META, 2: ("spec", _message({1: ("namespace", _text)}))},
    "SelfSubjectReview": {1: _META},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", _number),
        2: ("preconditions", _message({1: ("uid", _text), 2: ("resourceVersion", _text)})),
        5: ("dryRun", _text),
    },
}
