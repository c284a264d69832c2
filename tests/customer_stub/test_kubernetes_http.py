"""The Kubernetes API over HTTP: verbs, errors, tokens, watches, limits."""

from __future__ import annotations

import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from customer_cast import NAMESPACE, cluster, ended, pod

from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.server import bind
from customer_stub.settings import CustomerSettings, TlsFiles
from kube.server.tokens import DEMO_USER, Tokens, User, read_token_file
from planesplit.pki import Authority
from policy.bindings import MASTERS
from tunnel.journal import Journal
from tunnel.settings import SettingError

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
EXECUTOR = User("system:serviceaccount:union:executor")
TOKENS = Tokens(
    {
        "executor-token": EXECUTOR,
        "reader-token": User("system:serviceaccount:union:proxy-system"),
        "stranger-token": User("stranger"),
        "master-token": User("admin", frozenset({MASTERS})),
    }
)


class Server:
    """A served cluster and ways to talk to it."""

    def __init__(self, target: Cluster, port: int, client: httpx.AsyncClient) -> None:
        self.cluster, self.port, self.client = target, port, client

    async def call(
        self, method: str, path: str, *, token: str = "executor", **options: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}-token", **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)

    async def fails(self, code: int, reason: str, method: str, path: str, **options: Any) -> str:
        """Expect a Status object and return its message."""
        response = await self.call(method, path, **options)
        status = response.json()
        assert (response.status_code, status["code"], status["reason"]) == (code, code, reason)
        assert (status["kind"], status["status"]) == ("Status", "Failure")
        message: str = status["message"]
        return message


@asynccontextmanager
async def served(
    tmp_path: Path, *, tokens: Tokens = TOKENS, ca_file: Path | None = None, **settings: Any
) -> AsyncIterator[Server]:
    settings.setdefault("insecure", True)
    bounds = CustomerSettings(log_root=str(tmp_path / "logs"), **settings)
    scheme = "http" if bounds.insecure else "https"
    journal = Journal("customer", write=lambda line: None)
    async with cluster(tmp_path / "logs", **settings) as target, trio.open_nursery() as nursery:
        target.objects.namespaces.ensure(NAMESPACE)
        app = kubernetes_api(target, tokens, bounds, journal)
        endpoint = bind(bounds)
        port = endpoint.port
        await nursery.start(endpoint.serve, app)
        verify = ssl.create_default_context(cafile=ca_file)
        async with httpx.AsyncClient(
            base_url=f"{scheme}://localhost:{port}", verify=verify
        ) as client:
            yield Server(target, port, client)
        nursery.cancel_scope.cancel()


