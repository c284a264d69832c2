"""Row A9: secrets, created and updated; nobody is ever told a value."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from flyteidl2.cluster.payload_pb2 import SelectClusterRequest, SelectClusterResponse
from flyteidl2.common.identifier_pb2 import OrgIdentifier
from flyteidl2.secret import definition_pb2 as definition
from flyteidl2.secret import payload_pb2 as payload
from google.protobuf.message import Message

from planesplit.connect_client import ConnectError, M
from planesplit.proof import claims
from planesplit.proof.canaries import Kind
from planesplit.proof.drive.strangers import refused
from planesplit.proof.stage import Stage
from planesplit.viewer import SELECT_CLUSTER, Viewer
from tunnel.capabilities import (
    CREATE_SECRET,
    GET_SECRET,
    LIST_SECRETS,
    UPDATE_SECRET,
)

OPERATION = SelectClusterRequest.OPERATION_USE_SECRETS


@dataclass(frozen=True, slots=True)
class Way:
    """How a secret goes: whose it is, and through which base URL.

    Args:
        stage, viewer: who writes it.
        base: of the secret service, as the control plane says.
        clusters: that it reaches.
        project: whether it is the project's; else it is the whole org's.
    """

    stage: Stage
    viewer: Viewer
    base: str
    clusters: frozenset[str]
    project: bool

    async def create(self, name: str, value: str) -> None:
        """Create a secret."""
        request = payload.CreateSecretRequest(id=self._id(name), secret_spec=spec(value))
        await self._call(CREATE_SECRET, request, payload.CreateSecretResponse)

    async def update(self, name: str, value: str) -> None:
        """Give a secret another value."""
        request = payload.UpdateSecretRequest(id=self._id(name), secret_spec=spec(value))
        await self._call(UPDATE_SECRET, request, payload.UpdateSecretResponse)

    async def check(self, name: str) -> bool:
        """Ask what is known of a secret: whether exactly these clusters have it."""
        request = payload.GetSecretRequest(id=self._id(name))
        answer = await self._call(GET_SECRET, request, payload.GetSecretResponse)
        told = answer.secret.secret_metadata.secret_status.cluster_status
        return {status.cluster.name for status in told} == self.clusters

    async def refuse(self, name: str) -> None:
        """Let another org ask for a secret, and for one that there is not."""
        request = payload.GetSecretRequest(id=self._id(name))
        await refused(self.stage, self.base + GET_SECRET, request, payload.GetSecretResponse)

    async def provoke(self, name: str) -> None:
        """Create a secret that is there, and update one that is not."""
        value = spec(self.stage.make(claims.BAD_SECRET))
        again = payload.CreateSecretRequest(id=self._id(name), secret_spec=value)
        absent = payload.UpdateSecretRequest(id=self._id(f"{name}-absent"), secret_spec=value)
        for path, request in ((CREATE_SECRET, again), (UPDATE_SECRET, absent)):
            with suppress(ConnectError):
                await self._call(path, request, payload.CreateSecretResponse)
                self.stage.failures.append(f"a secret was written that should not: {path}")
        self.stage.delivered_to(claims.BAD_SECRET)

    def _id(self, name: str) -> definition.SecretIdentifier:
        place = self.viewer.place
        made = definition.SecretIdentifier(organization=place.org, name=name)
        if self.project:
            made.project, made.domain = place.project, place.domain
        return made

    async def _call(self, path: str, request: Message, answer: type[M]) -> M:
        return await self.viewer.client.unary(self.base + path, request, answer)


async def secret_values(stage: Stage, viewer: Viewer) -> None:
    """Write secrets of the project, of the org, and of one cluster; nobody is told a value."""
    everywhere = frozenset(stage.split.options.all_clusters)
    one, org = frozenset({viewer.place.cluster}), viewer.place.org
    project = await project_way(stage, viewer)
    whole = SelectClusterRequest(operation=OPERATION, org_id=OrgIdentifier(name=org))
    shared = Way(stage, viewer, await _base(viewer, whole), everywhere, project=False)
    single = SelectClusterRequest(operation=OPERATION)
    single.cluster_id.organization, single.cluster_id.name = org, viewer.place.cluster
    alone = Way(stage, viewer, await _base(viewer, single), one, project=False)
    await _write(project, claims.SECRET)
    await _write(project, claims.SECRET_UPDATED, updated=True)
    await _write(shared, claims.SECRET_SHARED)
    await _write(alone, claims.SECRET_ALONE)
    place = viewer.place
    listed = payload.ListSecretsRequest(
        organization=place.org, project=place.project, domain=place.domain, limit=100
    )
    await viewer.client.unary(project.base + LIST_SECRETS, listed, payload.ListSecretsResponse)


async def project_way(stage: Stage, viewer: Viewer) -> Way:
    """Return how the project's secrets go: to every cluster."""
    clusters = frozenset(stage.split.options.all_clusters)
    return Way(stage, viewer, await viewer.endpoint(OPERATION), clusters, project=True)


async def _write(way: Way, kind: Kind, *, updated: bool = False) -> None:
    name, value = f"key-{secrets.token_hex(4)}", way.stage.make(kind)
    await way.create(name, "to be replaced" if updated else value)
    if updated:
        await way.update(name, value)
    if await way.check(name):
        way.stage.delivered_to(kind)
    else:
        way.stage.failures.append(f"{kind.name} is not in {', '.join(sorted(way.clusters))} alone")
    await way.refuse(name)
    await way.provoke(name)


async def _base(viewer: Viewer, request: SelectClusterRequest) -> str:
    """Return the base URL that serves a resource; the control plane decides."""
    url = viewer.control_url + SELECT_CLUSTER
    answer = await viewer.client.unary(url, request, SelectClusterResponse)
    return str(answer.cluster_endpoint).rstrip("/")


def spec(value: str) -> definition.SecretSpec:
    """Return a secret's value as it is sent: long, so that it repeats in memory."""
    return definition.SecretSpec(string_value=" ".join([value] * 8))
