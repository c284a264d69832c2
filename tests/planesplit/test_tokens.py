"""Tokens are fetched once for many callers, renewed in time, and kept fresh for the agent."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from planesplit.connect_client import ConnectError
from planesplit.split.operator import keep_token
from planesplit.tokens import Tokens


class Endpoint:
    """A token endpoint: numbered tokens, each good for 100 seconds."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        grant = {"access_token": f"t{len(self.requests)}", "expires_in": 100}
        return httpx.Response(self.status, json=grant)

    def tokens(self, secret_file: Path, scope: str = "") -> Tokens:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return Tokens(
            http, "http://control", "demo", secret_file, scope=scope, clock=trio.current_time
        )


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    return file


async def test_many_callers_share_one_fetch(secret_file: Path) -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens(secret_file)
    got: list[str] = []

    async def call() -> None:
        got.append(await tokens())

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(call)
    assert got == ["t1"] * 10
    request = endpoint.requests[0]
    assert request.content == b"grant_type=client_credentials"
    login = base64.b64encode(b"demo:s3cret").decode()
    assert request.headers["authorization"] == f"Basic {login}"


async def test_it_is_renewed_at_half_of_its_life(
    secret_file: Path, autojump_clock: MockClock
) -> None:
    tokens = Endpoint().tokens(secret_file, scope="tunnel")
    assert await tokens() == "t1"
    await trio.sleep(49)
    assert await tokens() == "t1"
    await trio.sleep(1)
    assert await tokens() == "t2"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthenticated"),
        (400, "unauthenticated"),
        (429, "unavailable"),
        (503, "unavailable"),
    ],
)
async def test_refusals_are_told_apart_from_absence(
    secret_file: Path, status: int, code: str
) -> None:
    endpoint = Endpoint()
    endpoint.status = status
    with pytest.raises(ConnectError, match=code) as raised:
        await endpoint.tokens(secret_file)()
    assert "s3cret" not in str(raised.value)


async def test_an_answer_without_a_token_is_an_error(secret_file: Path) -> None:
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=[])))
    with pytest.raises(ConnectError, match="internal"):
        await Tokens(http, "http://control", "demo", secret_file)()


async def test_the_agents_file_is_always_fresh(
    secret_file: Path, tmp_path: Path, autojump_clock: MockClock
) -> None:
    endpoint, file = Endpoint(), tmp_path / "token"
    async with trio.open_nursery() as nursery:
        source = endpoint.tokens(secret_file, "tunnel")
        await nursery.start(keep_token, source, file, trio.Lock())
        assert file.read_text() == "t1\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"scope=tunnel" in endpoint.requests[0].content
        await trio.sleep(30)
        assert file.read_text() == "t2\n"
        endpoint.status = 503  # the control plane is away for a while, less than half a life
        await trio.sleep(30)
        assert file.read_text() == "t2\n"
        endpoint.status = 200
        await trio.sleep(10)
        assert file.read_text() not in ("t1\n", "t2\n")
        nursery.cancel_scope.cancel()
