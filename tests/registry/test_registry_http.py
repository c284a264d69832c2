"""The registry over HTTP: pull, push in every way, digests, credentials, limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from registry_stage import Stage, archive

from customer_stub.registry.build import Image, build_image
from customer_stub.registry.demo import demo_image, publish
from customer_stub.registry.names import OCI_INDEX, OCI_MANIFEST, digest_of, parse_reference
from customer_stub.registry.settings import RegistrySettings
from customer_stub.registry.store import RegistryStore
from tunnel.settings import SettingError

BLOB = b"a layer" * 1000
DIGEST = digest_of(BLOB)
WRONG = digest_of(b"something else")


def errors(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


async def begin(stage: Stage, query: str = "", **options: Any) -> httpx.Response:
    return await stage.pusher.post(f"/v2/team/app/blobs/uploads/{query}", **options)


async def push(stage: Stage, image: Image, name: str = "team/app", tag: str = "v1") -> None:
    for digest, blob in image.blobs.items():
        path = f"/v2/{name}/blobs/uploads/?digest={digest}"
        assert (await stage.pusher.post(path, content=blob)).status_code == 201
    headers = {"content-type": OCI_MANIFEST}
    path = f"/v2/{name}/manifests/{tag}"
    answer = await stage.pusher.put(path, content=image.manifest, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["docker-content-digest"] == image.digest


async def test_credentials(registry: Stage) -> None:
    answer = await registry.anyone.get("/v2/")
    assert errors(answer) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert (await registry.puller.get("/v2/")).json() == {}
    assert (await registry.pusher.get("/v2/")).status_code == 200
    bearer = {"authorization": "Bearer pull-secret"}
    assert (await registry.anyone.get("/v2/", headers=bearer)).status_code == 200
    for value in ("Bearer x", "Basic !", "Basic a3ViZWxldDp4", "Digest x", "Basic /w=="):
        answer = await registry.anyone.get("/v2/", headers={"authorization": value})
        assert answer.status_code == 401
    for method, path in (
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v1"),
        ("DELETE", f"/v2/a/blobs/uploads/{'0' * 32}"),
    ):
        assert errors(await registry.puller.request(method, path)) == (403, "DENIED")


async def test_an_image_goes_in_and_out(registry: Stage) -> None:
    image = build_image([archive(("bin/x", "#!/bin/sh", None))], entrypoint=["x"])
    await push(registry, image)
    for wanted in ("v1", image.digest):
        answer = await registry.puller.get(f"/v2/team/app/manifests/{wanted}")
        assert answer.content == image.manifest
        assert answer.headers["content-type"] == OCI_MANIFEST
        assert answer.headers["docker-content-digest"] == image.digest
    head = await registry.puller.head("/v2/team/app/manifests/v1")
    assert (head.headers["content-length"], head.content) == (str(len(image.manifest)), b"")
    for digest, blob in image.blobs.items():
        assert (await registry.puller.get(f"/v2/team/app/blobs/{digest}")).content == blob
    assert (await registry.puller.get("/v2/team/app/tags/list")).json()["tags"] == ["v1"]


async def test_ranges_of_a_blob(registry: Stage) -> None:
    await begin(registry, f"?digest={DIGEST}", content=BLOB)
    path = f"/v2/team/app/blobs/{DIGEST}"
    answer = await registry.puller.get(path, headers={"range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, BLOB[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(BLOB)}"
    rest = await registry.puller.get(path, headers={"range": "bytes=6990-"})
    assert rest.content == BLOB[6990:]
    none = await registry.puller.get(path, headers={"range": "bytes=7000-"})
    assert errors(none) == (416, "RANGE_INVALID")
    assert registry.rows.report()["A7"] == {"up": len(BLOB), "down": 20}


async def test_a_push_in_pieces(registry: Stage) -> None:
    place = (await begin(registry)).headers["location"]
    half = len(BLOB) // 2
    first = await registry.pusher.patch(place, content=BLOB[:half])
    assert (first.status_code, first.headers["range"]) == (202, f"0-{half - 1}")
    again = {"content-range": f"0-{half - 1}"}
    refused = await registry.pusher.patch(place, content=BLOB[:half], headers=again)
    assert errors(refused) == (416, "RANGE_INVALID")
    assert (await registry.pusher.get(place)).headers["range"] == f"0-{half - 1}"
    following = {"content-range": f"{half}-{len(BLOB) - 2}"}
    await registry.pusher.patch(place, content=BLOB[half:-1], headers=following)
    done = await registry.pusher.put(f"{place}?digest={DIGEST}", content=BLOB[-1:])
    assert (done.status_code, done.headers["docker-content-digest"]) == (201, DIGEST)
    assert (await registry.puller.get(done.headers["location"])).content == BLOB


async def test_content_of_another_digest_is_refused(registry: Stage) -> None:
    for digest in (WRONG, "sha256:short", "md5:00"):
        answer = await begin(registry, f"?digest={digest}", content=BLOB)
        assert errors(answer) == (400, "DIGEST_INVALID")
    assert registry.store.counts()["blobs"] == 0
    assert not list((registry.root / "registry" / "drafts").iterdir())


async def test_a_damaged_blob_is_not_handed_out(registry: Stage) -> None:
    await begin(registry, f"?digest={DIGEST}", content=BLOB)
    (registry.root / "registry" / "blobs" / DIGEST[7:]).write_bytes(BLOB[::-1])
    answer = await registry.puller.get(f"/v2/team/app/blobs/{DIGEST}")
    assert errors(answer) == (404, "BLOB_UNKNOWN")


async def test_mounting(registry: Stage) -> None:
    await begin(registry, f"?digest={DIGEST}", content=BLOB)
    assert (await begin(registry, f"?mount={DIGEST}&from=a/b")).status_code == 201
    assert (await begin(registry, f"?mount={WRONG}&from=a/b")).status_code == 202


def manifest(**changes: Any) -> bytes:
    config = {"mediaType": "x", "digest": DIGEST, "size": len(BLOB)}
    fields = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize(
    ("body", "media_type", "expected"),
    [
        (manifest(), OCI_MANIFEST, ""),
        (manifest(), "text/plain", "MANIFEST_INVALID"),
        (manifest(), OCI_INDEX, "MANIFEST_INVALID"),
        (b"{", OCI_MANIFEST, "MANIFEST_INVALID"),
        (b"[]", OCI_MANIFEST, "MANIFEST_INVALID"),
        (manifest(schemaVersion=1), OCI_MANIFEST, "MANIFEST_INVALID"),
        (manifest(layers={}), OCI_MANIFEST, "MANIFEST_INVALID"),
        (manifest(layers=[{"digest": "sha256:" + "g" * 64}]), OCI_MANIFEST, "MANIFEST_INVALID"),
        (manifest(layers=[{"digest": WRONG}]), OCI_MANIFEST, "MANIFEST_BLOB_UNKNOWN"),
        (manifest(config=None), OCI_MANIFEST, "MANIFEST_INVALID"),
    ],
)
async def test_manifests(registry: Stage, body: bytes, media_type: str, expected: str) -> None:
    await begin(registry, f"?digest={DIGEST}", content=BLOB)
    headers = {"content-type": media_type}
    answer = await registry.pusher.put("/v2/a/manifests/v1", content=body, headers=headers)
    assert (answer.status_code == 201) is not bool(expected)
    if expected:
        assert errors(answer)[1] == expected
        return
    by_digest = f"/v2/a/manifests/{WRONG}"
    wrong = await registry.pusher.put(by_digest, content=body, headers=headers)
    assert errors(wrong) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/v2/team/app/manifests/v1", 404, "NAME_UNKNOWN"),
        (f"/v2/team/app/blobs/{WRONG}", 404, "BLOB_UNKNOWN"),
        ("/v2/team/app/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/Team/manifests/v1", 400, "NAME_INVALID"),
        (f"/v2/{'a' * 256}/manifests/v1", 400, "NAME_INVALID"),
        (f"/v2/a/blobs/uploads/{'0' * 32}", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("/elsewhere", 400, "NAME_INVALID"),
    ],
)
async def test_what_is_not_there(registry: Stage, path: str, status: int, expected: str) -> None:
    answer = await registry.pusher.get(path)
    assert errors(answer) == (status, expected)


async def test_nothing_is_deleted(registry: Stage) -> None:
    assert errors(await registry.pusher.delete("/v2/a/manifests/v1")) == (405, "UNSUPPORTED")


async def test_limits(tmp_path: Path, nursery: trio.Nursery) -> None:
    stage = Stage(tmp_path, nursery, max_blob_bytes=8000, max_stored_bytes=9000, max_uploads=1)
    place = (await begin(stage)).headers["location"]
    assert errors(await begin(stage)) == (429, "TOOMANYREQUESTS")
    assert (await stage.pusher.patch(place, content=BLOB)).status_code == 202
    assert errors(await stage.pusher.patch(place, content=BLOB)) == (413, "SIZE_INVALID")
    assert errors(await stage.pusher.get(place)) == (404, "BLOB_UPLOAD_UNKNOWN"), "it is over"
    assert (await begin(stage, f"?digest={DIGEST}", content=BLOB)).status_code == 201
    assert errors(await begin(stage, f"?digest={WRONG}", content=BLOB)) == (403, "DENIED")
    place = (await begin(stage)).headers["location"]
    assert (await stage.pusher.delete(place)).status_code == 204
    stage.app._free = 0
    assert errors(await begin(stage)) == (429, "TOOMANYREQUESTS")


async def test_uploads_that_nobody_continues_are_forgotten(
    autojump_clock: Any, tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage = Stage(tmp_path, nursery, max_uploads=1, upload_s=60)
    place = (await begin(stage)).headers["location"]
    await trio.sleep(61)
    assert (await begin(stage)).status_code == 202
    assert (await stage.pusher.get(place)).status_code == 404
    assert len(list((tmp_path / "registry" / "drafts").iterdir())) == 1


async def test_images_outlive_the_process(tmp_path: Path, nursery: trio.Nursery) -> None:
    digest = publish(Stage(tmp_path, nursery).store, "planesplit/workload:latest", demo_image())
    (tmp_path / "registry" / "drafts" / "left-over").write_bytes(b"of a crash")
    second = Stage(tmp_path, nursery)
    answer = await second.puller.get("/v2/planesplit/workload/manifests/latest")
    assert answer.headers["docker-content-digest"] == digest
    counts = second.store.counts()
    assert counts.pop("bytes") > 0
    assert counts == {"repositories": 1, "tags": 1, "blobs": 3}
    assert not list((tmp_path / "registry" / "drafts").iterdir())


def test_a_damaged_index_is_told(tmp_path: Path) -> None:
    RegistryStore(tmp_path, RegistrySettings())
    for text in ("{", "[]", '{"a": {"colour": 1}}'):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(SettingError, match="damaged"):
            RegistryStore(tmp_path, RegistrySettings())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ("a", "latest")),
        ("a/b-c:V1.2", ("a/b-c", "V1.2")),
        (f"a@{DIGEST}", ("a", DIGEST)),
        (f"a:v1@{DIGEST}", ("a", DIGEST)),
        ("A", None),
        ("a:", None),
        ("../a", None),
        ("a@sha256:0", None),
        ("a" * 256, None),
    ],
)
def test_references(text: str, expected: tuple[str, str] | None) -> None:
    found = parse_reference(text)
    assert (found and (found.name, found.wanted)) == expected


async def test_no_secret_or_content_reaches_the_journal(registry: Stage) -> None:
    await registry.anyone.get("/v2/canary/tags/list", headers={"authorization": "Bearer canary"})
    await begin(registry, "?digest=canary", content=b"canary" * 9)
    await registry.puller.get("/v2/canary/tags/list")
    assert len(registry.journal) == 3
    assert "canary" not in "".join(registry.journal)
