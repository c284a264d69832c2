"""Secrets as the API serves them; who may read them is up to the access rules."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

from kube.server import status as errors
from kube.server.admission import Cause, check_metadata, unknown_fields
from kube.server.kinds import SECRETS as RESOURCE
from kube.server.objects import Objects, invalid
from kube.server.store import ObjectStore
from kube.settings import ApiSettings

SECRETS = RESOURCE.key
MAX_SECRET_BYTES = 1_048_576  # Kubernetes' MaxSecretSize, of all values together
DOCKER_CONFIG = "kubernetes.io/dockerconfigjson"
DOCKER_CONFIG_KEY = ".dockerconfigjson"

Json = dict[str, Any]

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_FIELDS = {"kind", "apiVersion", "metadata", "type", "data", "stringData", "immutable"}


class SecretApi(Objects):
    """See Objects; a Secret's type stays as it is."""

    def __init__(self, store: ObjectStore, settings: ApiSettings, **made: Any) -> None:
        super().__init__(RESOURCE, store, settings, **made)

    @property
    def limit(self) -> int:
        """See Objects."""
        return self._settings.max_secrets

    def admit(self, body: Any, namespace: str) -> Json:
        """See Objects."""
        return _admit(body, namespace)

    def check_change(self, old: Json, new: Json) -> None:
        """See Objects; one that says so keeps its content, and goes on saying so."""
        fields = ("type", "data", "immutable") if old.get("immutable") else ("type",)
        changed = [field for field in fields if new.get(field) != old.get(field)]
        if changed:
            causes = [(field, "FieldValueInvalid", "field is immutable") for field in changed]
            raise invalid(RESOURCE, old["metadata"]["name"], causes)


def _admit(body: Any, namespace: str) -> Json:
    """Return a new Secret made of the allowed fields of a request's body."""
    if not isinstance(body, dict) or body.get("kind") != "Secret" or body.get("apiVersion") != "v1":
        raise errors.bad_request("the body is not a v1 Secret")
    meta = body.get("metadata")
    if not isinstance(meta, dict):
        raise errors.bad_request("the Secret has no metadata")
    if meta.get("namespace", namespace) != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    kind = body.get("type") or "Opaque"
    causes = [*unknown_fields(body, _FIELDS, ""), *check_metadata(meta, namespace, RESOURCE)]
    data = _data(body, causes)
    if not isinstance(kind, str):
        causes.append(("type", "FieldValueInvalid", "Invalid value"))
    immutable = body.get("immutable") or False
    if not isinstance(immutable, bool):
        causes.append(("immutable", "FieldValueInvalid", "Invalid value"))
    causes += _content(kind, data)
    if causes:
        name = meta.get("name")
        raise invalid(RESOURCE, name if isinstance(name, str) else "", causes)
    kept = ("name", "labels", "annotations", "resourceVersion")
    meta = {key: meta[key] for key in kept if meta.get(key)}
    meta["namespace"] = namespace
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    secret: Json = {"kind": "Secret", "apiVersion": "v1", "metadata": meta}
    return {**secret, "type": kind, "data": encoded, **({"immutable": True} if immutable else {})}


def _data(body: Json, causes: list[Cause]) -> dict[str, bytes]:
    """Return the values of `data` and `stringData`, which wins, and note what is wrong."""
    values: dict[str, bytes] = {}
    for field, decode in (("data", _decoded), ("stringData", str.encode)):
        entries = body.get(field) or {}
        if not isinstance(entries, dict):
            raise errors.bad_request(f"{field} is not an object")
        for key, text in entries.items():
            if not _KEY.fullmatch(key) or key in (".", ".."):
                causes.append((field, "FieldValueInvalid", "a key must match [-._a-zA-Z0-9]+"))
            elif not isinstance(text, str):
                raise errors.bad_request(f"a value of {field} is not a string")
            else:
                values[key] = decode(text)
    return values


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise errors.bad_request("a value of data is not base64") from None


def _content(kind: object, data: dict[str, bytes]) -> Iterator[Cause]:
    if sum(len(value) for value in data.values()) > MAX_SECRET_BYTES:
        yield (
            "data",
            "FieldValueTooLong",
            f"Too long: at most {MAX_SECRET_BYTES} bytes",
        )
    if kind != DOCKER_CONFIG:
        return
    try:
        valid = isinstance(json.loads(data.get(DOCKER_CONFIG_KEY, b"")), dict)
    except (ValueError, RecursionError):
        valid = False
    if not valid:
        yield f"data[{DOCKER_CONFIG_KEY}]", "FieldValueInvalid", "must be a JSON object"
