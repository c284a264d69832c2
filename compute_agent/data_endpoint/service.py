"""DataProxyService for viewers inside the customer's network: inputs and outputs themselves.

They go between viewer and store through the agent and never come near the tunnel (Appendix A, A4).
"""

from __future__ import annotations

import base64
import hashlib
import uuid

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.run_pb2 import OffloadedInputData
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.task import common_pb2
from google.protobuf.message import DecodeError

from compute_agent.access import Access
from compute_agent.attempts import Attempt, BadName
from compute_agent.data_endpoint.settings import DataSettings
from compute_agent.objects.keys import Place, Workspace, check_key
from compute_agent.objects.objects import Objects
from compute_agent.objects.records import Record, place_in
from compute_agent.objects.rpc import answering
from compute_agent.objects.signer import Identity
from compute_agent.pods import PodStore
from tunnel.messages.rpc import Context

PROTOBUF = "application/octet-stream"
OUTPUTS = "outputs.pb"
MAX_ATTEMPTS = 100  # looked through for the last one; nobody retries so often


class DataService:
    """Handles UploadInputs and GetActionData; a caller's token was checked before.

    Args:
        org: the agent's own; taken for a request that names none.
        settings: bounds.
        objects: the store; None if none is configured.
        access: who may do what.
        store: the agent's picture of its pods.
    """

    def __init__(
        self,
        org: str,
        settings: DataSettings,
        objects: Objects | None,
        access: Access,
        store: PodStore,
    ) -> None:
        self._org, self._limit_bytes = org, settings.message_max_bytes
        self._configured, self._access, self._store = objects, access, store

    async def upload_inputs(
        self, request: dataproxy.UploadInputsRequest, ctx: Context
    ) -> dataproxy.UploadInputsResponse:
        """Write the inputs of a run that is about to be made."""
        match request.WhichOneof("id"):
            case "run_id":
                run = request.run_id
                workspace = self._allowed(ctx, "run", run.org, run.project, run.domain)
            case "project_id":
                of = request.project_id
                workspace = self._allowed(ctx, "run", of.organization, of.name, of.domain)
            case _:
                raise _invalid("set run_id or project_id")
        if request.base_dir:
            raise _invalid("inputs go where this cluster keeps them; leave base_dir empty")
        objects, body = self._objects(), request.inputs.SerializeToString()
        async with answering():
            check_key(workspace.prefix.rstrip("/"))
            place = objects.layout.inputs(workspace, uuid.uuid4().hex)
            await objects.store.put(Identity.EXECUTOR, place, body, PROTOBUF)
        ignored = set(request.task_spec.task_template.metadata.cache_ignore_input_vars)
        data = OffloadedInputData(uri=place.uri, inputs_hash=inputs_hash(request.inputs, ignored))
        return dataproxy.UploadInputsResponse(offloaded_input_data=data)

    async def get_action_data(
        self, request: dataproxy.GetActionDataRequest, ctx: Context
    ) -> dataproxy.GetActionDataResponse:
        """Read what an action was given and, once it has ended well, what it returned."""
        run = request.action_id.run
        workspace = self._allowed(ctx, "view", run.org, run.project, run.domain)
        attempt = Attempt(
            workspace.org, run.project, run.domain, run.name, request.action_id.name, 1
        )
        try:
            attempt.check()
        except BadName as error:
            raise _invalid(str(error)) from None
        objects = self._objects()
        async with answering():
            attempt, record = await self._latest(objects, attempt)
            outputs = objects.layout.of(attempt, OUTPUTS)
            uploaded = record and place_in(objects.layout, workspace, record.inputs)
            inputs = uploaded or objects.layout.of(attempt, "inputs.pb")
            given = await self._read(objects, inputs)
            returned = await self._read(objects, outputs)
        if given is None:
            raise ConnectError(Code.NOT_FOUND, "the action's inputs are not, or no more, here")
        return _data(inputs, given, outputs, returned)

    async def _latest(self, objects: Objects, attempt: Attempt) -> tuple[Attempt, Record | None]:
        """Return the last attempt and its record: by pods, and by records where those are gone."""
        attempt = attempt.numbered(self._store.latest(attempt))
        record = await objects.records.of(attempt)
        while record and attempt.attempt < MAX_ATTEMPTS:
            later = await objects.records.of(attempt.numbered(attempt.attempt + 1))
            if later is None:
                break
            attempt, record = attempt.numbered(attempt.attempt + 1), later
        return attempt, record

    async def _read(self, objects: Objects, place: Place) -> bytes | None:
        return await objects.store.get(Identity.PROXY_SYSTEM, place, self._limit_bytes)

    def _allowed(
        self, ctx: Context, permission: str, org: str, project: str, domain: str
    ) -> Workspace:
        org = org or self._org
        subject = self._access.caller(ctx.request_headers.get("authorization", ""))
        if not self._access.permits(subject, org, project, domain, permission):
            raise ConnectError(Code.PERMISSION_DENIED, "there is no such scope, or no right in it")
        return Workspace(org, project, domain)

    def _objects(self) -> Objects:
        if self._configured is None:
            raise ConnectError(Code.UNAVAILABLE, "the object store is not configured")
        return self._configured


def inputs_hash(inputs: common_pb2.Inputs, ignored: set[str]) -> str:
    """Return a digest of inputs without those that the task's cache is to ignore."""
    kept = [literal for literal in inputs.literals if literal.name not in ignored]
    body = common_pb2.Inputs(literals=kept).SerializeToString(deterministic=True)
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _data(
    inputs: Place, given: bytes, outputs: Place, returned: bytes | None
) -> dataproxy.GetActionDataResponse:
    try:
        response = dataproxy.GetActionDataResponse(
            inputs=common_pb2.Inputs.FromString(given), inputs_uri=inputs.uri
        )
        if returned is not None:
            response.outputs.CopyFrom(common_pb2.Outputs.FromString(returned))
            response.outputs_uri = outputs.uri
    except DecodeError:
        raise ConnectError(Code.DATA_LOSS, "the action's data cannot be read") from None
    return response


def _invalid(text: str) -> ConnectError:
    return ConnectError(Code.INVALID_ARGUMENT, text)
