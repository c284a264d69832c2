"""Patches: JSON (RFC 6902), merge (RFC 7386), and Kubernetes' strategic merge."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from kube.server.bodies import MAX_DEPTH, depth
from kube.server.status import ApiError, bad_request, too_large, unsupported_patch

MAX_OPERATIONS = 10_000  # Kubernetes' limit of one JSON patch
MAX_PATCHED_BYTES = 3_145_728  # Kubernetes': of a request, and of all that one JSON patch copies
# Lists that a strategic merge merges by a key (patchMergeKey of k8s.io/api); others are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "secrets": "name",
    "webhooks": "name",
}

_DIRECTIVES = ("$patch", "$retainKeys", "$setElementOrder")  # order is not kept here

Json = dict[str, Any]


def patched(media_type: str, patch: Any, obj: Json) -> Any:
    """Return what a patch of this media type makes of an object, which may be changed.

    Raises:
        ApiError: 400, 413 (of the outcome), 415 (server-side apply, and what is no patch), 422.
    """
    apply = _PATCHES.get(media_type)
    if apply is None:
        raise unsupported_patch(tuple(_PATCHES))
    found = apply(obj, patch)
    if depth(found) > MAX_DEPTH:
        raise bad_request("the patched object is too deep")
    if _size(found) > MAX_PATCHED_BYTES:
        raise too_large(MAX_PATCHED_BYTES)
    return found


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))


def _merge(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _strategic(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    _check_directives(patch)
    directive, retained = patch.get("$patch"), patch.get("$retainKeys")
    if directive == "delete":
        return {}
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged = dict(old) if isinstance(old, dict) else {}
    if retained is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        elif key in _MERGE_KEYS and isinstance(value, list):
            there = merged.get(key)
            there = there if isinstance(there, list) else []
            merged[key] = _lists(there, value, _MERGE_KEYS[key])
        else:
            merged[key] = _strategic(merged.get(key), value)
    return merged


def _check_directives(patch: Json) -> None:
    """Refuse what would otherwise be left out of the patch without a word."""
    known = all(key.partition("/")[0] in _DIRECTIVES for key in patch if key.startswith("$"))
    directive, retained = patch.get("$patch", "merge"), patch.get("$retainKeys", [])
    if not known or directive not in ("merge", "replace", "delete") or type(retained) is not list:
        raise bad_request("the patch has a directive that is not known here")


def _lists(old: list[Any], patch: list[Any], key: str) -> list[Any]:
    items = {_keyed(item, key): item for item in old}
    for item in patch:
        name = _keyed(item, key)
        if item.get("$patch") == "delete":
            items.pop(name, None)
        else:
            items[name] = _strategic(items.get(name), item)
    return list(items.values())


def _keyed(item: Any, key: str) -> Any:
    name = item.get(key) if isinstance(item, dict) else None
    if not isinstance(name, (str, int)):
        raise bad_request(f"an item of a patched list has no {key}")
    return name


def _json(obj: Json, patch: Any) -> Any:
    if not isinstance(patch, list) or len(patch) > MAX_OPERATIONS:
        raise bad_request("a JSON patch is a list of operations")
    root: Json = {"": obj}
    room = MAX_PATCHED_BYTES
    for step in patch:
        try:
            if step["op"] == "copy" and (room := room - _size(_at(root, step["from"]))) < 0:
                raise too_large(MAX_PATCHED_BYTES)
            _OPERATIONS[step["op"]](root, step)
            root[""]  # not removed
        except _MISFITS:
            raise ApiError(422, "Invalid", "the server rejected our request", {}) from None
    return root[""]


def _parent(root: Json, pointer: str) -> tuple[Any, str]:
    *parts, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    if not parts:
        return root, last
    node: Any = root[""]
    for part in parts[1:]:
        node = node[_index(part, len(node)) if isinstance(node, list) else part]
    return node, last


def _index(text: str, end: int) -> int:
    """Return a position in a list (RFC 6901, 4): digits, before `end`."""
    if not text.isascii() or not text.isdigit() or (at := int(text)) >= end:
        raise ValueError
    return at


def _at(root: Json, pointer: str) -> Any:
    node, last = _parent(root, pointer)
    return node[_index(last, len(node)) if isinstance(node, list) else last]


def _add(root: Json, step: Json) -> None:
    node, last = _parent(root, step["path"])
    if isinstance(node, list):
        node.insert(len(node) if last == "-" else _index(last, len(node) + 1), step["value"])
    else:
        node[last] = step["value"]


def _remove(root: Json, step: Json) -> None:
    node, last = _parent(root, step["path"])
    del node[_index(last, len(node)) if isinstance(node, list) else last]


def _replace(root: Json, step: Json) -> None:
    _at(root, step["path"])
    node, last = _parent(root, step["path"])
    node[_index(last, len(node)) if isinstance(node, list) else last] = step["value"]


def _copy(root: Json, step: Json) -> None:
    value = copy.deepcopy(_at(root, step["from"]))
    _add(root, {"path": step["path"], "value": value})


def _move(root: Json, step: Json) -> None:
    value = _at(root, step["from"])
    _remove(root, {"path": step["from"]})
    _add(root, {"path": step["path"], "value": value})


def _test(root: Json, step: Json) -> None:
    if _at(root, step["path"]) != step["value"]:
        raise ValueError


_MISFITS = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)
_OPERATIONS: Mapping[str, Callable[[Json, Json], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "copy": _copy,
    "move": _move,
    "test": _test,
}
_PATCHES: Mapping[str, Callable[[Json, Any], Any]] = {
    "application/json-patch+json": _json,
    "application/merge-patch+json": _merge,
    "application/strategic-merge-patch+json": _strategic,
}
