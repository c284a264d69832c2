"""connect_app: several services, errors, streams, on a trio ASGI host of the test's own."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.logs.dataplane import payload_pb2 as logs

from tunnel.messages import planesplit_v1_pb2 as v1
from tunnel.messages.rpc import AsgiApp, connect_app

EXECUTOR = v1.DESCRIPTOR.services_by_name["ExecutorService"]
REPORT = v1.DESCRIPTOR.services_by_name["ReportService"]
DATA_PROXY = dataproxy.DESCRIPTOR.services_by_name["DataProxyService"]
ASSIGN = "/planesplit.v1.ExecutorService/Assign"
TAIL = "/flyteidl2.dataproxy.DataProxyService/TailLogs"


class Executor:
    async def assign(self, request: v1.AssignRequest, ctx: Any) -> v1.AssignResponse:
        if request.action.run == "refused":
            raise ConnectError(Code.FAILED_PRECONDITION, "no such pool")
        if request.action.run == "broken":
            raise KeyError("hunter2")
        return v1.AssignResponse(pod=f"pod-{request.action.run}")


class Tail:
    def __init__(self) -> None:
        self.closed = False

    async def tail_logs(
        self, request: dataproxy.TailLogsRequest, ctx: Any
    ) -> AsyncIterator[dataproxy.TailLogsResponse]:
        try:
            for text in ("one\n", "two\n"):
                yield _lines(text)
            if request.attempt == 7:
                raise RuntimeError("hunter2")
            if request.attempt == 9:
                await trio.sleep_forever()
        finally:
            self.closed = True


def _lines(text: str) -> dataproxy.TailLogsResponse:
    line = logs.LogLine(message=text)
    return dataproxy.TailLogsResponse(logs=[dataproxy.TailLogsResponse.Logs(lines=[line])])


class Report:
    """Implements nothing."""


class Answer:
    """What an application sent, as an ASGI host collects it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.some_body = trio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]
            if message["body"]:
                self.some_body.set()


def _scope(path: str, headers: dict[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "root_path": "",
        "headers": list(headers.items()),
    }


async def _call(app: AsgiApp, path: str, body: bytes, **more: bytes) -> Answer:
    headers = {b"content-type": b"application/proto"}
    headers.update({name.replace("_", "-").encode(): value for name, value in more.items()})
    answer, sent = Answer(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await trio.sleep_forever()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    await app(_scope(path, headers), receive, answer.send)
    return answer


def _envelope(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _envelopes(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


@pytest.fixture
def failures() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def tail() -> Tail:
    return Tail()


@pytest.fixture
def app(failures: list[tuple[str, str]], tail: Tail) -> AsgiApp:
    return connect_app(
        (EXECUTOR, Executor()),
        (REPORT, Report()),
        (DATA_PROXY, tail),
        on_error=lambda path, error: failures.append((path, type(error).__name__)),
    )


def _assign(run: str) -> bytes:
    return v1.AssignRequest(action=v1.Action(run=run)).SerializeToString()


async def test_unary_in_protobuf_and_gzip(app: AsgiApp) -> None:
    plain = await _call(app, ASSIGN, _assign("r1"))
    packed = await _call(app, ASSIGN, gzip.compress(_assign("r1")), content_encoding=b"gzip")
    for answer in (plain, packed):
        assert answer.status == 200
        assert v1.AssignResponse.FromString(answer.body).pod == "pod-r1"


async def test_unary_in_json(app: AsgiApp) -> None:
    body = json.dumps({"action": {"run": "r2"}}).encode()
    answer = await _call(app, ASSIGN, body, content_type=b"application/json")
    assert json.loads(answer.body) == {"pod": "pod-r2"}


async def test_handler_errors_keep_their_code(app: AsgiApp) -> None:
    answer = await _call(app, ASSIGN, _assign("refused"))
    assert json.loads(answer.body) == {"code": "failed_precondition", "message": "no such pool"}


async def test_unexpected_errors_are_internal_and_quote_nothing(
    app: AsgiApp, failures: list[tuple[str, str]]
) -> None:
    answer = await _call(app, ASSIGN, _assign("broken"))
    assert json.loads(answer.body) == {"code": "internal", "message": "internal error"}
    assert failures == [(ASSIGN, "KeyError")]


@pytest.mark.parametrize(
    "path", ["/planesplit.v1.ExecutorService/Abort", TAIL[:-8] + "GetActionData"]
)
async def test_missing_handler_is_unimplemented(app: AsgiApp, path: str) -> None:
    answer = await _call(app, path, b"")
    assert (answer.status, json.loads(answer.body)["code"]) == (501, "unimplemented")


async def test_missing_service_method_and_service(app: AsgiApp) -> None:
    answer = await _call(app, "/planesplit.v1.ReportService/Report", b"")
    assert json.loads(answer.body)["code"] == "unimplemented"
    assert (await _call(app, "/no.such.Service/Method", b"")).status == 404


async def test_server_stream(app: AsgiApp, tail: Tail) -> None:
    body = _envelope(dataproxy.TailLogsRequest().SerializeToString())
    answer = await _call(app, TAIL, body, content_type=b"application/connect+proto")
    *messages, (flags, end) = _envelopes(answer.body)
    lines = [dataproxy.TailLogsResponse.FromString(data).logs[0].lines[0] for _, data in messages]
    assert [line.message for line in lines] == ["one\n", "two\n"]
    assert (flags, json.loads(end)) == (2, {})
    assert tail.closed


async def test_stream_failure_ends_in_an_error_that_quotes_nothing(
    app: AsgiApp, failures: list[tuple[str, str]], tail: Tail
) -> None:
    body = _envelope(dataproxy.TailLogsRequest(attempt=7).SerializeToString())
    answer = await _call(app, TAIL, body, content_type=b"application/connect+proto")
    flags, end = _envelopes(answer.body)[-1]
    assert flags == 2
    assert json.loads(end)["error"] == {"code": "internal", "message": "internal error"}
    assert failures == [(TAIL, "RuntimeError")]
    assert tail.closed


async def test_cancelling_the_host_closes_the_generator(
    app: AsgiApp, tail: Tail, autojump_clock: Any
) -> None:
    body = _envelope(dataproxy.TailLogsRequest(attempt=9).SerializeToString())
    with trio.move_on_after(5):
        await _call(app, TAIL, body, content_type=b"application/connect+proto")
    assert tail.closed


@pytest.mark.parametrize("content_type", [b"application/json", b"application/proto"])
async def test_malformed_messages_are_not_quoted(app: AsgiApp, content_type: bytes) -> None:
    answer = await _call(app, ASSIGN, b'{"hunter2": \xff', content_type=content_type)
    assert answer.status == 400
    assert b"hunter2" not in answer.body
    assert json.loads(answer.body)["code"] == "invalid_argument"


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": b"application/grpc"},
        {"content_type": b"application/grpc-web+proto"},
        {"content_type": b"text/plain"},
        {"x": b"\xff\xfe"},
    ],
)
async def test_what_is_not_connect_is_refused(app: AsgiApp, headers: dict[str, bytes]) -> None:
    assert (await _call(app, ASSIGN, _assign("r1"), **headers)).status == 415


async def test_too_large_a_message() -> None:
    app = connect_app((EXECUTOR, Executor()), read_max_bytes=64)
    bomb = gzip.compress(b"\0" * 100_000)
    for body, encoding in ((b"x" * 65, b"identity"), (bomb, b"gzip")):
        answer = await _call(app, ASSIGN, body, content_encoding=encoding)
        assert json.loads(answer.body)["code"] == "resource_exhausted"
