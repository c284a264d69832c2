"""Secrets in AWS Secrets Manager, by boto3 in threads. No call asks for a value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from compute_agent.secrets.backend import (
    SecretError,
    SecretExists,
    SecretInfo,
    SecretMissing,
    SecretRefused,
    SecretValue,
)
from compute_agent.secrets.names import SecretName, SecretScope
from compute_agent.secrets.settings import AwsSettings

if TYPE_CHECKING:
    from botocore.client import BaseClient

TYPE_TAG = "planesplit:type"
GENERIC, IMAGE_PULL = "generic", "image-pull"
PAGE = 100  # most that ListSecrets gives at once
_REFUSED = {
    "AccessDeniedException": "AWS does not allow the agent to do this",
    "UnrecognizedClientException": "AWS does not know the agent's credentials",
    "InvalidSignatureException": "AWS does not accept the agent's credentials",
    "ExpiredTokenException": "the agent's AWS credentials have expired",
    "InvalidParameterException": "AWS finds the secret's name or size invalid",
    "ValidationException": "AWS finds the secret's name or size invalid",
    "InvalidRequestException": "AWS refuses: the secret is about to be deleted",
    "LimitExceededException": "AWS refuses: a quota of the account is used up",
}


class AwsSecrets:
    """See SecretBackend.

    Args:
        settings: where and who.
    """

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._limiter = trio.CapacityLimiter(settings.max_calls)

    async def create(self, name: SecretName, value: SecretValue) -> None:
        """See SecretBackend."""
        await self._call(
            "create_secret",
            Name=self._name(name),
            SecretBinary=value.data,
            Tags=[{"Key": TYPE_TAG, "Value": IMAGE_PULL if value.image_pull else GENERIC}],
        )

    async def update(self, name: SecretName, value: SecretValue) -> None:
        """See SecretBackend."""
        await self._call("put_secret_value", SecretId=self._name(name), SecretBinary=value.data)

    async def delete(self, name: SecretName) -> None:
        """See SecretBackend. At once: a name in its recovery window could not be used again."""
        await self.get(name)  # without recovery, AWS says yes to a secret that is not there
        await self._call(
            "delete_secret", SecretId=self._name(name), ForceDeleteWithoutRecovery=True
        )

    async def get(self, name: SecretName) -> SecretInfo:
        """See SecretBackend."""
        found = await self._call("describe_secret", SecretId=self._name(name))
        if found.get("DeletedDate"):
            raise SecretMissing
        return _info(found, name.name)

    async def list(self, scope: SecretScope) -> list[SecretInfo]:
        """See SecretBackend."""
        prefix = scope.aws_prefix(self._settings.prefix)
        query: dict[str, Any] = {"Filters": [{"Key": "name", "Values": [prefix]}]}
        query["MaxResults"] = PAGE
        found: list[SecretInfo] = []
        while True:
            page = await self._call("list_secrets", **query)
            for entry in page.get("SecretList", ()):
                name = str(entry["Name"])
                if name.startswith(prefix) and "/" not in name[len(prefix) :]:
                    found.append(_info(entry, name[len(prefix) :]))
            if not page.get("NextToken"):
                return sorted(found, key=lambda info: info.name)
            query["NextToken"] = page["NextToken"]

    def _name(self, name: SecretName) -> str:
        return name.aws(self._settings.prefix)

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call AWS in a thread; one that hangs is left behind when the caller goes."""

        def call() -> dict[str, Any]:
            function: Callable[..., dict[str, Any]] = getattr(self._client, operation)
            return function(**parameters)

        try:
            with trio.fail_after(self._settings.request_s):
                return await trio.to_thread.run_sync(
                    call, limiter=self._limiter, abandon_on_cancel=True
                )
        except trio.TooSlowError:
            raise SecretError("AWS Secrets Manager does not answer") from None
        except (OSError, ValueError) as error:
            raise SecretError(f"AWS cannot be used ({type(error).__name__})") from None
        except Exception as error:
            raise _failure(error) from None

    @cached_property
    def _client(self) -> BaseClient:
        """Made at the first call: boto3 takes 100 ms and more to import."""
        import boto3
        from botocore.config import Config

        settings = self._settings
        secret = Path(settings.secret_file).read_text().strip() if settings.secret_file else None
        config = Config(
            connect_timeout=settings.request_s,
            read_timeout=settings.request_s,
            retries={"total_max_attempts": 1},  # the caller's to decide: a write may have happened
        )
        return boto3.session.Session().client(
            "secretsmanager",
            region_name=settings.region,
            endpoint_url=settings.endpoint_url or None,
            verify=settings.ca_file or None,
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=secret,
            config=config,
        )


def _failure(error: Exception) -> SecretError:
    """Return our error for botocore's, whose text may quote parameters."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "ResourceExistsException":
            return SecretExists()
        if code == "ResourceNotFoundException":
            return SecretMissing()
        if code in _REFUSED:
            return SecretRefused(_REFUSED[code])
        return SecretError("AWS Secrets Manager answered with an error")
    if isinstance(error, BotoCoreError):
        return SecretError(f"AWS cannot be reached ({type(error).__name__})")
    return SecretError(f"AWS cannot be used ({type(error).__name__})")


def _info(found: dict[str, Any], name: str) -> SecretInfo:
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
    created = found.get("CreatedDate")
    return SecretInfo(
        name, tags.get(TYPE_TAG) == IMAGE_PULL, created.timestamp() if created else 0.0
    )
