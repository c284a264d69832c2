"""Presigned URLs for viewers (Appendix B): one object, one verb, an hour at most.

Every RPC checks the request against the exchange's scope before the store is asked, so nobody
learns whether another's object exists. A URL is a credential: it is in the answer and nowhere else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common import identifier_pb2
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from compute_agent.attempts import Attempt
from compute_agent.exchange import authorised_attempt, check_scope
from compute_agent.objects.keys import BadPlace, Place, Workspace
from compute_agent.objects.objects import Objects
from compute_agent.objects.records import Record, place_in
from compute_agent.objects.rpc import answering
from compute_agent.objects.signer import Identity, Signed
from tunnel.messages import planesplit_v1_pb2 as wire
from tunnel.messages.rpc import Context

REPORT = "report.html"
MD5_BYTES = 16
MD5_METADATA = "x-amz-meta-flytecontentmd5"  # where flyte keeps a bundle's digest
NANOS = 1_000_000_000


class ObjectService:
    """Handles what signs URLs: of DataProxyService, ObjectStoreService and DownloadService.

    Args:
        objects: the store; None if none is configured.
    """

    def __init__(self, objects: Objects | None) -> None:
        self._configured = objects

    async def create_upload_location(
        self, request: dataproxy.CreateUploadLocationRequest, _ctx: Context
    ) -> dataproxy.CreateUploadLocationResponse:
        """Sign the upload of a code bundle (fast registration, Appendix B)."""
        workspace = _workspace(request.org, request.project, request.domain)
        _check_md5(request.content_md5)
        objects, root = self._objects(), request.filename_root or request.content_md5.hex()
        ttl_s = self._ttl(_seconds(request.expires_in))
        async with answering():
            place = objects.layout.upload(workspace, root, request.filename)
            headers = _upload_headers(request.content_md5, request.content_length or None)
            if request.add_content_md5_metadata:
                headers[MD5_METADATA] = headers["Content-MD5"]
            signed = await self._upload(place, ttl_s, request.content_md5, headers)
        return dataproxy.CreateUploadLocationResponse(
            signed_url=signed.url,
            native_url=place.uri,
            expires_at=_timestamp(signed.expires_s),
            headers=signed.headers,
        )

    async def create_download_link(
        self, request: dataproxy.CreateDownloadLinkRequest, _ctx: Context
    ) -> dataproxy.CreateDownloadLinkResponse:
        """Sign the download of an attempt's report or code, or of a task's code."""
        ttl_s = self._ttl(_seconds(request.expires_in))
        kind, source = request.artifact_type, request.WhichOneof("source")
        if source == "action_attempt_id":
            attempt = authorised_attempt(_action(request.action_attempt_id))
            signed = await self._artifact(attempt, kind, ttl_s)
        elif source == "task_id" and kind == dataproxy.ARTIFACT_TYPE_CODE_BUNDLE:
            task = request.task_id
            workspace = _workspace(task.org, task.project, task.domain)
            async with answering():
                records = self._objects().records
                record = await records.of_task(workspace, task.name, task.version)
            signed = await self._bundle(workspace, record, ttl_s)
        elif source == "app_id":
            raise ConnectError(Code.UNIMPLEMENTED, "there are no apps here")
        else:
            raise _invalid("set action_attempt_id, or task_id and a code bundle")
        urls = dataproxy.PreSignedURLs(
            signed_url=[signed.url], expires_at=_timestamp(signed.expires_s)
        )
        return dataproxy.CreateDownloadLinkResponse(pre_signed_urls=urls)

    async def create_download_link_v2(
        self, request: wire.DownloadLinkRequest, _ctx: Context
    ) -> wire.SignedUrl:
        """Sign the download of a report or a code bundle."""
        ttl_s = self._ttl(request.expires_in_s)
        if request.artifact not in _ARTIFACTS:
            raise _invalid("artifact must be a code bundle or a report")
        kind = _ARTIFACTS[request.artifact]
        action = request.action
        if not request.uri:
            return _answer(await self._artifact(authorised_attempt(action), kind, ttl_s))
        if request.artifact != wire.ARTIFACT_CODE_BUNDLE:
            raise _invalid("a report is named by its action")
        workspace = _workspace(action.org, action.project, action.domain)
        place = self._place(workspace, request.uri)
        return _answer(await self._download(place, ttl_s))

    async def sign_download(
        self, request: wire.SignDownloadRequest, _ctx: Context
    ) -> wire.SignedUrl:
        """Sign the download of one object, e.g. inputs or outputs."""
        workspace = _workspace(request.org, request.project, request.domain)
        ttl_s = self._ttl(request.expires_in_s)
        return _answer(await self._download(self._place(workspace, request.uri), ttl_s))

    async def sign_upload(self, request: wire.SignUploadRequest, _ctx: Context) -> wire.SignedUrl:
        """Sign the upload of one object."""
        workspace = _workspace(request.org, request.project, request.domain)
        ttl_s = self._ttl(request.expires_in_s)
        _check_md5(request.content_md5)
        place = self._place(workspace, request.uri)
        headers = _upload_headers(request.content_md5, request.content_length)
        async with answering():
            return _answer(await self._upload(place, ttl_s, request.content_md5, headers))

    async def _artifact(self, attempt: Attempt, kind: int, ttl_s: int) -> Signed:
        workspace = Workspace.of(attempt)
        if kind == dataproxy.ARTIFACT_TYPE_REPORT:
            return await self._download(self._objects().layout.of(attempt, REPORT), ttl_s)
        if kind == dataproxy.ARTIFACT_TYPE_CODE_BUNDLE:
            async with answering():
                record = await self._objects().records.of(attempt)
            return await self._bundle(workspace, record, ttl_s)
        raise _invalid("artifact_type must be a report or a code bundle")

    async def _bundle(self, workspace: Workspace, record: Record | None, ttl_s: int) -> Signed:
        objects = self._objects()
        place = place_in(objects.layout, workspace, record.bundle) if record else None
        if place is None:
            raise ConnectError(Code.NOT_FOUND, "no code bundle is known for this here")
        return await self._download(place, ttl_s)

    async def _download(self, place: Place, ttl_s: int) -> Signed:
        objects = self._objects()
        bundles = place.bucket == objects.layout.bundles
        identity = Identity.EXECUTOR if bundles else Identity.PROXY_SYSTEM
        async with answering():
            if await objects.store.head(identity, place) is None:
                raise ConnectError(Code.NOT_FOUND, "there is no such object")
            return objects.signer.url(identity, "GET", place, ttl_s)

    async def _upload(
        self, place: Place, ttl_s: int, md5: bytes, headers: Mapping[str, str]
    ) -> Signed:
        objects = self._objects()
        there = await objects.store.head(Identity.EXECUTOR, place)
        if there is not None and there.md5 != md5.hex():
            raise ConnectError(Code.ALREADY_EXISTS, "another content has this name")
        return objects.signer.url(Identity.EXECUTOR, "PUT", place, ttl_s, headers)

    def _objects(self) -> Objects:
        if self._configured is None:
            raise ConnectError(Code.UNAVAILABLE, "the object store is not configured")
        return self._configured

    def _ttl(self, asked_s: float) -> int:
        longest_s = self._objects().url_ttl_s
        if asked_s and not 1 <= asked_s <= longest_s:
            raise _invalid(f"a URL lives for 1 to {longest_s:.0f} seconds")
        return int(asked_s or longest_s)

    def _place(self, workspace: Workspace, uri: str) -> Place:
        try:
            place = Place.parse(uri)
        except BadPlace as error:
            raise _invalid(str(error)) from None
        if not self._objects().layout.owns(workspace, place):
            raise ConnectError(Code.PERMISSION_DENIED, "the object is outside of the scope")
        return place


_ARTIFACTS: dict[int, int] = {
    wire.ARTIFACT_CODE_BUNDLE: dataproxy.ARTIFACT_TYPE_CODE_BUNDLE,
    wire.ARTIFACT_REPORT: dataproxy.ARTIFACT_TYPE_REPORT,
}


def _invalid(text: str) -> ConnectError:
    return ConnectError(Code.INVALID_ARGUMENT, text)


def _workspace(org: str, project: str, domain: str) -> Workspace:
    check_scope(org, project, domain)
    return Workspace(org, project, domain)


def _action(of: identifier_pb2.ActionAttemptIdentifier) -> wire.Action:
    run = of.action_id.run
    return wire.Action(
        org=run.org,
        project=run.project,
        domain=run.domain,
        run=run.name,
        action=of.action_id.name,
        attempt=of.attempt,
    )


def _check_md5(digest: bytes) -> None:
    if len(digest) != MD5_BYTES:
        raise _invalid(f"content_md5 must be the content's MD5, {MD5_BYTES} bytes")


def _upload_headers(md5: bytes, length: int | None) -> dict[str, str]:
    """Return what an upload must carry; flyte's client does not tell the length beforehand."""
    headers = {"Content-MD5": base64.b64encode(md5).decode()}
    if length is not None:
        headers["Content-Length"] = str(length)
    return headers


def _seconds(duration: Duration) -> float:
    return float(duration.seconds + duration.nanos / NANOS)


def _timestamp(at_s: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(at_s * NANOS))
    return stamp


def _answer(signed: Signed) -> wire.SignedUrl:
    expires_at = _timestamp(signed.expires_s)
    return wire.SignedUrl(url=signed.url, expires_at=expires_at, headers=signed.headers)
