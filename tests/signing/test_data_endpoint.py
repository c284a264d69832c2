"""The data endpoint over real HTTP: who is let in, what goes to the store, what comes back."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.task import common_pb2
from joserfc import jwt
from joserfc.jwk import OKPKey
from signing_stage import ATTEMPT, METADATA, Stage

from compute_agent.access import Access
from compute_agent.data_endpoint.endpoint import DataEndpoint, check_address
from compute_agent.data_endpoint.service import inputs_hash
from compute_agent.data_endpoint.settings import DataSettings, DataTls
from compute_agent.objects.records import Record
from compute_agent.pods import PodStore
from compute_agent.trust import Trust
from tunnel.http.server import open_listener
from tunnel.http.settings import HttpLimits
from tunnel.journal import Journal
from tunnel.messages.planesplit_v1_pb2 import AccessRequest, Binding
from tunnel.row_counts import RowCounts
from tunnel.settings import SettingError

KEY = OKPKey.generate_key("Ed25519", {"kid": "k1"})
ISSUER = "https://control"
SERVICE = "/flyteidl2.dataproxy.DataProxyService/"
PREFIX = "acme/demo/dev/"
QUICK = HttpLimits(grace_s=0.0)


def token(subject: str = "ann", *, key: OKPKey = KEY, **changes: object) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "planesplit", "sub": subject, "org": "acme", "iat": now}
    header = {"alg": "Ed25519", "kid": "k1", "typ": "at+jwt"}
    return jwt.encode(header, {**claims, "exp": now + 60, **changes}, key, algorithms=["Ed25519"])


def trust() -> Trust:
    return Trust("", reread_s=1.0, now_s=time.time, time_s=time.monotonic)


def policy(*bindings: Binding) -> AccessRequest:
    jwks = json.dumps({"keys": [KEY.as_dict(private=False)]})
    return AccessRequest(version=1, issuer=ISSUER, jwks=jwks, bindings=bindings)


CONTRIBUTOR = Binding(subject="ann", role="Contributor", org="acme", project="demo", domain="*")
VIEWER = Binding(subject="bob", role="Viewer", org="acme", project="demo", domain="dev")


class Served:
    def __init__(self, stage: Stage, client: httpx.AsyncClient) -> None:
        self.stage, self.client = stage, client
        self.journal: list[str] = []

    async def call(
        self, method: str, request: Any, bearer: str = "", **headers: str
    ) -> httpx.Response:
        headers = {"content-type": "application/proto", **headers}
        if bearer:
            headers["authorization"] = f"Bearer {bearer}"
        body = request if isinstance(request, bytes) else request.SerializeToString()
        return await self.client.post(SERVICE + method, content=body, headers=headers)


@asynccontextmanager
async def serving(
    tmp_path: Path, *, insecure: bool = False, told: bool = True, **settings: Any
) -> AsyncIterator[Served]:
    stage = Stage(tmp_path)
    access = Access("acme", now_s=time.time, trust=None if insecure else trust())
    if told:
        demo = Binding(subject="demo", role="Admin", org="acme", project="*", domain="*")
        access.put(policy(CONTRIBUTOR, VIEWER, demo))
    lines: list[str] = []
    journal = Journal("agent", write=lines.append, clock=lambda: 0.0)
    endpoint = DataEndpoint(
        "acme",
        DataSettings(http=QUICK, **settings),
        objects=stage.objects,
        access=access,
        access_wait_s=0.05,
        store=PodStore(10),
        tunnel_rows=RowCounts(),
        journal=journal,
    )
    listener = await open_listener("127.0.0.1", 0)
    url = endpoint.url(listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery, httpx.AsyncClient(base_url=url) as client:
        nursery.start_soon(endpoint.run, listener)
        served = Served(stage, client)
        served.journal = lines
        yield served
        nursery.cancel_scope.cancel()


def inputs(**values: str) -> common_pb2.Inputs:
    made = common_pb2.Inputs()
    for name, value in values.items():
        literal = made.literals.add()
        literal.name = name
        literal.value.scalar.primitive.string_value = value
    return made


def upload(org: str = "acme", **fields: Any) -> dataproxy.UploadInputsRequest:
    request = dataproxy.UploadInputsRequest(inputs=inputs(name="bob"), **fields)
    request.project_id.organization, request.project_id.name = org, "demo"
    request.project_id.domain = "dev"
    return request


def action_data(org: str = "acme", project: str = "demo") -> dataproxy.GetActionDataRequest:
    request = dataproxy.GetActionDataRequest()
    run = request.action_id.run
    run.org, run.project, run.domain, run.name = org, project, "dev", "run1"
    request.action_id.name = "a0"
    return request


async def test_inputs_go_in_and_data_comes_out(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.call("UploadInputs", upload(), token())
        data = dataproxy.UploadInputsResponse.FromString(answer.content).offloaded_input_data
        assert data.uri.startswith(f"s3://{METADATA}/{PREFIX}inputs/")
        assert data.inputs_hash == inputs_hash(inputs(name="bob"), set())
        record = Record(inputs=data.uri)
        await served.stage.objects.records.write(ATTEMPT, record, "", "")
        asked = await served.call("GetActionData", action_data(), token("bob"))
        before = dataproxy.GetActionDataResponse.FromString(asked.content)
        assert before.inputs == inputs(name="bob")
        assert not before.HasField("outputs"), "it runs still"
        outputs = common_pb2.Outputs(literals=inputs(o0="hi").literals)
        await served.stage.put(
            METADATA, f"{PREFIX}run1/a0/1/outputs.pb", outputs.SerializeToString()
        )
        asked = await served.call("GetActionData", action_data(), token("bob"))
        after = dataproxy.GetActionDataResponse.FromString(asked.content)
        assert (after.outputs, after.inputs_uri) == (outputs, data.uri)
        rows = (await served.client.get("/_planesplit/rows")).json()
        assert rows["direct"]["A4"]["up"] > 0
        assert rows["direct"]["A4"]["down"] >= len(asked.content)
        assert set(rows["tunnel"]["A4"].values()) == {0}


async def test_what_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        asked = await served.call("GetActionData", action_data(), token("bob"))
        assert (asked.status_code, asked.json()["code"]) == (404, "not_found")
        gone = Record(inputs=f"s3://{METADATA}/{PREFIX}inputs/x/inputs.pb")
        await served.stage.objects.records.write(ATTEMPT, gone, "", "")
        asked = await served.call("GetActionData", action_data(), token("bob"))
        assert asked.json()["code"] == "not_found"
        await served.stage.put(METADATA, f"{PREFIX}inputs/x/inputs.pb", b"\xff\xff")
        asked = await served.call("GetActionData", action_data(), token("bob"))
        assert asked.json()["code"] == "data_loss"
        served.stage.down = True
        asked = await served.call("GetActionData", action_data(), token("bob"))
        assert asked.json()["code"] == "unavailable"


async def test_the_last_attempt_is_found_without_pods(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for number in (1, 2, 3):
            value = inputs(name=str(number)).SerializeToString()
            place = await served.stage.put(METADATA, f"{PREFIX}inputs/{number}/inputs.pb", value)
            attempt = ATTEMPT.numbered(number)
            await served.stage.objects.records.write(attempt, Record(inputs=place.uri), "", "")
        asked = await served.call("GetActionData", action_data(), token("bob"))
        data = dataproxy.GetActionDataResponse.FromString(asked.content)
        assert data.inputs == inputs(name="3")


async def test_a_record_of_others_inputs_is_not_followed(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        theirs = await served.stage.put(METADATA, "acme/other/dev/inputs/x/inputs.pb", b"")
        record = Record(inputs=theirs.uri)
        await served.stage.objects.records.write(ATTEMPT, record, "", "")
        asked = await served.call("GetActionData", action_data(), token("bob"))
        assert asked.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("bearer", "code"),
    [
        (lambda: "", "unauthenticated"),
        (lambda: "nonsense", "unauthenticated"),
        (lambda: token(exp=1), "unauthenticated"),
        (lambda: token(iss="https://else"), "unauthenticated"),
        (lambda: token(aud="else"), "unauthenticated"),
        (lambda: token(key=OKPKey.generate_key("Ed25519", {"kid": "k1"})), "unauthenticated"),
        (lambda: token(org="rival"), "permission_denied"),
        (lambda: token("bob"), "permission_denied"),  # a viewer may not run
        (lambda: token("eve"), "permission_denied"),
    ],
    ids=["none", "nonsense", "ended", "issuer", "audience", "forged", "org", "viewer", "stranger"],
)
async def test_who_is_turned_away(tmp_path: Path, bearer: Callable[[], str], code: str) -> None:
    async with serving(tmp_path) as served:
        answer = await served.call("UploadInputs", upload(), bearer())
        assert answer.json()["code"] == code


async def test_a_stranger_is_turned_away_before_the_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        port = served.client.base_url.port
        assert port
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        head = (
            f"POST {SERVICE}UploadInputs HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n"
            "content-length: 1000000\r\n\r\n"
        )
        async with stream:
            await stream.send_all(head.encode())
            with trio.fail_after(10):
                answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 401"), "nothing of the body was awaited"


async def test_another_scope_is_denied(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for org, project in (("rival", "demo"), ("acme", "other")):
            answer = await served.call("GetActionData", action_data(org, project), token())
            assert answer.json()["code"] == "permission_denied"


async def test_before_it_was_told_who_may_do_what(tmp_path: Path) -> None:
    async with serving(tmp_path, told=False) as served:
        answer = await served.call("UploadInputs", upload(), token())
        assert answer.json()["code"] == "unavailable"


async def test_on_loopback_without_tokens_everybody_is_demo(tmp_path: Path) -> None:
    async with serving(tmp_path, insecure=True) as served:
        answer = await served.call("UploadInputs", upload(org=""))
        assert answer.status_code == 200


async def test_odd_requests(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for request in (dataproxy.UploadInputsRequest(), upload(base_dir="s3://elsewhere")):
            answer = await served.call("UploadInputs", request, token())
            assert answer.json()["code"] == "invalid_argument"
        answer = await served.call("UploadInputs", b"\xff\xff", token())
        assert answer.json()["code"] == "invalid_argument"
        answer = await served.call("TailLogs", b"", token())
        assert answer.status_code in (415, 501), "only data is served here"
        bad = action_data()
        bad.action_id.name = "-"
        assert (await served.call("GetActionData", bad, token())).json()["code"] == (
            "invalid_argument"
        )
        assert (await served.client.post("/_planesplit/rows")).status_code == 404


async def test_sizes(tmp_path: Path) -> None:
    async with serving(tmp_path, message_max_bytes=1_048_576) as served:
        big = dataproxy.UploadInputsRequest(inputs=inputs(name="x" * 1_048_576))
        big.project_id.organization, big.project_id.name, big.project_id.domain = (
            "acme",
            "demo",
            "dev",
        )
        answer = await served.call("UploadInputs", big, token())
        assert answer.json()["code"] == "resource_exhausted"
        small = gzip.compress(upload().SerializeToString())
        encoding = {"content-encoding": "gzip", "accept-encoding": "gzip"}
        answer = await served.call("UploadInputs", small, token(), **encoding)
        assert answer.status_code == 200, "as flyte's client sends it"
        assert answer.headers["content-encoding"] == "identity", (
            "nobody else waits for a compression"
        )
        await served.stage.put(METADATA, f"{PREFIX}run1/a0/1/inputs.pb", b"x" * 1_048_577)
        answer = await served.call("GetActionData", action_data(), token())
        assert answer.json()["code"] == "resource_exhausted"


def test_hash_of_inputs() -> None:
    one, two = inputs(a="1", b="2"), inputs(a="1", b="3")
    assert inputs_hash(one, set()) != inputs_hash(two, set())
    assert inputs_hash(one, {"b"}) == inputs_hash(two, {"b"})


@pytest.mark.parametrize(
    ("settings", "insecure", "good"),
    [
        (DataSettings(), True, True),
        (DataSettings("0.0.0.0"), False, False),
        (DataSettings("0.0.0.0", tls=DataTls("c", "k")), False, True),
        (DataSettings("10.0.0.1", tls=DataTls("c", "k")), True, False),
    ],
)
def test_nothing_is_open_to_everybody(settings: DataSettings, insecure: bool, good: bool) -> None:
    if good:
        check_address(settings, insecure=insecure)
    else:
        with pytest.raises(SettingError, match=r"data_endpoint\.host"):
            check_address(settings, insecure=insecure)


def test_urls() -> None:
    def url(**settings: Any) -> str:
        access = Access("acme", now_s=time.time, trust=None)
        journal = Journal("agent", write=lambda line: None)
        return DataEndpoint(
            "acme",
            DataSettings(**settings),
            objects=None,
            access=access,
            access_wait_s=0.05,
            store=PodStore(1),
            tunnel_rows=RowCounts(),
            journal=journal,
        ).url(7)

    assert url() == "http://127.0.0.1:7"
    assert url(host="::1") == "http://[::1]:7"
    assert url(public_url="https://data.acme.example/") == "https://data.acme.example"
    with pytest.raises(SettingError, match=r"data_endpoint\.tls"):
        url(tls=DataTls("/nowhere", "/nowhere"))
