"""Mutating admission: asks the webhooks of the stored configurations, by AdmissionReview v1."""

from __future__ import annotations

import base64
import copy
import ssl
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import trio

from kube.server import status as errors
from kube.server.bodies import parsed
from kube.server.kinds import ADMISSION, Kind
from kube.server.patches import patched
from kube.server.store import ObjectStore
from kube.server.tokens import User

CONFIGURATIONS = f"mutatingwebhookconfigurations.{ADMISSION}"
REVIEW = "admission.k8s.io/v1"
JSON_PATCH = "application/json-patch+json"
DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S = 10, 30  # Kubernetes'
MAX_ANSWER_BYTES = 1_048_576

Json = dict[str, Any]
Connect = Callable[[str, str], httpx.AsyncClient]  # URL and CA bundle (PEM) of a webhook


class WebhookAway(Exception):
    """A webhook doesn't answer as it should; the message holds nothing that it said."""


def connect(_url: str, bundle: str) -> httpx.AsyncClient:
    """Return a client for a webhook, which trusts its own CA bundle only."""
    context = ssl.create_default_context(cadata=bundle) if bundle else ssl.create_default_context()
    return httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False)


class Webhooks:
    """Asks webhooks about new objects, one after the other, in the order of their names.

    Args:
        store: where the configurations are.
        connect: makes a client; another one where there is no network.
    """

    def __init__(self, store: ObjectStore, connect: Connect = connect) -> None:
        self._store, self._connect = store, connect

    async def review(self, user: User, kind: Kind, namespace: str, obj: Json) -> Json:
        """Return the object as the webhooks want it.

        Raises:
            ApiError: one denies it, or can't be asked and must be.
        """
        for webhook in self._of(kind):
            try:
                obj = await self._ask(webhook, user, kind, namespace, obj)
            except WebhookAway as error:
                if webhook.get("failurePolicy", "Fail") != "Ignore":
                    raise errors.webhook_failed(webhook["name"], str(error)) from None
        return obj

    def _of(self, kind: Kind) -> Iterator[Json]:
        named = sorted(self._store.list(CONFIGURATIONS), key=lambda obj: obj["metadata"]["name"])
        for configuration in named:
            for webhook in configuration.get("webhooks") or ():
                if any(_concerns(rule, kind) for rule in webhook.get("rules") or ()):
                    yield webhook

    async def _ask(self, webhook: Json, user: User, kind: Kind, namespace: str, obj: Json) -> Json:
        asked = _review(user, kind, namespace, obj)
        response = await self._answer(webhook, asked)
        if response["uid"] != asked["request"]["uid"]:
            raise WebhookAway("the answer is to another request")
        if not response.get("allowed"):
            status = response.get("status")
            status = status if isinstance(status, dict) else {}
            code, why = status.get("code", 403), str(status.get("message", "without explanation"))
            raise errors.webhook_denied(webhook["name"], code if type(code) is int else 403, why)
        patch = response.get("patch")
        if not patch:
            return obj
        try:
            steps = parsed(base64.b64decode(patch, validate=True))
            changed: Json = patched(JSON_PATCH, steps, copy.deepcopy(obj))
        except (ValueError, TypeError, errors.ApiError):
            raise WebhookAway("the patch is malformed, or does not fit") from None
        return changed

    async def _answer(self, webhook: Json, review: Json) -> Json:
        given = webhook.get("clientConfig") or {}
        limit_s = min(int(webhook.get("timeoutSeconds", DEFAULT_TIMEOUT_S)), MAX_TIMEOUT_S)
        try:
            bundle = base64.b64decode(given.get("caBundle") or "").decode("ascii")
            with trio.fail_after(limit_s):
                async with (
                    self._connect(given["url"], bundle) as client,
                    client.stream("POST", given["url"], json=review, timeout=limit_s) as answer,
                ):
                    content = await _content(answer)
            response: Json = parsed(content)["response"]
            response["uid"]  # it is an object, and an answer
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, trio.TooSlowError, OSError):
            raise WebhookAway("no answer in time") from None
        except (KeyError, TypeError, ValueError):
            raise WebhookAway("the answer is no AdmissionReview") from None
        return response


async def _content(answer: httpx.Response) -> bytes:
    if not answer.is_success:
        raise WebhookAway(f"it answers {answer.status_code}")
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise WebhookAway(f"it answers more than {MAX_ANSWER_BYTES} bytes")
    return bytes(content)


def _concerns(rule: Json, kind: Kind) -> bool:
    version = kind.version.rpartition("/")[2]
    asked = (
        ("operations", "CREATE"),
        ("apiGroups", kind.group),
        ("apiVersions", version),
        ("resources", kind.name),
    )
    return all({"*", value} & set(rule.get(field) or ()) for field, value in asked)


def _review(user: User, kind: Kind, namespace: str, obj: Json) -> Json:
    group, version = kind.group, kind.version.rpartition("/")[2]
    request = {
        "uid": str(uuid.uuid4()),
        "kind": {"group": group, "version": version, "kind": kind.kind},
        "resource": {"group": group, "version": version, "resource": kind.name},
        "name": obj["metadata"]["name"],
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": user.name, "groups": list(user.all_groups)},
        "object": obj,
        "dryRun": False,
    }
    return {"kind": "AdmissionReview", "apiVersion": REVIEW, "request": request}