async def test_a_pod_by_http(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        body = pod("p", container={"command": ["sh", "-c", "echo hello; exit 3"]})
        response = await server.call("POST", PODS, json=body)
        assert response.status_code == 201
        assert response.headers["content-type"] == "application/json"
        created = response.json()
        assert created["status"]["phase"] == "Pending"
        assert created["metadata"]["uid"]
        await ended(server.cluster, "p")
        found = (await server.call("GET", f"{PODS}/p")).json()
        assert found["status"]["phase"] == "Failed"
        listed = (await server.call("GET", "/api/v1/pods")).json()
        assert [item["metadata"]["name"] for item in listed["items"]] == ["p"]
        account = (
            await server.call("GET", f"/_planesplit/produced/{NAMESPACE}/p", token="master")
        ).json()
        assert (account["lines"], account["bytes"], account["uid"]) == (
            1,
            6,
            found["metadata"]["uid"],
        )
        deleted = await server.call("DELETE", f"{PODS}/p")
        assert deleted.status_code == 200
        await server.fails(404, "NotFound", "GET", f"{PODS}/p")


async def test_errors_are_status_objects(tmp_path: Path) -> None:
    async with served(tmp_path, max_body_bytes=4096) as server:
        fails = server.fails
        assert await fails(404, "NotFound", "GET", f"{PODS}/x") == 'pods "x" not found'
        await fails(404, "NotFound", "DELETE", f"{PODS}/x")
        await fails(404, "NotFound", "GET", "/api/v1/jobs")
        await fails(404, "NotFound", "GET", "/_planesplit/produced/a/b", token="master")
        await fails(405, "MethodNotAllowed", "PUT", PODS, json={})
        await fails(405, "MethodNotAllowed", "POST", "/api/v1/pods", json=pod())
        await fails(400, "BadRequest", "POST", PODS, content=b'{"secret": ')
        await fails(400, "BadRequest", "POST", PODS, content=b"[" * 4000)
        await fails(400, "BadRequest", "POST", PODS, json={"kind": "Job"})
        await fails(400, "BadRequest", "GET", PODS, params={"labelSelector": "a in b"})
        await fails(400, "BadRequest", "GET", PODS, params={"watch": "1", "resourceVersion": "x"})
        await fails(400, "BadRequest", "DELETE", f"{PODS}/x", json={"gracePeriodSeconds": -5})
        await fails(400, "BadRequest", "DELETE", f"{PODS}/x", json=[1])
        await fails(413, "RequestEntityTooLarge", "POST", PODS, content=b" " * 5000)
        yaml = {"content-type": "application/yaml"}
        await fails(415, "UnsupportedMediaType", "POST", PODS, content=b"kind: Pod", headers=yaml)
        message = await fails(422, "Invalid", "POST", PODS, json=pod("p", hostPID=True))
        assert (
            message == 'Pod "p" is invalid: spec.hostPID: Forbidden: not supported by this stand-in'
        )
        assert (await server.call("POST", PODS, json=pod("p"))).status_code == 201
        message = await fails(409, "AlreadyExists", "POST", PODS, json=pod("p"))
        assert message == 'pods "p" already exists'


async def test_who_may_do_what(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic executor-token"},
        ):
            response = await server.client.get(PODS, headers=headers)
            assert response.status_code == 401
            assert response.json()["reason"] == "Unauthorized"
        message = await server.fails(403, "Forbidden", "POST", PODS, token="reader", json=pod())
        assert message == (
            'pods is forbidden: User "system:serviceaccount:union:proxy-system" cannot create '
            f'resource "pods" in API group "" in the namespace "{NAMESPACE}"'
        )
        await server.fails(403, "Forbidden", "DELETE", f"{PODS}/p", token="reader")
        message = await server.fails(403, "Forbidden", "GET", "/api/v1/pods", token="stranger")
        assert message.endswith("at the cluster scope")
        await server.fails(403, "Forbidden", "GET", "/api/v1/pods?watch=1", token="stranger")
        await server.fails(403, "Forbidden", "GET", f"/_planesplit/produced/{NAMESPACE}/p")
        assert (await server.call("GET", PODS, token="reader")).status_code == 200
        assert (await server.call("POST", PODS, token="master", json=pod())).status_code == 201
        for path in ("/livez", "/readyz", "/version"):
            assert (await server.client.get(path)).status_code == 200


async def test_without_tokens_everybody_is_the_demo_user(tmp_path: Path) -> None:
    async with served(tmp_path, tokens=Tokens({}, anonymous=DEMO_USER)) as server:
        assert (await server.client.post(PODS, json=pod())).status_code == 201


async def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki", valid_for=dt.timedelta(hours=1))
    leaf = authority.server("customer")
    tls = TlsFiles(str(leaf.cert_file), str(leaf.key_file))
    async with served(tmp_path, insecure=False, tls=tls, ca_file=authority.ca_file) as server:
        response = await server.call("GET", PODS)
        assert (response.status_code, response.http_version) == (200, "HTTP/1.1")


async def events_of(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        yield json.loads(line)


async def test_watch_by_http(tmp_path: Path) -> None:
    async with served(tmp_path, bookmark_s=0.2) as server:
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "30"}
        headers = {"authorization": "Bearer reader-token"}
        with trio.fail_after(10):
            async with server.client.stream("GET", PODS, params=query, headers=headers) as response:
                events = events_of(response)
                body = pod("p", container={"command": ["true"]})
                assert (await server.call("POST", PODS, json=body)).status_code == 201
                seen = await changes(events, 4)
                while (await anext(events))["type"] != "BOOKMARK":
                    pass
        assert [event["type"] for event in seen] == ["ADDED", *["MODIFIED"] * 3]
        phases = [event["object"]["status"]["phase"] for event in seen]
        assert phases == ["Pending", "Pending", "Running", "Succeeded"]
        version = seen[0]["object"]["metadata"]["resourceVersion"]
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "1"}
        response = await server.call("GET", PODS, params=query, token="reader")
        again = [json.loads(line)["type"] for line in response.text.splitlines()]
        assert again == ["MODIFIED"] * 3
        for old, code, reason in (("1", 410, "Expired"), (version + "0", 504, "Timeout")):
            path = f"{PODS}?watch=1&resourceVersion={old}"
            await server.fails(code, reason, "GET", path, token="reader")


