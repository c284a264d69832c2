"""Patches: JSON (RFC 6902), merge (RFC 7386), and Kubernetes' strategic merge."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from kube.server.status import ApiError, bad_request, unsupported_patch

MAX_OPERATIONS = 10_000  # Kubernetes' limit of one JSON patch
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

Json = dict[str, Any]


def patched(media_type: str, patch: Any, obj: Json) -> Any:
    """Return what a patch of this media type makes of an object, which may be changed.

    Raises:
        ApiError: 400, 415 (server-side apply, and what is no patch), 422.
    """
    apply = _PATCHES.get(media_type)
    if apply is None:
        raise unsupported_patch(tuple(_PATCHES))
    return apply(obj, patch)


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
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue  # the order of lists, and which keys to retain
        if value is None:
            merged.pop(key, None)
        elif key in _MERGE_KEYS and isinstance(value, list):
            merged[key] = _lists(merged.get(key) or [], value, _MERGE_KEYS[key])
        else:
            merged[key] = _strategic(merged.get(key), value)
    return merged


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
    for step in patch:
        try:
            _OPERATIONS[step["op"]](root, step)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ApiError(422, "Invalid", "the server rejected our request", {}) from None
    return root[""]


def _parent(root: Json, pointer: str) -> tuple[Any, str]:
    *parts, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    if not parts:
        return root, last
    node: Any = root[""]
    for part in parts[1:]:
        node = node[int(part) if isinstance(node, list) else part]
    return node, last


def _at(root: Json, pointer: str) -> Any:
    node, last = _parent(root, pointer)
    return node[int(last) if isinstance(node, list) else last]


def _add(root: Json, step: Json) -> None:
    node, last = _parent(root, step["path"])
    if isinstance(node, list):
        node.insert(len(node) if last == "-" else int(last), step["value"])
    else:
        node[last] = step["value"]


def _remove(root: Json, step: Json) -> None:
    node, last = _parent(root, step["path"])
    del node[int(last) if isinstance(node, list) else last]


def _replace(root: Json, step: Json) -> None:
    _at(root, step["path"])
    node, last = _parent(root, step["path"])
    node[int(last) if isinstance(node, list) else last] = step["value"]


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
