"""What the Kubernetes API's stand-in reads from callers: bodies, patches, protobuf."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from kube.server import protobuf
from kube.server.authorization import Authorization
from kube.server.bodies import MAX_DEPTH, depth, parsed
from kube.server.cluster import ClusterObjects
from kube.server.patches import patched
from kube.server.shapes import check_shape
from kube.server.status import ApiError
from kube.server.table import as_metadata, as_table
from kube.server.tokens import User
from kube.settings import ApiSettings

RBAC, HOOKS = "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1"
CREATED = "2026-01-01T00:00:00Z"
CALLER = User("ann")
CLUSTER = ClusterObjects(ApiSettings(), first_version=1)
AUTHORIZATION = Authorization("compute", CLUSTER.store)


def _json(kind: str, version: str = "v1", **fields: Any) -> bytes:
    metadata = {"name": "a", "labels": {"b": "c"}}
    return json.dumps(
        {"kind": kind, "apiVersion": version, "metadata": metadata, **fields}
    ).encode()


RULE = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}
HOOK_RULE = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
HOOK = {"name": "w", "rules": [HOOK_RULE], "clientConfig": {"url": "http://w/"}}
POD = {"containers": [{"name": "m", "image": "i", "env": [{"name": "A", "value": "b"}]}]}
BODIES = (
    _json("ConfigMap", data={"a": "b"}),
    _json("Secret", data={"a": "YQ=="}, stringData={"b": "c"}, immutable=True),
    _json("Pod", spec=POD),
    _json("Event", involvedObject={"kind": "Pod", "name": "a"}, lastTimestamp=CREATED),
    _json("ResourceQuota", spec={"hard": {"pods": "5"}}),
    _json("Role", RBAC, rules=[RULE]),
    _json("RoleBinding", RBAC, roleRef={"kind": "Role", "name": "a"}, subjects=[{"name": "b"}]),
    _json("MutatingWebhookConfiguration", HOOKS, webhooks=[HOOK]),
)
PATCHES = (
    b'[{"op":"add","path":"/data/x","value":{"y":[1,2]}},{"op":"remove","path":"/list/0"}]',
    b'[{"op":"copy","from":"/data","path":"/data/x"},{"op":"test","path":"/list/1","value":2}]',
    b'[{"op":"move","from":"/list","path":"/data/l"},{"op":"replace","path":"","value":{}}]',
    b'{"data":{"a":null,"$patch":"replace"},"list":[1],"secrets":[{"name":"a","$patch":"delete"}]}',
    b'{"data":{"$retainKeys":["a"]},"metadata":{"labels":{"a":"b"}}}',
)
JSON_WORDS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"true", b"0", b"-1", b"1e999", b"NaN",
    b'"\\ud800"', b"\\u0000", b"\xff", b'{"a":1}', b'[""]', b"[[[[", b'"name":', b'"metadata":',
    b'"rules":', b'"webhooks":', b'"spec":', b'"/-"', b'"/list/-1"', b'"$patch":', b"[" * 200,
)  # fmt: skip
OBJECT = {"kind": "ConfigMap", "data": {"a": "b"}, "list": [1, 2], "secrets": [{"name": "a"}]}
MEDIA_TYPES = ("json-patch", "merge-patch", "strategic-merge-patch")


def _writable(value: Any) -> Any:
    """A value that can be stored, sent and read again as it is."""
    assert depth(value) <= MAX_DEPTH
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    json.dumps(value, ensure_ascii=False).encode()
    return copy.deepcopy(value)


def _outcome(error: ApiError) -> int:
    assert 400 <= error.code < 500, "no caller's body is a failure of ours"
    json.dumps(error.status()).encode()
    return error.code


def bodies(pieces: Sequence[bytes]) -> Any:
    """An object that is to be created."""
    try:
        body = _writable(parsed(b"".join(pieces)))
    except ValueError:
        return "none"
    named = body.get("kind") if isinstance(body, dict) else None
    verdicts = []
    for key, objects in CLUSTER.kinds.items():
        if objects.kind.kind != named and key != "configmaps":
            continue
        try:
            obj = objects.admit(objects.named(body), "default" if objects.kind.namespaced else "")
            check_shape(key, obj)
            if key.endswith(RBAC.partition("/")[0]):
                AUTHORIZATION.check_escalation(CALLER, key, obj)
            obj["metadata"] |= {"creationTimestamp": CREATED, "uid": "u"}
            json.dumps([as_table(key, obj), as_metadata(obj)])
            verdicts.append("whole")
        except ApiError as error:
            verdicts.append(str(_outcome(error)))
    return verdicts


def patches(pieces: Sequence[bytes]) -> Any:
    """A patch of each kind."""
    try:
        patch = parsed(b"".join(pieces))
    except ValueError:
        return "none"
    verdicts = []
    for name in MEDIA_TYPES:
        try:
            found = patched(f"application/{name}+json", patch, copy.deepcopy(OBJECT))
            verdicts.append(_writable(found))
        except ApiError as error:
            verdicts.append(_outcome(error))
    return verdicts


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def _protobuf(kind: bytes, raw: bytes) -> bytes:
    meta = _field(1, b"v1") + _field(2, kind)
    return protobuf.MAGIC + _field(1, meta) + _field(2, raw)


NAME = _field(1, _field(1, b"a") + _field(11, _field(1, b"k") + _field(2, b"v")))
MESSAGES = (
    _protobuf(b"Secret", NAME + _field(2, _field(1, b"k") + _field(2, b"v")) + b"\x28\x01"),
    _protobuf(b"ConfigMap", NAME + _field(2, _field(1, b"k") + _field(2, b"v"))),
    _protobuf(b"DeleteOptions", b"\x08\x05" + _field(2, _field(1, b"u")) + _field(5, b"All")),
)
MESSAGE_WORDS = (b"\x0a", b"\x12", b"\x08\xff", b"\xff" * 11, b"\x5a\x02", b"\x29", b"k8s\0", b"")


def messages(pieces: Sequence[bytes]) -> Any:
    """An object in Kubernetes' protobuf."""
    try:
        return _writable(protobuf.decode(b"".join(pieces)))
    except ValueError:
        return "none"