async def changes(events: AsyncIterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The next events that are no bookmarks, which come at their own times."""
    seen: list[dict[str, Any]] = []
    while len(seen) < count:
        event = await anext(events)
        seen += [event] if event["type"] != "BOOKMARK" else []
    return seen


async def test_too_many_watches(tmp_path: Path) -> None:
    async with served(tmp_path, max_watches=1) as server:
        headers = {"authorization": "Bearer reader-token"}
        for _ in range(2):  # a watch whose client has gone frees its place
            with trio.fail_after(10):
                async with server.client.stream("GET", f"{PODS}?watch=1", headers=headers) as first:
                    assert first.status_code == 200
                    await server.fails(429, "TooManyRequests", "GET", f"{PODS}?watch=1")
                while await _is_refused(server):
                    await trio.sleep(0.01)


async def _is_refused(server: Server) -> bool:
    path = f"{PODS}?watch=1&timeoutSeconds=1&resourceVersion=99999999999999999"
    return (await server.call("GET", path)).status_code == 429


async def test_a_body_that_never_comes(tmp_path: Path) -> None:
    async with served(tmp_path, body_s=0.2) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(
            f"POST {PODS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer executor-token\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        with trio.fail_after(5):
            answer = await stream.receive_some()
        assert b" 504 " in answer.partition(b"\r\n")[0]


async def test_a_client_that_stops_reading_is_cut_off(tmp_path: Path) -> None:
    async with served(tmp_path, stalled_reader_s=1, max_watches=1) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(
            b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer reader-token\r\n\r\n"
        )
        big = pod("p", container={"command": ["true"], "args": ["x" * 120_000] * 7})
        for number in range(30):
            big["metadata"]["name"] = f"p{number}"
            server.cluster.pods.create(NAMESPACE, big)
        await trio.sleep(0.5)
        assert await _is_refused(server)
        with trio.fail_after(20):
            while await _is_refused(server):
                await trio.sleep(0.1)
        await stream.aclose()


def test_token_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('t1,system:serviceaccount:x:executor,u1\n\nt2,admin,u2,"system:masters,ops"\n')
    users = read_token_file(str(file))
    assert users["t2"] == User("admin", frozenset({MASTERS, "ops"}))
    assert Tokens(users).authenticate("bearer  t1").name == "system:serviceaccount:x:executor"
    for bad in ("just-a-token\n", "", ",user,uid\n", "a,b,c,d,e\n"):
        file.write_text(bad)
        with pytest.raises(SettingError, match="token_file") as caught:
            read_token_file(str(file))
        assert "just-a-token" not in str(caught.value)
    with pytest.raises(SettingError, match="cannot read"):
        read_token_file(str(tmp_path / "absent"))


async def test_our_own_failure_is_a_500_that_tells_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as server:

        def fail(*_: object) -> None:
            raise RuntimeError("a detail that nobody should see")

        server.cluster.pods.get = fail  # type: ignore[method-assign, assignment]
        response = await server.call("GET", f"{PODS}/p")
        assert (response.status_code, response.content) == (500, b"")
        assert (await server.call("GET", PODS)).status_code == 200


async def test_websockets_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        upgrade = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        assert (await server.call("GET", PODS, headers=upgrade)).status_code == 400


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_unusable_tls_files(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "cert.pem"
    if content:
        file.write_text(content)
    tls = TlsFiles(str(file), str(file))
    with pytest.raises(SettingError, match="setting 'tls': cannot use"):
        bind(CustomerSettings(log_root="unused", token_file="unused", tls=tls))
