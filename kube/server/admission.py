"""What a pod may ask of this stand-in; anything else is refused by name, never ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kube.server.kinds import PODS, Kind
from kube.server.status import ApiError, bad_request, invalid
from kube.server.values import quantity

Json = dict[str, Any]

# Directory names are {namespace}_{pod}_{uid}; 63 + 150 + 36 + 2 fit the 255 bytes of a file name.
MAX_NAME_CHARS = 150
MAX_ANNOTATIONS_BYTES = 262_144  # Kubernetes' TotalAnnotationSizeLimitB
MAX_GRACE_S = 3600

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_ENV_NAME = re.compile(r"[\x21-\x3c\x3e-\x7e]+")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
_TEXT = re.compile(r"[^\0]*")

Cause = tuple[str, str, str]


def admit_pod(body: Any, namespace: str) -> Json:
    """Return a new pod made of the allowed fields of a request's body.

    Raises:
        ApiError: it is no v1 Pod (400), or fields are invalid or not supported (422).
    """
    if not isinstance(body, dict) or body.get("kind") != "Pod" or body.get("apiVersion") != "v1":
        raise bad_request("the body is not a v1 Pod")
    meta, spec = body.get("metadata"), body.get("spec")
    if not isinstance(meta, dict) or not isinstance(spec, dict):
        raise bad_request("the Pod has no metadata or no spec")
    if meta.get("namespace", namespace) != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    name = meta.get("name")
    causes = [*check_metadata(meta, namespace, PODS), *_spec(spec), *unknown_fields(body, _POD, "")]
    if causes:
        raise _refusal(name if isinstance(name, str) else "", causes)
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {k: meta[k] for k in _KEPT if meta.get(k)} | {"namespace": namespace},
        "spec": {"restartPolicy": "Never", **spec},
    }


_POD = {"kind", "apiVersion", "metadata", "spec", "status"}
_METADATA = {
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "uid",
    "resourceVersion",
    "managedFields",
    "generateName",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
}
_KEPT = ("name", "generateName", "labels", "annotations", "resourceVersion")
_SPEC = {"containers", "restartPolicy", "terminationGracePeriodSeconds", "serviceAccountName"}
_CONTAINER = {
    "name",
    "image",
    "command",
    "args",
    "env",
    "workingDir",
    "imagePullPolicy",
    "resources",
}


def _refusal(name: str, causes: list[Cause]) -> ApiError:
    return invalid(name, [{"reason": r, "message": m, "field": f} for f, r, m in causes])


def unknown_fields(value: Json, known: set[str], path: str) -> Iterator[Cause]:
    """Yield a cause for every field that is not known."""
    for key in sorted(value.keys() - known, key=str):
        field = key if _QUALIFIED.fullmatch(key) else "?"
        yield f"{path}{field}", "FieldValueForbidden", "Forbidden: not supported by this stand-in"


def _check(
    value: object, pattern: re.Pattern[str], path: str, *, limit: int = 253
) -> Iterator[Cause]:
    if not isinstance(value, str) or len(value) > limit or not pattern.fullmatch(value):
        yield path, "FieldValueInvalid", "Invalid value"


def check_metadata(meta: Json, namespace: str, kind: Kind) -> Iterator[Cause]:
    """Yield what is wrong with an object's metadata."""
    yield from unknown_fields(meta, _METADATA, "metadata.")
    yield from _check(meta.get("name"), kind.names, "metadata.name", limit=MAX_NAME_CHARS)
    if kind.namespaced:
        yield from _check(namespace, _LABEL, "metadata.namespace")
    yield from _pairs(_present(meta, "labels"), _LABEL_VALUE, "metadata.labels", limit=63)
    annotations = _present(meta, "annotations")
    yield from _pairs(annotations, _TEXT, "metadata.annotations", limit=MAX_ANNOTATIONS_BYTES)


def _present(meta: Json, key: str) -> object:
    """Return a field of metadata; null is as good as none, as clients written in Go send it."""
    value = meta.get(key)
    return {} if value is None else value


def _pairs(value: object, pattern: re.Pattern[str], path: str, *, limit: int) -> Iterator[Cause]:
    if not isinstance(value, dict):
        yield path, "FieldValueInvalid", "Invalid value"
        return
    for key, text in value.items():
        yield from _check(key, _QUALIFIED, path, limit=317)
        yield from _check(text, pattern, path, limit=limit)
    if (
        sum(len(str(part).encode()) for pair in value.items() for part in pair)
        > MAX_ANNOTATIONS_BYTES
    ):
        yield (
            path,
            "FieldValueTooLong",
            f"Too long: must have at most {MAX_ANNOTATIONS_BYTES} bytes",
        )


def _spec(spec: Json) -> Iterator[Cause]:
    yield from unknown_fields(spec, _SPEC, "spec.")
    if spec.get("restartPolicy", "Never") != "Never":
        yield "spec.restartPolicy", "FieldValueNotSupported", 'supported values: "Never"'
    grace = spec.get("terminationGracePeriodSeconds", 0)
    if type(grace) is not int or not 0 <= grace <= MAX_GRACE_S:
        yield "spec.terminationGracePeriodSeconds", "FieldValueInvalid", "must be 0 to 3600"
    if "serviceAccountName" in spec:
        yield from _check(spec["serviceAccountName"], _SUBDOMAIN, "spec.serviceAccountName")
    containers = spec.get("containers")
    if not isinstance(containers, list) or len(containers) != 1:
        yield "spec.containers", "FieldValueInvalid", "exactly one container is supported"
    elif not isinstance(containers[0], dict):
        yield "spec.containers[0]", "FieldValueInvalid", "Invalid value"
    else:
        yield from _container(containers[0], "spec.containers[0].")


def _container(container: Json, path: str) -> Iterator[Cause]:
    yield from unknown_fields(container, _CONTAINER, path)
    yield from _check(container.get("name"), _LABEL, f"{path}name")
    yield from _check(container.get("image"), _IMAGE, f"{path}image", limit=255)
    for key in ("command", "args"):
        value = container.get(key, [])
        if not isinstance(value, list) or not all(_is_text(item) for item in value):
            yield f"{path}{key}", "FieldValueInvalid", "must be a list of strings without NUL"
    if not _is_text(container.get("workingDir", "")):
        yield f"{path}workingDir", "FieldValueInvalid", "Invalid value"
    yield from _env(container.get("env", []), f"{path}env")
    yield from _resources(container.get("resources", {}), f"{path}resources")


def _resources(resources: object, path: str) -> Iterator[Cause]:
    if not isinstance(resources, dict):
        yield path, "FieldValueInvalid", "must be an object"
        return
    yield from unknown_fields(resources, {"requests", "limits"}, f"{path}.")
    for kind in ("requests", "limits"):
        amounts = resources.get(kind, {})
        if not isinstance(amounts, dict) or any(quantity(v) is None for v in amounts.values()):
            yield f"{path}.{kind}", "FieldValueInvalid", "must hold quantities"


def _env(env: object, path: str) -> Iterator[Cause]:
    if not isinstance(env, list):
        yield path, "FieldValueInvalid", "must be a list"
        return
    for index, item in enumerate(env):
        where = f"{path}[{index}]"
        if not isinstance(item, dict) or not _is_text(item.get("value", "")):
            yield where, "FieldValueInvalid", "Invalid value"
        else:
            yield from unknown_fields(item, {"name", "value"}, f"{where}.")
            yield from _check(item.get("name"), _ENV_NAME, f"{where}.name")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value
