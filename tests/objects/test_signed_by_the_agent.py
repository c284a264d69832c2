"""What the agent signs and asks, at our store and at SeaweedFS; boto3 signs the same URLs."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from object_stage import FAST, META, REGION, SECRETS, access_key
from s3_peers import Peer, ours, seaweedfs

from compute_agent.objects.keys import Place
from compute_agent.objects.objects import Objects
from compute_agent.objects.settings import ObjectSettings, StoreIdentity
from compute_agent.objects.signer import Identity
from compute_agent.objects.store import StoreRefused, TooLarge

pytestmark = pytest.mark.integration

BODY = b"a code bundle, or a report"
MD5 = hashlib.md5(BODY)
HEADERS = {
    "Content-MD5": base64.b64encode(MD5.digest()).decode(),
    "Content-Length": str(len(BODY)),
}
ODD = "acme/demo/dev/x/a b+c~(ü)&=?#%41.tar.gz"


@pytest.fixture(scope="module", params=["ours", "seaweedfs"])
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    start = {"ours": ours, "seaweedfs": seaweedfs}[request.param]
    with ExitStack() as stack:
        try:
            running = stack.enter_context(start(tmp_path_factory.mktemp(request.param)))
        except RuntimeError as error:
            pytest.skip(f"NOT TESTED against the real peer: {error}")
        yield running


@pytest.fixture
def objects(peer: Peer, tmp_path: Path) -> Objects:
    identities = []
    for name in ("executor", "proxy-system"):
        (tmp_path / name).write_text(SECRETS[name])
        identities.append(StoreIdentity(access_key(name), str(tmp_path / name)))
    return Objects.open(ObjectSettings(peer.url, *identities), time.time)


async def test_the_agents_own_requests(objects: Objects) -> None:
    store, place = objects.store, Place(META, ODD)
    assert await store.head(Identity.EXECUTOR, Place(META, ODD + "not")) is None
    assert await store.get(Identity.EXECUTOR, Place(META, ODD + "not"), 99) is None
    await store.put(Identity.EXECUTOR, place, BODY, "text/html")
    found = await store.head(Identity.PROXY_SYSTEM, place)
    assert found is not None
    assert (found.size_bytes, found.md5) == (len(BODY), MD5.hexdigest())
    assert await store.get(Identity.PROXY_SYSTEM, place, len(BODY)) == BODY
    with pytest.raises(TooLarge):
        await store.get(Identity.PROXY_SYSTEM, place, len(BODY) - 1)
    with pytest.raises(StoreRefused) as caught:
        await store.put(Identity.PROXY_SYSTEM, place, BODY, "text/html")
    assert caught.value.status == 403, "proxy-system may only read"
    await store.put(Identity.EXECUTOR, Place(META, "acme/empty"), b"", "text/html")
    assert await store.get(Identity.PROXY_SYSTEM, Place(META, "acme/empty"), 0) == b""


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_staging_copies(objects: Objects, size: int) -> None:
    content = bytes(range(250)) * (size // 250) + b"x" * (size % 250)
    source, target = Place(FAST, f"acme/demo/dev/{size}/f"), Place(META, f"acme/demo/dev/b/{size}")
    await objects.store.put(Identity.EXECUTOR, source, content, "application/gzip")
    for _ in range(2):
        assert await objects.store.copy(Identity.EXECUTOR, source, target)
    assert await objects.store.get(Identity.PROXY_SYSTEM, target, size) == content
    assert not await objects.store.copy(Identity.EXECUTOR, Place(FAST, "nothing"), target)


async def test_presigned(objects: Objects) -> None:
    place = Place(FAST, ODD.replace(".tar", "2.tar"))
    put = objects.signer.url(Identity.EXECUTOR, "PUT", place, 60, HEADERS)
    get = objects.signer.url(Identity.EXECUTOR, "GET", place, 60)
    async with httpx.AsyncClient() as client:
        changed = {**HEADERS, "Content-MD5": base64.b64encode(b"0" * 16).decode()}
        assert (await client.put(put.url, content=BODY, headers=changed)).status_code == 403
        assert (await client.put(put.url, content=BODY, headers=HEADERS)).status_code == 200
        assert (await client.get(get.url)).content == BODY
        assert (await client.get(put.url)).status_code == 403
        assert (await client.get(get.url[:-1] + "g")).status_code == 403


async def test_boto3_signs_alike(objects: Objects, peer: Peer) -> None:
    place = Place(META, ODD)
    params = {"Bucket": META, "Key": ODD}
    for _ in range(5):  # both may fall into different seconds
        signed = objects.signer.url(Identity.PROXY_SYSTEM, "GET", place, 60)
        theirs = peer.client("proxy-system").generate_presigned_url(
            "get_object", Params=params, ExpiresIn=60
        )
        one, two = (parse_qs(urlsplit(url).query) for url in (signed.url, theirs))
        if one["X-Amz-Date"] == two["X-Amz-Date"]:
            break
    assert one == two
    assert one["X-Amz-Credential"][0].endswith(f"/{REGION}/s3/aws4_request")
