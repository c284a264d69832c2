"""The Kubernetes API stand-in beyond pods: secrets, events, pages, logs, tokens, forms."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from event_cast import stage
from hypothesis import given, settings
from hypothesis import strategies as st

from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.kubernetes.logs import read_log
from customer_stub.rotation import LogFile
from customer_stub.settings import CustomerSettings
from kube.server.log_options import LogOptions
from kube.server.secrets import MAX_SECRET_BYTES
from kube.server.status import ApiError
from kube.server.tokens import TokenFile, Tokens, User
from planesplit.split.memory_http import AsgiTransport
from policy.bindings import MASTERS
from tunnel.journal import Journal
from tunnel.settings import SettingError

ADMIN = Tokens({"t": User("admin", frozenset({MASTERS}))})


def secret(name: str = "s", **fields: Any) -> dict[str, Any]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, **fields}


class Client:
    """The API over HTTP in memory."""

    def __init__(self, root: Path, nursery: trio.Nursery, **options: Any) -> None:
        bounds = CustomerSettings(log_root=str(root / "logs"), insecure=True, **options)
        journal = Journal("customer", write=lambda line: None)
        self.cluster = Cluster(bounds, journal=journal, first_version=1000)
        app = kubernetes_api(self.cluster, ADMIN, bounds, journal)
        self._client = httpx.AsyncClient(
            base_url="http://k8s", transport=AsgiTransport(lambda: app, nursery.start_soon)
        )

    async def __call__(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any]:
        headers = {"authorization": "Bearer t", **options.pop("headers", {})}
        answer = await self._client.request(method, path, json=body, headers=headers, **options)
        return answer.status_code, answer.json()


SECRETS = "/api/v1/namespaces/union/secrets"


async def test_secrets_over_http(tmp_path: Path, nursery: trio.Nursery) -> None:
    call = Client(tmp_path, nursery)
    text = {"a": "plain", "b": "other"}
    code, made = await call("POST", SECRETS, secret(data={"a": "AAE="}, stringData=text))
    assert code == 201
    assert (made["type"], sorted(made["data"])) == ("Opaque", ["a", "b"])
    assert base64.b64decode(made["data"]["a"]) == b"plain", "stringData wins, as in Kubernetes"
    assert (await call("POST", SECRETS, secret()))[1]["reason"] == "AlreadyExists"
    stale = secret(data={})
    stale["metadata"]["resourceVersion"] = "1"
    assert (await call("PUT", f"{SECRETS}/s", stale))[1]["reason"] == "Conflict"
    code, changed = await call("PUT", f"{SECRETS}/s", secret(data={"c": "Yw=="}))
    assert (code, changed["data"]) == (200, {"c": "Yw=="})
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    code, answer = await call("PUT", f"{SECRETS}/s", secret(type="other"))
    assert (code, answer["details"]["causes"][0]["field"]) == (422, "type")
    assert (await call("PUT", f"{SECRETS}/x", secret("x")))[0] == 404
    assert (await call("PUT", f"{SECRETS}/x", secret("y")))[0] == 404
    assert (await call("DELETE", f"{SECRETS}/s"))[1]["status"] == "Success"
    assert (await call("DELETE", f"{SECRETS}/s"))[0] == 404
    _, spaces = await call("GET", "/api/v1/namespaces")
    names = [item["metadata"]["name"] for item in spaces["items"]]
    assert names == ["default", "kube-system", "union"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (secret(data={"a": "not base64!"}), 400),
        (secret(data={"a": 7}), 400),
        (secret(data=[]), 201),
        (secret(data=["a"]), 400),
        (secret(data={"a/b": ""}), 422),
        (secret(data={"..": ""}), 422),
        (secret("UPPER"), 422),
        (secret(type=7), 422),
        (secret(hidden=1), 422),
        (secret(type="kubernetes.io/dockerconfigjson"), 422),
        (secret(data={"a": base64.b64encode(b"x" * (MAX_SECRET_BYTES + 1)).decode()}), 422),
        (secret(data={"a": base64.b64encode(b"x" * MAX_SECRET_BYTES).decode()}), 201),
        ({"kind": "Pod"}, 400),
        ([], 400),
    ],
)
async def test_bad_secrets(tmp_path: Path, nursery: trio.Nursery, body: Any, code: int) -> None:
    call = Client(tmp_path, nursery)
    status, answer = await call("POST", SECRETS, body)
    assert status == code
    assert "not base64!" not in json.dumps(answer)


async def test_a_quota_of_secrets(tmp_path: Path, nursery: trio.Nursery) -> None:
    call = Client(tmp_path, nursery, max_secrets=1)
    assert (await call("POST", SECRETS, secret("a")))[0] == 201
    assert (await call("POST", SECRETS, secret("b")))[0] == 403


async def test_pages_and_forms(tmp_path: Path, nursery: trio.Nursery) -> None:
    call = Client(tmp_path, nursery, event_history=20)
    for number in range(7):
        await call("POST", SECRETS, secret(f"s{number}", stringData={"a": "hush"}))
    seen, query = [], {"limit": "3"}
    while True:
        _, page = await call("GET", SECRETS, params=query)
        seen += [item["metadata"]["name"] for item in page["items"]]
        if not (after := page["metadata"].get("continue")):
            break
        query["continue"] = after
        first = page
        await call("POST", SECRETS, secret(f"z{len(seen)}"))  # a list may change meanwhile
    assert seen == [*(f"s{number}" for number in range(7)), "z3", "z6"]
    assert first["metadata"]["remainingItemCount"] == 1 + 1
    for _ in range(20):
        call.cluster.secrets.delete("union", "s0")
        call.cluster.secrets.create("union", secret("s0"))
    assert (await call("GET", SECRETS, params=query))[1]["reason"] == "Expired"
    assert (await call("GET", SECRETS, params={"continue": "?"}))[0] == 400
    forms = "application/json;as={};v=v1;g=meta.k8s.io"
    for form in ("PartialObjectMetadataList", "PartialObjectMetadata", "Table"):
        _, listed = await call("GET", SECRETS, headers={"accept": forms.format(form)})
        assert listed["kind"] == ("Table" if form == "Table" else "PartialObjectMetadataList")
        assert "aHVzaA==" not in json.dumps(listed)
    _, one = await call(
        "GET", f"{SECRETS}/s1", headers={"accept": forms.format("PartialObjectMetadata")}
    )
    assert set(one) == {"kind", "apiVersion", "metadata"}
    _, missing = await call("GET", f"{SECRETS}/no", headers={"accept": forms.format("Table")})
    assert missing["kind"] == "Status"


async def test_what_is_served(tmp_path: Path, nursery: trio.Nursery) -> None:
    call = Client(tmp_path, nursery)
    for path in ("/api", "/api/v1", "/apis", "/apis/authorization.k8s.io/v1"):
        assert (await call("GET", path))[0] == 200
        assert (await call("POST", path, {}))[0] == 405
    assert (await call("GET", "/apis/apps/v2"))[0] == 404
    _, nodes = await call("GET", "/api/v1/nodes")
    assert int(nodes["items"][0]["status"]["capacity"]["cpu"]) == os.cpu_count()
    for path in (
        "/api/v1/namespaces/a/nodes",
        "/api/v1/pods/x",
        "/api/v1/namespaces/a/jobs",
        "/api/v1/namespaces/a/pods/x/exec",
    ):
        assert (await call("GET", path))[0] == 404
    for method, path in (("POST", "events/x"), ("PUT", "events"), ("PATCH", "pods")):
        assert (await call(method, f"/api/v1/namespaces/union/{path}", {}))[0] == 405
    assert (await call("GET", "/_planesplit/rows"))[0] == 404
    review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for body in ({}, [], {"spec": {"resourceAttributes": {"verb": 7}}}):
        assert (await call("POST", review, body))[0] == 400


async def test_requests_that_two_parsers_read_differently(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    call = Client(tmp_path, nursery)
    both = {"content-length": "2", "transfer-encoding": "chunked"}
    code, answer = await call("POST", SECRETS, secret(), headers=both)
    assert (code, answer["message"]) == (400, "the request's framing is ambiguous")


async def test_a_watch_list_says_where_the_beginning_ends(
    tmp_path: Path, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    call = Client(tmp_path, nursery)
    call.cluster.secrets.create("union", secret())
    events = call.cluster.secrets.watch("union", bookmarks=True, initial_end=True)
    assert (await anext(events))["type"] == "ADDED"
    mark = (await anext(events))["object"]["metadata"]
    assert mark["annotations"] == {"k8s.io/initial-events-end": "true"}
    await events.aclose()  # type: ignore[attr-defined]


async def test_events_are_forgotten_by_number(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path, max_events=10) as on:
        pod = on.create("plain", "--rate", "0.001")
        for number in range(30):
            on.recorder.normal(pod, "Note", f"note {number}")
        on.recorder.normal(pod, "Note", "note 29")
        on.recorder.normal(pod, "Note", "note 0")  # forgotten: a new event, not a repetition
        kept = on.world.cluster.objects.kinds["events"].list(None)["items"]
        assert len(kept) == 10
        counts = {event["message"]: event["count"] for event in kept}
        assert (counts["note 29"], counts["note 0"]) == (2, 1)


def test_tokens_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text("one,alice,1\n")
    tokens = TokenFile(str(file))

    def replace(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(file)

    assert tokens.authenticate("Bearer one").name == "alice"
    replace("two,bob,2\n")
    assert tokens.authenticate("Bearer two").name == "bob"
    with pytest.raises(ApiError):
        tokens.authenticate("Bearer one")
    replace("nonsense\n")
    assert tokens.authenticate("Bearer two").name == "bob", "a bad file changes nothing"
    file.unlink()
    assert tokens.authenticate("Bearer two").name == "bob"
    with pytest.raises(SettingError):
        TokenFile(str(file))


def _record(number: int, partial: bool = False) -> bytes:
    tag = "P" if partial else "F"
    return f"2026-01-01T00:00:{number % 60:02}Z stdout {tag} text {number}\n".encode()


@given(
    st.lists(st.tuples(st.integers(0, 99), st.booleans()), max_size=30),
    st.integers(40, 400),
    st.integers(1, 40),
)
@settings(max_examples=40, deadline=None)
def test_logs_over_rotations(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[int, bool]],
    rotate_bytes: int,
    last: int,
) -> None:
    path = tmp_path_factory.mktemp("log") / "0.log"
    records = [*records, (7, False)]
    log = LogFile(path, rotate_bytes=rotate_bytes, rotate_files=99)

    async def read(options: LogOptions) -> bytes:
        return b"".join([piece async for piece in read_log(path, options, lambda: True)])

    for number, partial in records:
        log.append(_record(number, partial))
    log.close()
    trio.run(log.tend)  # packs what was rotated
    whole = b"".join(b"text %d%b" % (n, b"" if partial else b"\n") for n, partial in records)
    assert trio.run(read, LogOptions()) == whole
    tail = [b"text %d%b" % (n, b"" if partial else b"\n") for n, partial in records[-last:]]
    assert trio.run(read, LogOptions(tail_lines=last)) == b"".join(tail)
    assert trio.run(read, LogOptions(limit_bytes=5)) == whole[:5]
    stamped = trio.run(read, LogOptions(timestamps=True))
    assert stamped.count(b"2026-01-01T00:00:") == 1 + sum(
        not partial for _, partial in records[:-1]
    )


async def test_following_over_rotations(tmp_path: Path, autojump_clock: Any) -> None:
    path = tmp_path / "0.log"
    log = LogFile(path, rotate_bytes=100, rotate_files=99)
    over = trio.Event()
    got = bytearray()

    async def follow() -> None:
        async for piece in read_log(path, LogOptions(follow=True), over.is_set):
            got.extend(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for number in range(20):
            log.append(_record(number))
            await trio.sleep(0.07)
        log.append(_record(20))
        over.set()
    assert bytes(got) == b"".join(b"text %d\n" % n for n in range(21))
    log.close()
