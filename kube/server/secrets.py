"""Secrets as the API serves them; who may read them is up to the access rules."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from kube.server import status as errors
from kube.server.admission import check_metadata, unknown_fields
from kube.server.collection import Collection
from kube.server.kinds import SECRETS as RESOURCE
from kube.server.store import Conflict, Missing, ObjectStore
from kube.server.values import timestamp
from kube.settings import ApiSettings

SECRETS = RESOURCE.name
MAX_SECRET_BYTES = 1_048_576  # Kubernetes' MaxSecretSize, of all values together
DOCKER_CONFIG = "kubernetes.io/dockerconfigjson"
DOCKER_CONFIG_KEY = ".dockerconfigjson"

Json = dict[str, Any]
Cause = tuple[str, str, str]

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_FIELDS = {"kind", "apiVersion", "metadata", "type", "data", "stringData", "immutable"}


class SecretApi(Collection):
    """Creates, reads, replaces, deletes and watches Secrets.

    Args:
        store: where they are.
        settings: limits.
        clock: wall clock, nanoseconds since the epoch.
        new_uid: makes the uid of a Secret.
        used: told the namespace of each new Secret.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: ApiSettings,
        *,
        clock: Callable[[], int],
        new_uid: Callable[[], str],
        used: Callable[[str], None] = lambda namespace: None,
    ) -> None:
        super().__init__(RESOURCE, store, settings)
        self._clock, self._new_uid, self._used = clock, new_uid, used

    def create(self, namespace: str, body: Any) -> Json:
        """Add a Secret.

        Raises:
            ApiError: 400, 403 (quota), 409, 422.
        """
        secret = _admit(body, namespace)
        name = secret["metadata"]["name"]
        secret["metadata"]["uid"] = self._new_uid()
        secret["metadata"]["creationTimestamp"] = timestamp(self._clock())
        if self._store.count(SECRETS) >= self._settings.max_secrets:
            raise errors.quota_exceeded(name, self._settings.max_secrets, SECRETS)
        self._used(namespace)
        try:
            return self._store.create(SECRETS, secret)
        except Conflict:
            raise errors.already_exists(SECRETS, name) from None

    def replace(self, namespace: str, name: str, body: Any) -> Json:
        """Replace a Secret's labels, annotations and values; its type stays.

        Raises:
            ApiError: 400, 404, 409 (another resourceVersion than that given), 422.
        """
        new = _admit(body, namespace)
        old = self.get(namespace, name)
        if new["metadata"]["name"] != name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        version = new["metadata"].get("resourceVersion")
        if version not in (None, "", old["metadata"]["resourceVersion"]):
            raise errors.conflict(SECRETS, name)
        if new["type"] != old["type"]:
            raise _invalid(name, [("type", "FieldValueInvalid", "field is immutable")])

        def change(copy: Json) -> None:
            for field in ("labels", "annotations"):
                copy["metadata"].pop(field, None)
                if field in new["metadata"]:
                    copy["metadata"][field] = new["metadata"][field]
            copy["data"] = new["data"]

        return self._store.update(SECRETS, namespace, name, change)

    def delete(self, namespace: str, name: str) -> Json:
        """Remove a Secret and return a Status, as Kubernetes does.

        Raises:
            ApiError: 404.
        """
        try:
            gone = self._store.delete(SECRETS, namespace, name)
        except Missing:
            raise errors.not_found(SECRETS, name) from None
        details = {"name": name, "kind": SECRETS, "uid": gone["metadata"]["uid"]}
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return {**answer, "details": details}


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
    causes = [*unknown_fields(body, _FIELDS, ""), *check_metadata(meta, namespace)]
    data = _data(body, causes)
    if not isinstance(kind, str):
        causes.append(("type", "FieldValueInvalid", "Invalid value"))
    causes += _content(kind, data)
    if causes:
        name = meta.get("name")
        raise _invalid(name if isinstance(name, str) else "", causes)
    kept = ("name", "labels", "annotations", "resourceVersion")
    meta = {key: meta[key] for key in kept if meta.get(key)}
    meta["namespace"] = namespace
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    secret: Json = {"kind": "Secret", "apiVersion": "v1", "metadata": meta}
    return {**secret, "type": kind, "data": encoded}


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


def _invalid(name: str, causes: list[Cause]) -> errors.ApiError:
    listed = [{"reason": r, "message": m, "field": f} for f, r, m in causes]
    return errors.invalid(name, listed, "Secret")
