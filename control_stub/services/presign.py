"""DataProxyService, where flyteadmin signs URLs itself instead of leaving it to the customer."""

from __future__ import annotations

import base64
import itertools
import re

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.dataproxy import dataproxy_service_pb2 as wire
from flyteidl2.task import task_definition_pb2
from google.protobuf.duration_pb2 import Duration

from control_stub import addresses, tasks
from control_stub.identity import not_found
from control_stub.lists import invalid
from control_stub.services.desk import Desk
from control_stub.services.views import timestamp
from control_stub.signing import Signed, Signer
from control_stub.tasks import TaskKey
from tunnel.messages.rpc import Context

MD5_BYTES = 16
MD5_METADATA = "x-amz-meta-flytecontentmd5"  # where flyte keeps a bundle's digest
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_BUNDLE = ("--tgz", "--pkl")  # options of the task's command that name its code


class PresignService:
    """Handles the two RPCs of `flyteidl2.dataproxy.DataProxyService` that sign URLs.

    Args:
        signer: the identity; it cannot look into the store, so nobody learns what is there.
        ttl_s: default and longest life of a URL, seconds.
    """

    def __init__(self, desk: Desk, signer: Signer, ttl_s: int) -> None:
        self._desk, self._signer, self._ttl_s = desk, signer, ttl_s

    async def create_upload_location(
        self, request: wire.CreateUploadLocationRequest, ctx: Context
    ) -> wire.CreateUploadLocationResponse:
        """Sign the upload of a code bundle; the store refuses another content of the same name."""
        caller = await self._desk.project(ctx, "run", request.org, request.project, request.domain)
        ttl_s, md5 = self._ttl(request.expires_in), request.content_md5
        if len(md5) != MD5_BYTES:
            raise invalid(f"content_md5 must be the content's MD5, {MD5_BYTES} bytes")
        root = request.filename_root or md5.hex()
        if not (_NAME.fullmatch(root) and _NAME.fullmatch(request.filename)):
            raise invalid("filename and filename_root are letters, digits and . _ -")
        headers = {"Content-MD5": base64.b64encode(md5).decode()}
        if request.content_length:
            headers["Content-Length"] = str(request.content_length)
        if request.add_content_md5_metadata:
            headers[MD5_METADATA] = headers["Content-MD5"]
        bucket = self._desk.settings.objects.fast_registration_bucket
        parts = (caller.org, request.project, request.domain, root, request.filename)
        key = "/".join(parts)
        signed = self._signer.url("PUT", bucket, key, ttl_s, headers)
        return wire.CreateUploadLocationResponse(
            signed_url=signed.url,
            native_url=f"s3://{bucket}/{key}",
            expires_at=timestamp(signed.expires_s * 1_000_000_000),
            headers=headers,
        )

    async def create_download_link(
        self, request: wire.CreateDownloadLinkRequest, ctx: Context
    ) -> wire.CreateDownloadLinkResponse:
        """Sign the download of an attempt's report or code, or of a task's code."""
        ttl_s, objects = self._ttl(request.expires_in), self._desk.settings.objects
        kind, source = request.artifact_type, request.WhichOneof("source")
        place: tuple[str, ...]
        if source == "action_attempt_id":
            named = request.action_attempt_id
            _, run = await self._desk.action(ctx, "view", named.action_id)
            uri = addresses.report_uri(objects, run.key, named.attempt or run.attempt)
            place = run.key
            if kind != wire.ARTIFACT_TYPE_REPORT:
                uri = _code(await self._desk.store.call(tasks.get_spec, run.digest))
        elif source == "task_id" and kind == wire.ARTIFACT_TYPE_CODE_BUNDLE:
            place, digest = await self._task(request.task_id, ctx)
            uri = _code(await self._desk.store.call(tasks.get_spec, digest))
        else:
            self._desk.access.caller(ctx)
            raise invalid("set action_attempt_id, or task_id and a code bundle")
        return _links(self._sign(uri, place, ttl_s))

    async def _task(
        self, name: task_definition_pb2.TaskIdentifier, ctx: Context
    ) -> tuple[TaskKey, str]:
        caller = self._desk.access.require(
            ctx, "view", name.org, name.project, name.domain, what="task"
        )
        key = TaskKey(caller.org, name.project, name.domain, name.name, name.version)
        task = await self._desk.store.call(tasks.get, key)
        if task is None:
            raise not_found("task")
        return key, task.digest

    def _sign(self, uri: str, place: tuple[str, ...], ttl_s: int) -> Signed:
        """Sign what lies in the caller's own place: a task's command may name anything."""
        objects = self._desk.settings.objects
        for bucket in (objects.metadata_bucket, objects.fast_registration_bucket):
            if addresses.belongs(bucket, uri, place):
                return self._signer.url("GET", bucket, uri.removeprefix(f"s3://{bucket}/"), ttl_s)
        raise not_found("artifact")

    def _ttl(self, asked: Duration) -> int:
        seconds = asked.seconds + asked.nanos / 1e9
        if seconds and not 1 <= seconds <= self._ttl_s:
            raise ConnectError(Code.INVALID_ARGUMENT, f"a URL lives for 1 to {self._ttl_s} seconds")
        return int(seconds or self._ttl_s)


def _code(spec: task_definition_pb2.TaskSpec) -> str:
    """Return where a task's code lies, as its command says; empty if it does not."""
    words = [*spec.task_template.container.command, *spec.task_template.container.args]
    named = (uri for option, uri in itertools.pairwise(words) if option in _BUNDLE)
    return next(named, "")


def _links(signed: Signed) -> wire.CreateDownloadLinkResponse:
    urls = wire.PreSignedURLs(
        signed_url=[signed.url], expires_at=timestamp(signed.expires_s * 1_000_000_000)
    )
    return wire.CreateDownloadLinkResponse(pre_signed_urls=urls)
