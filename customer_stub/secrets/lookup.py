"""Finds a secret's value by the names that the agent gave it (see docs on secrets).

Kubernetes: a Secret `secret-` and 32 hex digits of SHA-256 over `org/project/domain/name`; AWS:
`{prefix}/{org}/{project}/{domain}/{name}`; `-` stands for no project or domain.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import trio

from customer_stub.secrets.settings import AWS, SecretsSettings
from kube.client import ClusterError, KubernetesApi
from kube.server.store import Missing, ObjectStore

MAX_CALLS = 4
NOT_FOUND = 404
_KEYS = ("value", ".dockerconfigjson")

Path4 = tuple[str, str, str, str]  # org, project or -, domain or -, name


class LookupFailed(Exception):
    """The backend can't be asked now; the message never holds a value."""


class Lookup(Protocol):
    """Reads secrets."""

    async def read(self, path: Path4) -> bytes | None:
        """Return a value, None if there is no such secret.

        Raises:
            LookupFailed: it can't be told.
        """
        ...


def scopes(org: str, project: str, domain: str) -> list[tuple[str, str, str]]:
    """Return where a pod's secrets are looked for: its project, its domain, its org."""
    return [(org, project, domain), (org, "-", domain), (org, "-", "-")]


class Secrets(Protocol):
    """Reads Kubernetes Secrets."""

    async def __call__(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Return a Secret, None if there is none.

        Raises:
            LookupFailed: it can't be told.
        """
        ...


def make_lookup(secrets: Secrets, settings: SecretsSettings) -> Lookup:
    """Return the lookup of the configured backend.

    Args:
        secrets: reads Secrets, if that is the backend.
    """
    return AwsLookup(settings) if settings.backend == AWS else KubernetesLookup(secrets, settings)


def from_store(store: ObjectStore) -> Secrets:
    """Read Secrets where they are kept."""

    async def read(namespace: str, name: str) -> Mapping[str, Any] | None:
        await trio.lowlevel.checkpoint()
        try:
            return store.get("secrets", namespace, name)
        except Missing:
            return None

    return read


def from_api(api: KubernetesApi) -> Secrets:
    """Read Secrets through the API, as the webhook's account."""

    async def read(namespace: str, name: str) -> Mapping[str, Any] | None:
        path = f"/api/v1/namespaces/{quote(namespace)}/secrets/{quote(name)}"
        try:
            status, secret = await api.call("GET", path, also=(NOT_FOUND,))
        except ClusterError as error:
            raise LookupFailed(str(error)) from None
        return None if status == NOT_FOUND else secret

    return read


class KubernetesLookup:
    """See Lookup."""

    def __init__(self, secrets: Secrets, settings: SecretsSettings) -> None:
        self._secrets, self._namespace = secrets, settings.namespace

    async def read(self, path: Path4) -> bytes | None:
        """See Lookup."""
        digest = hashlib.sha256("/".join(path).encode()).hexdigest()[:32]
        secret = await self._secrets(self._namespace, f"secret-{digest}")
        if secret is None:
            return None
        data = secret["data"]
        found = next((data[key] for key in _KEYS if key in data), None)
        return None if found is None else base64.b64decode(found)


class AwsLookup:
    """See Lookup; boto3 in threads."""

    def __init__(self, settings: SecretsSettings) -> None:
        self._settings = settings
        self._limiter = trio.CapacityLimiter(MAX_CALLS)

    async def read(self, path: Path4) -> bytes | None:
        """See Lookup."""
        name = "/".join(filter(None, (self._settings.aws_prefix, *path)))
        try:
            with trio.fail_after(self._settings.request_s):
                return await trio.to_thread.run_sync(
                    self._read, name, limiter=self._limiter, abandon_on_cancel=True
                )
        except trio.TooSlowError:
            raise LookupFailed("AWS Secrets Manager does not answer") from None

    def _read(self, name: str) -> bytes | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._client.get_secret_value(SecretId=name)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code == "ResourceNotFoundException":
                return None
            raise LookupFailed("AWS Secrets Manager refuses") from None
        except (BotoCoreError, OSError, ValueError) as error:
            raise LookupFailed(f"AWS cannot be used ({type(error).__name__})") from None
        text = found.get("SecretString")
        return bytes(found["SecretBinary"]) if text is None else str(text).encode()

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        settings = self._settings
        file = settings.aws_secret_file
        timeouts: dict[str, Any] = {"connect_timeout": settings.request_s}
        timeouts["read_timeout"] = settings.request_s
        make: Callable[..., Any] = boto3.session.Session().client
        return make(
            "secretsmanager",
            region_name=settings.aws_region,
            endpoint_url=settings.aws_endpoint_url or None,
            verify=settings.aws_ca_file or None,
            aws_access_key_id=settings.aws_access_key or None,
            aws_secret_access_key=Path(file).read_text().strip() if file else None,
            config=Config(retries={"total_max_attempts": 1}, **timeouts),
        )
