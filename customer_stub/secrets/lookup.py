"""Finds a secret's value by the names that the agent gave it (see docs on secrets).

Kubernetes: a Secret `secret-` and 32 hex digits of SHA-256 over `org/project/domain/name`; AWS:
`{prefix}/{org}/{project}/{domain}/{name}`; `-` stands for no project or domain.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import trio

from customer_stub.secrets.settings import AWS, SecretsSettings
from kube.server.store import Missing, ObjectStore

MAX_CALLS = 4
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


def make_lookup(store: ObjectStore, settings: SecretsSettings) -> Lookup:
    """Return the lookup of the configured backend."""
    return AwsLookup(settings) if settings.backend == AWS else KubernetesLookup(store, settings)


class KubernetesLookup:
    """See Lookup."""

    def __init__(self, store: ObjectStore, settings: SecretsSettings) -> None:
        self._store, self._namespace = store, settings.namespace

    async def read(self, path: Path4) -> bytes | None:
        """See Lookup."""
        digest = hashlib.sha256("/".join(path).encode()).hexdigest()[:32]
        await trio.lowlevel.checkpoint()
        try:
            data = self._store.get("secrets", self._namespace, f"secret-{digest}")["data"]
        except Missing:
            return None
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
