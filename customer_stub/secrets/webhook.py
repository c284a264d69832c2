"""The admission webhook: admits pods that want secrets, and marks them for the node.

The API server asks it about every new pod (AdmissionReview v1). Values never go into the pod: the
node's part of the webhook fetches them when the container starts, for pods with the mark alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from customer_stub.secrets.injection import ADMITTED, InjectionFailed, wishes
from kube.client import KubernetesApi

NAME = "flytepropeller-webhook-system"  # also its service account (Appendix E)
PATH = "/mutate-pods"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
MAX_REVIEW_BYTES = 4_194_304
BODY_S = 5.0
UNPROCESSABLE, NOT_FOUND = 422, 404

Json = dict[str, Any]


class SecretsWebhook:
    """An ASGI application that answers AdmissionReviews.

    Args:
        api: as the webhook's account.
        max_secrets: most secrets of one pod.
    """

    def __init__(self, api: KubernetesApi, max_secrets: int) -> None:
        self._api, self._max_secrets = api, max_secrets

    async def register(self, url: str, ca_file: str) -> None:
        """Have the API server ask here from now on.

        Args:
            url: where this is served, without a path.
            ca_file: CA of that server; empty for plain HTTP.

        Raises:
            ClusterError: the API doesn't answer, or refuses.
        """
        made = _configuration(url + PATH, ca_file)
        path = f"{CONFIGURATIONS}/{NAME}"
        status, _ = await self._api.call("GET", path, also=(NOT_FOUND,))
        if status == NOT_FOUND:
            await self._api.call("POST", CONFIGURATIONS, body=made)
        else:
            await self._api.call("PUT", path, body=made)

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Json]],
        send: Callable[[Json], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        review = None
        if (scope["method"], scope["path"]) == ("POST", PATH):
            review = _parsed(await _body(receive))
        answer = self._review(review) if review else {}
        headers = [(b"content-type", b"application/json")]
        status = 200 if answer else 400
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    def _review(self, request: Json) -> Json:
        response: Json = {"uid": request["uid"], "allowed": True}
        try:
            pod = request["object"]
            if wishes(pod, self._max_secrets):
                patch = json.dumps(_mark(pod)).encode()
                response["patch"] = base64.b64encode(patch).decode()
                response["patchType"] = "JSONPatch"
        except InjectionFailed as error:
            status = {"code": UNPROCESSABLE, "message": str(error)}
            response = {"uid": request["uid"], "allowed": False, "status": status}
        head = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}
        return {**head, "response": response}


def _mark(pod: Json) -> list[Json]:
    key = ADMITTED.replace("~", "~0").replace("/", "~1")
    assert pod["metadata"]["annotations"]  # the wishes are there
    return [{"op": "add", "path": f"/metadata/annotations/{key}", "value": NAME}]


def _configuration(url: str, ca_file: str) -> Json:
    given: Json = {"url": url}
    if ca_file:
        given["caBundle"] = base64.b64encode(Path(ca_file).read_bytes()).decode()
    webhook = {
        "name": "secrets.planesplit.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": given,
        "rules": [
            {
                "operations": ["CREATE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
            }
        ],
    }
    head = {
        "kind": "MutatingWebhookConfiguration",
        "apiVersion": "admissionregistration.k8s.io/v1",
    }
    return {**head, "metadata": {"name": NAME}, "webhooks": [webhook]}


async def _body(receive: Callable[[], Awaitable[Json]]) -> bytes:
    body = bytearray()
    with trio.move_on_after(BODY_S):
        while len(body) <= MAX_REVIEW_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(body)
    return b""


def _parsed(body: bytes) -> Json | None:
    """Return the review's request, None if it is none."""
    try:
        request = json.loads(body)["request"]
        well_formed = isinstance(request["uid"], str) and isinstance(
            request["object"]["metadata"], dict
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return request if well_formed else None
