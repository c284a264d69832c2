"""URLs that the agent signs, at a store that verifies them: one object, one verb, one hour."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from connectrpc.code import Code
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st
from signing_stage import ATTEMPT, BUNDLES, METADATA, SCOPE, Stage, exchange, refused

from compute_agent.objects.records import Record
from compute_agent.objects.service import ObjectService
from tunnel.exchange import Scope
from tunnel.messages import planesplit_v1_pb2 as wire

BODY = b"a bundle"
MD5 = hashlib.md5(BODY).digest()
OWN = {"org": "acme", "project": "demo", "domain": "dev"}
KEY = "acme/demo/dev/run1/a0/1/"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    exchange()
    return Stage(tmp_path)


def upload(**fields: object) -> dataproxy.CreateUploadLocationRequest:
    given = {**OWN, "filename": "fast.tar.gz", "content_md5": MD5, **fields}
    return dataproxy.CreateUploadLocationRequest(**given)


def download(uri: str, ttl_s: int = 0, **fields: str) -> wire.SignDownloadRequest:
    return wire.SignDownloadRequest(**{**OWN, **fields}, uri=uri, expires_in_s=ttl_s)


def attempt_link(kind: int, attempt: int = 1) -> dataproxy.CreateDownloadLinkRequest:
    request = dataproxy.CreateDownloadLinkRequest(artifact_type=kind)
    named = request.action_attempt_id
    named.action_id.run.org, named.action_id.run.project = "acme", "demo"
    named.action_id.run.domain, named.action_id.run.name = "dev", "run1"
    named.action_id.name, named.attempt = "a0", attempt
    return request


async def put(stage: Stage, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return await stage.client.put(url, content=body, headers=headers)


async def test_a_bundle_goes_up_and_comes_back(stage: Stage) -> None:
    answer = await stage.service.create_upload_location(upload(), None)
    assert answer.native_url == f"s3://{BUNDLES}/acme/demo/dev/{MD5.hex()}/fast.tar.gz"
    headers = {**answer.headers, "Content-Length": str(len(BODY))}
    assert (await put(stage, answer.signed_url, BODY, headers)).status_code == 200
    signed = await stage.service.sign_download(download(answer.native_url), None)
    assert (await stage.client.get(signed.url)).content == BODY
    again = await stage.service.create_upload_location(upload(), None)
    assert (await put(stage, again.signed_url, BODY, headers)).status_code == 200, "idempotent"


async def test_an_upload_is_good_for_what_was_announced_alone(stage: Stage) -> None:
    answer = await stage.service.create_upload_location(
        upload(content_length=len(BODY), add_content_md5_metadata=True), None
    )
    headers, url = dict(answer.headers), answer.signed_url
    assert headers["Content-Length"] == "8"
    other = b"8 bytes!"
    assert len(other) == len(BODY)
    assert (await put(stage, url, other, headers)).status_code == 400, "another content"
    assert (await put(stage, url, BODY + b"!", {**headers, "Content-Length": "9"})).is_error
    without = {k: v for k, v in headers.items() if k != "Content-MD5"}
    assert (await put(stage, url, BODY, without)).status_code == 403
    elsewhere = url.replace("fast.tar.gz", "fast2.tar.gz")
    assert (await put(stage, elsewhere, BODY, headers)).status_code == 403
    assert (await stage.client.get(url)).status_code == 403, "another verb"
    assert (await put(stage, url, BODY, headers)).status_code == 200


async def test_another_content_under_the_same_name(stage: Stage) -> None:
    await stage.put(BUNDLES, "acme/demo/dev/mine/fast.tar.gz", b"older")
    with refused(Code.ALREADY_EXISTS):
        await stage.service.create_upload_location(upload(filename_root="mine"), None)
    same = {"content_md5": hashlib.md5(b"older").digest(), "filename_root": "mine"}
    assert (await stage.service.create_upload_location(upload(**same), None)).signed_url


async def test_the_store_refuses_what_came_between(stage: Stage) -> None:
    request = upload(filename_root="mine")
    answer = await stage.service.create_upload_location(request, None)
    place = await stage.put(BUNDLES, "acme/demo/dev/mine/fast.tar.gz", b"quicker")
    refusal = await put(stage, answer.signed_url, BODY, dict(answer.headers))
    assert refusal.status_code == 412
    assert await stage.read(place) == b"quicker"


async def test_a_download_is_one_object_one_verb_and_ends(stage: Stage) -> None:
    place = await stage.put(METADATA, KEY + "outputs.pb", b"out")
    await stage.put(METADATA, KEY + "other.pb", b"other")
    url = (await stage.service.sign_download(download(place.uri, 60), None)).url
    assert (await stage.client.get(url)).content == b"out"
    assert (await put(stage, url, b"x", {})).status_code == 403
    assert (await stage.client.get(url.replace("outputs.pb", "other.pb"))).status_code == 403
    longer = url.replace("X-Amz-Expires=60", "X-Amz-Expires=3600")
    assert longer != url
    assert (await stage.client.get(longer)).status_code == 403
    last = url[-1]
    assert (await stage.client.get(url[:-1] + ("0" if last != "0" else "1"))).status_code == 403
    stage.ahead_s = 62
    assert (await stage.client.get(url)).status_code == 403, "it has ended"


async def test_the_right_identity_signs(stage: Stage) -> None:
    report = await stage.put(METADATA, KEY + "report.html", b"<p>")
    bundle = await stage.put(BUNDLES, "acme/demo/dev/x/b.tgz", b"b")

    def signer(url: str) -> str:
        return parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].partition("/")[0]

    for place, name in ((report, "AK-proxy-system"), (bundle, "AK-executor")):
        signed = await stage.service.sign_download(download(place.uri), None)
        assert signer(signed.url) == name
    into = wire.SignUploadRequest(
        **OWN, uri=f"s3://{METADATA}/acme/demo/dev/inputs/i/inputs.pb", content_md5=MD5
    )
    into.content_length = len(BODY)
    signed = await stage.service.sign_upload(into, None)
    assert signer(signed.url) == "AK-executor"
    assert (await put(stage, signed.url, BODY, dict(signed.headers))).status_code == 200


async def test_missing_objects_are_not_found(stage: Stage) -> None:
    with refused(Code.NOT_FOUND):
        await stage.service.sign_download(download(f"s3://{METADATA}/{KEY}outputs.pb"), None)
    for kind in (dataproxy.ARTIFACT_TYPE_REPORT, dataproxy.ARTIFACT_TYPE_CODE_BUNDLE):
        with refused(Code.NOT_FOUND):
            await stage.service.create_download_link(attempt_link(kind), None)


async def test_links_to_reports_and_bundles_outlive_the_pod(stage: Stage) -> None:
    await stage.put(METADATA, KEY + "report.html", b"<p>report")
    bundle = await stage.put(BUNDLES, "acme/demo/dev/x/b.tgz", b"tar")
    await stage.objects.records.write(ATTEMPT, Record(bundle=bundle.uri), "env.main", "v1")
    kinds = {
        dataproxy.ARTIFACT_TYPE_REPORT: b"<p>report",
        dataproxy.ARTIFACT_TYPE_CODE_BUNDLE: b"tar",
    }
    for kind, content in kinds.items():
        link = await stage.service.create_download_link(attempt_link(kind), None)
        (url,) = link.pre_signed_urls.signed_url
        assert (await stage.client.get(url)).content == content
    by_task = dataproxy.CreateDownloadLinkRequest(artifact_type=dataproxy.ARTIFACT_TYPE_CODE_BUNDLE)
    task = by_task.task_id
    task.org, task.project, task.domain, task.name, task.version = *OWN.values(), "env.main", "v1"
    link = await stage.service.create_download_link(by_task, None)
    assert (await stage.client.get(link.pre_signed_urls.signed_url[0])).content == b"tar"
    task.version = "v2"
    with refused(Code.NOT_FOUND):
        await stage.service.create_download_link(by_task, None)
    action = wire.Action(**OWN, run="run1", action="a0", attempt=1)
    for artifact, uri in ((wire.ARTIFACT_REPORT, ""), (wire.ARTIFACT_CODE_BUNDLE, bundle.uri)):
        asked = wire.DownloadLinkRequest(artifact=artifact, action=action, uri=uri)
        signed = await stage.service.create_download_link_v2(asked, None)
        assert (await stage.client.get(signed.url)).status_code == 200


async def test_a_record_cannot_lead_out_of_its_workspace(stage: Stage) -> None:
    other = await stage.put(BUNDLES, "acme/other/dev/x/b.tgz", b"theirs")
    await stage.objects.records.write(ATTEMPT, Record(bundle=other.uri), "", "")
    link = attempt_link(dataproxy.ARTIFACT_TYPE_CODE_BUNDLE)
    with refused(Code.NOT_FOUND):
        await stage.service.create_download_link(link, None)


FOREIGN = (
    f"s3://{METADATA}/acme/other/dev/run1/a0/1/outputs.pb",
    f"s3://{METADATA}/acme/demo/prod/run1/a0/1/outputs.pb",
    f"s3://{METADATA}/rival/demo/dev/run1/a0/1/outputs.pb",
    f"s3://{METADATA}/acme/demo/dev2/x",
    f"s3://{BUNDLES}/acme/other/dev/x/b.tgz",
    "s3://another-bucket/acme/demo/dev/x",
)


@pytest.mark.parametrize("there", [True, False], ids=["there", "absent"])
@pytest.mark.parametrize("number", range(len(FOREIGN)))
async def test_what_is_others_is_denied_alike(stage: Stage, number: int, there: bool) -> None:
    uri = FOREIGN[number]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if there and bucket in (METADATA, BUNDLES):
        await stage.put(bucket, key, b"secret")
    stage.down = True  # nobody even asks
    with refused(Code.PERMISSION_DENIED):
        await stage.service.sign_download(download(uri), None)
    into = wire.SignUploadRequest(**OWN, uri=uri, content_md5=MD5)
    with refused(Code.PERMISSION_DENIED):
        await stage.service.sign_upload(into, None)


@pytest.mark.parametrize("level", ["org", "project", "domain"])
async def test_ids_must_be_those_of_the_exchange(stage: Stage, level: str) -> None:
    exchange(
        Scope(
            **{
                **{n: getattr(SCOPE, n) for n in ("org", "project", "domain", "cluster")},
                level: "else",
            }
        )
    )
    report = attempt_link(dataproxy.ARTIFACT_TYPE_REPORT)
    action = wire.Action(**OWN, run="run1", action="a0", attempt=1)
    v2 = wire.DownloadLinkRequest(artifact=wire.ARTIFACT_REPORT, action=action)
    into = wire.SignUploadRequest(**OWN, uri=FOREIGN[0], content_md5=MD5)
    stage.down = True
    for call, request in (
        (stage.service.create_upload_location, upload()),
        (stage.service.create_download_link, report),
        (stage.service.create_download_link_v2, v2),
        (stage.service.sign_download, download(FOREIGN[0])),
        (stage.service.sign_upload, into),
    ):
        with refused(Code.PERMISSION_DENIED):
            await call(request, None)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("ttl_s", "good"), [(1, True), (3600, True), (3601, False), (2**31, False)]
)
async def test_a_url_lives_for_an_hour_at_most(stage: Stage, ttl_s: int, good: bool) -> None:
    place = await stage.put(METADATA, KEY + "outputs.pb", b"out")
    request = download(place.uri, ttl_s)
    if good:
        url = (await stage.service.sign_download(request, None)).url
        assert f"X-Amz-Expires={ttl_s}&" in url + "&"
    else:
        with refused(Code.INVALID_ARGUMENT):
            await stage.service.sign_download(request, None)
    lasting = upload(expires_in=Duration(seconds=ttl_s))
    if good:
        assert (await stage.service.create_upload_location(lasting, None)).signed_url
    else:
        with refused(Code.INVALID_ARGUMENT):
            await stage.service.create_upload_location(lasting, None)


async def test_an_operator_can_shorten_it(tmp_path: Path) -> None:
    exchange()
    stage = Stage(tmp_path, url_ttl_s=30.0)
    answer = await stage.service.create_upload_location(upload(), None)
    assert "X-Amz-Expires=30&" in answer.signed_url + "&"
    with refused(Code.INVALID_ARGUMENT):
        await stage.service.create_upload_location(upload(expires_in=Duration(seconds=31)), None)
    for odd in (Duration(seconds=-1), Duration(nanos=5)):
        with refused(Code.INVALID_ARGUMENT):
            await stage.service.create_upload_location(upload(expires_in=odd), None)


@pytest.mark.parametrize(
    "fields",
    [
        {"filename": ""},
        {"filename": "a/b"},
        {"filename": ".."},
        {"filename": "x" * 256},
        {"filename": "a\nb"},
        {"filename_root": "../other"},
        {"filename_root": "a//b"},
        {"filename_root": "x" * 1024},
        {"content_md5": b""},
        {"content_md5": b"x" * 15},
    ],
)
async def test_names_that_could_be_read_in_two_ways(
    stage: Stage, fields: dict[str, object]
) -> None:
    with refused(Code.INVALID_ARGUMENT):
        await stage.service.create_upload_location(upload(**fields), None)


@pytest.mark.parametrize(
    "uri", ["", "s3://", "s3://b", "http://b/k", f"s3://{METADATA}/acme/demo/dev/../x/k", "s3:///k"]
)
async def test_what_is_no_uri(stage: Stage, uri: str) -> None:
    with refused(Code.INVALID_ARGUMENT):
        await stage.service.sign_download(download(uri), None)


async def test_a_store_that_is_away(stage: Stage) -> None:
    stage.down = True
    with refused(Code.UNAVAILABLE):
        await stage.service.create_upload_location(upload(), None)
    with refused(Code.UNAVAILABLE):
        await stage.service.sign_download(download(f"s3://{METADATA}/{KEY}outputs.pb"), None)
    with refused(Code.UNAVAILABLE):
        kind = dataproxy.ARTIFACT_TYPE_CODE_BUNDLE
        await stage.service.create_download_link(attempt_link(kind), None)


async def test_a_wrong_secret_is_a_precondition(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "executor").write_text("another secret than the store's\n")
    with refused(Code.FAILED_PRECONDITION) as seen:
        await stage.service.create_upload_location(upload(), None)
    assert "secret" not in seen[0].message
    (tmp_path / "executor").unlink()
    with refused(Code.UNAVAILABLE):
        await stage.service.create_upload_location(upload(), None)


async def test_no_store_is_said(stage: Stage) -> None:
    service = ObjectService(None)
    for call in (
        lambda: service.create_upload_location(upload(), None),
        lambda: service.sign_download(download(FOREIGN[0]), None),
        lambda: service.create_download_link(attempt_link(1), None),
    ):
        with refused(Code.UNAVAILABLE):
            await call()


async def test_odd_requests(stage: Stage) -> None:
    apps = dataproxy.CreateDownloadLinkRequest()
    apps.app_id.name = "app"
    with refused(Code.UNIMPLEMENTED):
        await stage.service.create_download_link(apps, None)
    with refused(Code.INVALID_ARGUMENT):
        await stage.service.create_download_link(dataproxy.CreateDownloadLinkRequest(), None)
    with refused(Code.INVALID_ARGUMENT):
        await stage.service.create_download_link(attempt_link(0), None)
    with refused(Code.INVALID_ARGUMENT):
        kind = dataproxy.ARTIFACT_TYPE_REPORT
        await stage.service.create_download_link(attempt_link(kind, attempt=0), None)
    action = wire.Action(**OWN, run="run1", action="a0", attempt=1)
    for bad in (
        wire.DownloadLinkRequest(action=action),
        wire.DownloadLinkRequest(artifact=wire.ARTIFACT_REPORT, action=action, uri=FOREIGN[0]),
    ):
        with refused(Code.INVALID_ARGUMENT):
            await stage.service.create_download_link_v2(bad, None)


@settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
async def test_any_name_is_refused_or_survives_the_way(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """What is signed is what the store understands, whatever the characters."""
    exchange()
    stage = Stage(tmp_path_factory.mktemp("stage"))
    odd = "/" in name or name in (".", "..") or any(ord(c) < 32 or ord(c) == 127 for c in name)
    if odd:
        with refused(Code.INVALID_ARGUMENT):
            await stage.service.create_upload_location(upload(filename=name), None)
        return
    answer = await stage.service.create_upload_location(upload(filename=name), None)
    headers = {**answer.headers, "Content-MD5": base64.b64encode(MD5).decode()}
    assert (await put(stage, answer.signed_url, BODY, headers)).status_code == 200
    signed = await stage.service.sign_download(download(answer.native_url), None)
    assert (await stage.client.get(signed.url)).content == BODY
