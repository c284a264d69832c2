"""flyteadmin signs URLs without touching the store: one object, one verb, for whoever may."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from control_cast import RUNS, RpcError, create_request, now, run_id, running, settings, task_spec
from flyteidl2.cluster import payload_pb2 as routes
from flyteidl2.common import identifier_pb2
from flyteidl2.dataproxy import dataproxy_service_pb2 as wire
from flyteidl2.task import task_service_pb2

from control_stub.runs import RunKey
from control_stub.settings import FlyteadminSettings
from control_stub.signing import Signer
from tunnel.settings import SettingError

PROXY = "flyteidl2.dataproxy.DataProxyService"
KEY = RunKey("acme", "p1", "development", "r")
STORE = "http://127.0.0.1:9000"
MD5 = hashlib.md5(b"bundle").digest()
FAST = "s3://planesplit-fast-registration"
BUNDLE = f"{FAST}/acme/p1/development/{MD5.hex()}/fast.tgz"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    secret = tmp_path / "flyteadmin.secret"
    secret.write_text("the secret key\n")
    admin = FlyteadminSettings(STORE, "FLYTEADMIN", str(secret))
    return settings(flyteadmin=admin, db_file=str(tmp_path / "control.db"))


def _upload(**changes: Any) -> wire.CreateUploadLocationRequest:
    fields = {"project": "p1", "domain": "development", "filename": "fast.tgz", "content_md5": MD5}
    return wire.CreateUploadLocationRequest(**{**fields, **changes})


def _attempt(kind: int, **changes: Any) -> wire.CreateDownloadLinkRequest:
    action = identifier_pb2.ActionIdentifier(run=run_id(KEY), name="a0")
    attempt = identifier_pb2.ActionAttemptIdentifier(action_id=action, attempt=1)
    return wire.CreateDownloadLinkRequest(artifact_type=kind, action_attempt_id=attempt, **changes)


async def test_clients_are_sent_here_only_where_it_signs(autojump_clock: Any, config: Any) -> None:
    where = identifier_pb2.ProjectIdentifier(name="p1", domain="development")
    operation = routes.SelectClusterRequest.OPERATION_CREATE_UPLOAD_LOCATION
    request = routes.SelectClusterRequest(operation=operation, project_id=where)
    for one, here in ((config, True), (settings(), False)):
        async with running(one) as cast:
            alice = await cast.caller("alice")
            found = await alice.call("flyteidl2.cluster.ClusterService", "SelectCluster", request)
            assert (found.cluster_endpoint == "") is here
            if not here:
                response = await cast.http.post(f"/{PROXY}/CreateUploadLocation")
                assert response.status_code in (404, 415)
            nobody = await cast.caller()
            with pytest.raises(RpcError) as error:
                await nobody.call("flyteidl2.cluster.ClusterService", "SelectCluster", request)
            assert error.value.code == "unauthenticated"


async def test_an_upload_is_one_put_with_its_checksum(autojump_clock: Any, config: Any) -> None:
    async with running(config) as cast:
        alice = await cast.caller("alice")
        answer = await alice.call(PROXY, "CreateUploadLocation", _upload(content_length=6))
        assert answer.native_url == BUNDLE
        url = urlsplit(answer.signed_url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        assert url.path == f"/planesplit-fast-registration/acme/p1/development/{MD5.hex()}/fast.tgz"
        assert query["X-Amz-Expires"] == "3600"
        assert query["X-Amz-Credential"].startswith("FLYTEADMIN/")
        assert {"content-length", "content-md5"} <= set(query["X-Amz-SignedHeaders"].split(";"))
        assert set(answer.headers) == {"Content-MD5", "Content-Length"}
        assert answer.expires_at.seconds == int(now()) + 3600


async def test_a_report_and_code_are_one_get_each(autojump_clock: Any, config: Any) -> None:
    async with running(config) as cast:
        alice = await cast.caller("alice")
        request = create_request("r")
        request.task_spec.CopyFrom(task_spec(("a0", "--tgz", BUNDLE)))
        await alice.call(RUNS, "CreateRun", request)
        expected = {
            wire.ARTIFACT_TYPE_REPORT: f"/planesplit-metadata/{'/'.join(KEY)}/a0/1/report.html",
            wire.ARTIFACT_TYPE_CODE_BUNDLE: urlsplit(BUNDLE.replace("s3://", STORE + "/")).path,
        }
        for kind, path in expected.items():
            answer = await alice.call(PROXY, "CreateDownloadLink", _attempt(kind))
            [url] = answer.pre_signed_urls.signed_url
            assert urlsplit(url).path == path
        task = task_service_pb2.DeployTaskRequest(spec=request.task_spec)
        task.task_id.project, task.task_id.domain = "p1", "development"
        task.task_id.name, task.task_id.version = "ml.train", "v1"
        await alice.call("flyteidl2.task.TaskService", "DeployTask", task)
        request = wire.CreateDownloadLinkRequest(
            artifact_type=wire.ARTIFACT_TYPE_CODE_BUNDLE, task_id=task.task_id
        )
        answer = await alice.call(PROXY, "CreateDownloadLink", request)
        assert MD5.hex() in answer.pre_signed_urls.signed_url[0]


@pytest.mark.parametrize(
    "uri",
    [
        BUNDLE.replace("acme", "globex"),
        BUNDLE.replace("p1", "p2"),
        "s3://somebody-elses-bucket/acme/p1/development/x/y",
        BUNDLE.replace("fast.tgz", "../../../../globex/x"),
        "file:///etc/passwd",
    ],
)
async def test_a_command_cannot_name_what_is_not_its_own(
    autojump_clock: Any, config: Any, uri: str
) -> None:
    async with running(config) as cast:
        alice = await cast.caller("alice")
        request = create_request("r")
        request.task_spec.CopyFrom(task_spec(("a0", "--tgz", uri)))
        await alice.call(RUNS, "CreateRun", request)
        with pytest.raises(RpcError, match="not_found: no such artifact"):
            await alice.call(PROXY, "CreateDownloadLink", _attempt(wire.ARTIFACT_TYPE_CODE_BUNDLE))


async def test_who_may_and_what_is_refused(autojump_clock: Any, config: Any) -> None:
    codes = {"alice": "ok", "carol": "ok", "vic": "permission_denied"}
    codes |= {"bob": "not_found", "": "unauthenticated"}
    async with running(config) as cast:
        alice = await cast.caller("alice")
        await alice.call(RUNS, "CreateRun", create_request("r"))
        report = _attempt(wire.ARTIFACT_TYPE_REPORT)
        for name, code in codes.items():
            caller = await cast.caller(name)
            upload = _upload(org="acme")
            assert await _code(caller, "CreateUploadLocation", upload) == code
            reads = "ok" if name in ("alice", "carol", "vic") else code
            assert await _code(caller, "CreateDownloadLink", report) == reads
        longer = {"expires_in": {"seconds": 3601}}
        for request in (
            _upload(**longer),
            _upload(content_md5=b"short"),
            _upload(filename="../x"),
            _upload(filename_root="a/b"),
        ):
            assert await _code(alice, "CreateUploadLocation", request) == "invalid_argument"
        for link in (_attempt(1, **longer), wire.CreateDownloadLinkRequest(artifact_type=1)):
            assert await _code(alice, "CreateDownloadLink", link) == "invalid_argument"


async def _code(caller: Any, method: str, request: Any) -> str:
    try:
        await caller.call(PROXY, method, request)
    except RpcError as error:
        return error.code
    return "ok"


async def test_no_url_is_kept(autojump_clock: Any, config: Any) -> None:
    async with running(config) as cast:
        alice = await cast.caller("alice")
        answer = await alice.call(PROXY, "CreateUploadLocation", _upload())
        signature = parse_qs(urlsplit(answer.signed_url).query)["X-Amz-Signature"][0]
        assert signature not in str(cast.journal)
        assert "the secret key" not in str(cast.journal)
    dump = "\n".join(sqlite3.connect(config.db_file).iterdump())
    assert signature not in dump
    assert "X-Amz" not in dump
    signed = Signer(config.flyteadmin, now).url("GET", "b", "k", 5)
    assert signed.url not in repr(signed)


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"secret_file": "/nonexistent"}, "flyteadmin.secret_file"),
        ({"endpoint_url": "http://store.example"}, "flyteadmin.endpoint_url"),
        ({"endpoint_url": "store:9000"}, "flyteadmin.endpoint_url"),
    ],
)
def test_what_cannot_sign_says_why(config: Any, changes: dict[str, str], setting: str) -> None:
    given = {"secret_file": config.flyteadmin.secret_file, "endpoint_url": STORE, **changes}
    with pytest.raises(SettingError, match=setting):
        Signer(FlyteadminSettings(access_key="a", **given), now)
