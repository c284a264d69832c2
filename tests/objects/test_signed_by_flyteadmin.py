"""What the control plane signs as flyteadmin passes at the store; its own requests do not."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from object_stage import FAST, META, REGION, SECRETS, access_key
from s3_peers import Peer, ours

from control_stub.settings import FlyteadminSettings
from control_stub.signing import Signer

pytestmark = pytest.mark.integration

BODY = b"a code bundle"
HEADERS = {
    "Content-MD5": base64.b64encode(hashlib.md5(BODY).digest()).decode(),
    "Content-Length": str(len(BODY)),
}
KEY = "acme/demo/dev/d0/fast.tgz"
WHO = "flyteadmin"


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with ours(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def signer(peer: Peer, tmp_path: Path) -> Signer:
    (tmp_path / WHO).write_text(SECRETS[WHO])
    settings = FlyteadminSettings(peer.url, access_key(WHO), str(tmp_path / WHO), REGION)
    return Signer(settings, time.time)


def test_others_upload_and_download_by_its_urls(signer: Signer) -> None:
    with httpx.Client(trust_env=False) as http:
        put = signer.url("PUT", FAST, KEY, 60, HEADERS).url
        assert http.put(put, content=bytes(len(BODY)), headers=HEADERS).status_code >= 400
        assert http.put(put, content=BODY, headers=HEADERS).status_code == 200
        get = signer.url("GET", FAST, KEY, 60).url
        assert http.get(get).content == BODY
        assert http.get(get.replace("fast.tgz", "other")).status_code == 403
        assert http.put(get, content=BODY).status_code == 403


def test_it_cannot_use_the_store_itself(peer: Peer) -> None:
    credentials = Credentials(access_key(WHO), SECRETS[WHO])
    with httpx.Client(trust_env=False) as http:
        for method, bucket in (("GET", FAST), ("PUT", FAST), ("GET", META), ("PUT", META)):
            request = AWSRequest(method, f"{peer.url}/{bucket}/{KEY}", data=BODY)
            S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
            answer = http.request(
                method, request.url, content=BODY, headers=dict(request.headers.items())
            )
            assert answer.status_code == 403
