"""Row A9: secrets, created and updated; nobody is ever told a value."""

from __future__ import annotations

import secrets

from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.secret import definition_pb2 as definition
from flyteidl2.secret import payload_pb2 as payload
from google.protobuf.message import Message

from planesplit.connect_client import M
from planesplit.proof import claims
from planesplit.proof.drive.strangers import refused
from planesplit.proof.stage import Stage
from planesplit.viewer import Viewer
from tunnel.capabilities import (
    CREATE_SECRET,
    GET_SECRET,
    LIST_SECRETS,
    UPDATE_SECRET,
)

OPERATION = SelectClusterRequest.OPERATION_USE_SECRETS


async def secret_values(stage: Stage, viewer: Viewer) -> None:
    """Create two secrets in every cluster, update one, ask what is known of both."""
    for kind, again in ((claims.SECRET, False), (claims.SECRET_UPDATED, True)):
        name = f"key-{secrets.token_hex(4)}"
        first = stage.make(claims.SECRET) if not again else "to be replaced"
        create = payload.CreateSecretRequest(id=identifier(viewer, name), secret_spec=spec(first))
        await call(viewer, CREATE_SECRET, create, payload.CreateSecretResponse)
        if again:
            update = payload.UpdateSecretRequest(
                id=identifier(viewer, name), secret_spec=spec(stage.make(kind))
            )
            await call(viewer, UPDATE_SECRET, update, payload.UpdateSecretResponse)
        about = payload.GetSecretRequest(id=identifier(viewer, name))
        await call(viewer, GET_SECRET, about, payload.GetSecretResponse)
        stage.delivered_to(kind)
        url = await viewer.endpoint(OPERATION) + GET_SECRET
        await refused(stage, url, about, payload.GetSecretResponse)
    place = viewer.place
    listed = payload.ListSecretsRequest(
        organization=place.org, project=place.project, domain=place.domain, limit=100
    )
    await call(viewer, LIST_SECRETS, listed, payload.ListSecretsResponse)


def identifier(viewer: Viewer, name: str) -> definition.SecretIdentifier:
    """Return the full name of a secret of the viewer's project."""
    place = viewer.place
    return definition.SecretIdentifier(
        organization=place.org, project=place.project, domain=place.domain, name=name
    )


def spec(value: str) -> definition.SecretSpec:
    """Return a secret's value as it is sent: long, so that it repeats in memory."""
    return definition.SecretSpec(string_value=" ".join([value] * 8))


async def call(viewer: Viewer, path: str, request: Message, answer: type[M]) -> M:
    """Call an RPC of the secret service, where the control plane says."""
    return await viewer.client.unary(await viewer.endpoint(OPERATION) + path, request, answer)
