"""SecretService: writes secrets into the customer's backend. No call returns a value."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.secret import definition_pb2 as definition
from flyteidl2.secret import payload_pb2 as payload

from compute_agent.exchange import check_scope
from compute_agent.secrets.backend import (
    SecretBackend,
    SecretError,
    SecretExists,
    SecretInfo,
    SecretMissing,
    SecretRefused,
    SecretValue,
)
from compute_agent.secrets.names import WIDE, BadSecretName, SecretName, SecretScope
from compute_agent.secrets.settings import SecretSettings
from tunnel.messages.rpc import Context

T = TypeVar("T")
MAX_PAGE = 1000


class SecretService:
    """Serves secrets of this cluster.

    Answers of several clusters come to a viewer as one, by protobuf's rules of merging: the status
    of each cluster is an element of a list, and a list's places are in `per_cluster_tokens`.

    Args:
        org, cluster: this cluster.
        backend: where secrets are kept; None if none is configured.
        settings: bounds.
        tell: told what was done to a secret of which name.
    """

    def __init__(
        self,
        org: str,
        cluster: str,
        backend: SecretBackend | None,
        settings: SecretSettings,
        tell: Callable[[str, str], None] = lambda event, name: None,
    ) -> None:
        self._org, self._cluster, self._settings = org, cluster, settings
        self._configured, self._tell = backend, tell

    async def create_secret(
        self, request: payload.CreateSecretRequest, _ctx: Context
    ) -> payload.CreateSecretResponse:
        """Add a secret; ALREADY_EXISTS if there is one by that name."""
        name, value = _name(request.id), self._value(request.secret_spec)
        request.Clear()
        await _done(self._backend.create(name, value))
        self._tell("secret_created", name.name)
        return payload.CreateSecretResponse()

    async def update_secret(
        self, request: payload.UpdateSecretRequest, _ctx: Context
    ) -> payload.UpdateSecretResponse:
        """Replace a value; NOT_FOUND if there is no such secret."""
        name, value = _name(request.id), self._value(request.secret_spec)
        request.Clear()
        await _done(self._backend.update(name, value))
        self._tell("secret_updated", name.name)
        return payload.UpdateSecretResponse()

    async def delete_secret(
        self, request: payload.DeleteSecretRequest, _ctx: Context
    ) -> payload.DeleteSecretResponse:
        """Remove a secret; NOT_FOUND if there is none."""
        name = _name(request.id)
        await _done(self._backend.delete(name))
        self._tell("secret_deleted", name.name)
        return payload.DeleteSecretResponse()

    async def get_secret(
        self, request: payload.GetSecretRequest, _ctx: Context
    ) -> payload.GetSecretResponse:
        """Describe a secret."""
        name = _name(request.id)
        info = await _done(self._backend.get(name))
        return payload.GetSecretResponse(secret=self._described(name.scope, info))

    async def list_secrets(
        self, request: payload.ListSecretsRequest, _ctx: Context
    ) -> payload.ListSecretsResponse:
        """Describe the secrets of exactly one scope, a page at a time, in the order of names."""
        scope = _scope(request.organization, request.project, request.domain)
        after = self._place(request)
        answer = payload.ListSecretsResponse()
        if after is None:
            return answer
        found = [info for info in await _done(self._backend.list(scope)) if info.name > after]
        page = found[: min(max(request.limit, self._settings.page_size), MAX_PAGE)]
        answer.secrets.extend(self._described(scope, info) for info in page)
        if len(page) < len(found):
            answer.token = _token(self._cluster, page[-1].name)
            answer.per_cluster_tokens[self._cluster] = answer.token
        return answer

    @property
    def _backend(self) -> SecretBackend:
        if self._configured is None:
            raise ConnectError(Code.UNAVAILABLE, "secrets: a backend is not configured")
        return self._configured

    def _value(self, spec: definition.SecretSpec) -> SecretValue:
        kind = spec.WhichOneof("value")
        data = spec.string_value.encode() if kind == "string_value" else spec.binary_value
        limit = self._settings.max_value_bytes
        if not data:
            raise ConnectError(Code.INVALID_ARGUMENT, "the secret has no value")
        if len(data) > limit:
            raise ConnectError(
                Code.INVALID_ARGUMENT,
                f"the secret has {len(data)} bytes; at most {limit} (secrets.max_value_bytes)",
            )
        return SecretValue(data, spec.type == definition.SECRET_TYPE_IMAGE_PULL_SECRET)

    def _place(self, request: payload.ListSecretsRequest) -> str | None:
        """Return the name behind which to go on; None if this cluster has told everything."""
        if request.per_cluster_tokens:
            token = request.per_cluster_tokens.get(self._cluster)
            if token is None:
                return None
        elif not (token := request.token):
            return ""
        cluster, name = _read(token)
        if cluster != self._cluster:
            raise ConnectError(
                Code.INVALID_ARGUMENT,
                "the token is another cluster's; go on with per_cluster_tokens",
            )
        return name

    def _described(self, scope: SecretScope, info: SecretInfo) -> definition.Secret:
        secret = definition.Secret()
        secret.id.organization, secret.id.name = scope.org, info.name
        secret.id.project, secret.id.domain = scope.project, scope.domain
        metadata = secret.secret_metadata
        metadata.created_time.FromSeconds(int(info.created_s))
        if info.image_pull:
            metadata.type = definition.SECRET_TYPE_IMAGE_PULL_SECRET
        metadata.secret_status.overall_status = definition.FULLY_PRESENT
        here = metadata.secret_status.cluster_status.add()
        here.cluster.name, here.cluster.organization = self._cluster, self._org
        here.presence_status = definition.PRESENT
        return secret


def _name(id_: definition.SecretIdentifier) -> SecretName:
    name = SecretName(_scope(id_.organization, id_.project, id_.domain), id_.name)
    try:
        name.check()
    except BadSecretName as error:
        raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
    return name


def _scope(org: str, project: str, domain: str) -> SecretScope:
    check_scope(org, project or WIDE, domain or WIDE)
    scope = SecretScope(org, project, domain)
    try:
        scope.check()
    except BadSecretName as error:
        raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
    return scope


async def _done(call: Awaitable[T]) -> T:
    try:
        return await call
    except SecretExists:
        raise ConnectError(Code.ALREADY_EXISTS, "a secret by that name exists") from None
    except SecretMissing:
        raise ConnectError(Code.NOT_FOUND, "there is no such secret") from None
    except SecretRefused as error:
        raise ConnectError(Code.FAILED_PRECONDITION, str(error)) from None
    except SecretError as error:
        raise ConnectError(Code.UNAVAILABLE, str(error)) from None


def _token(cluster: str, name: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([cluster, name]).encode()).decode()


def _read(token: str) -> tuple[str, str]:
    try:
        cluster, name = json.loads(base64.urlsafe_b64decode(token.encode()))
        if isinstance(cluster, str) and isinstance(name, str):
            return cluster, name
    except (ValueError, TypeError, RecursionError):
        pass
    raise ConnectError(Code.INVALID_ARGUMENT, "the token is none of this list's")
