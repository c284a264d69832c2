"""The stage for the relay's tests: a relay, its viewers, agents and control plane, all in memory.

Byte streams are trio's memory streams, tunnels are real sessions over the in-memory transport, time
is simulated. The HTTP client is h11, which knows nothing of the relay's own HTTP code.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import trio
import trio.testing
from joserfc import jwt
from joserfc.jwk import OKPKey

from relay.app import Relay
from relay.auth import CONTROL_URI, agent_uri
from relay.settings import RelaySettings
from tunnel.capabilities import CAPABILITIES, TAIL_LOGS, Capability
from tunnel.events import Data, End
from tunnel.exchange import RequestHead, ResponseHead, Scope
from tunnel.hello import Hello
from tunnel.journal import Journal
from tunnel.memory import memory_transport_pair
from tunnel.payload import Payload
from tunnel.peer import Peer, file_thumbprint
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream

EPOCH = 1_800_000_000.0
ISSUER = "https://control.example"
KEY = OKPKey.generate_key("Ed25519", {"kid": "k1"})
STRANGE_KEY = OKPKey.generate_key("Ed25519", {"kid": "k1"})
THUMBPRINT = "thumbprint-of-the-agents-certificate-in-base64"
STREAMING = "application/connect+proto"
TAIL = f"/r/acme/p/d/c1{TAIL_LOGS}"
ECHO = "/test.v1.Echo/Call"
ECHO_PATH = f"/r/acme/p/d/c1{ECHO}"
ANSWER = ResponseHead(200, (("content-type", STREAMING),))
CAPS = {**CAPABILITIES, ECHO: Capability(ECHO, "viewer", "view", resumable=False, row="A8")}


def now() -> float:
    return EPOCH + trio.current_time()


def viewer_token(subject: str = "ann", *, key: OKPKey = KEY, **changes: object) -> str:
    claims = {"iss": ISSUER, "sub": subject, "aud": "planesplit", "org": "acme"}
    return token({**claims, "iat": int(now()), "exp": int(now()) + 600, **changes}, key)


def agent_token(org: str = "acme", cluster: str = "c1", **changes: object) -> str:
    claims = {"iss": ISSUER, "sub": f"agent:{org}/{cluster}", "aud": "planesplit-tunnel"}
    bound = {"cnf": {"x5t#S256": THUMBPRINT}}
    times = {"iat": int(now()), "exp": int(now()) + 600}
    return token({**claims, "org": org, "cluster": cluster, **times, **bound, **changes}, KEY)


def token(claims: dict[str, object], key: OKPKey, algorithm: str = "Ed25519") -> str:
    kinds = {"planesplit": "at+jwt", "planesplit-tunnel": "tunnel+jwt"}
    header = {"alg": algorithm, "kid": "k1", "typ": kinds.get(str(claims.get("aud")), "JWT")}
    return jwt.encode(header, claims, key, algorithms=[algorithm])


def policy(**changes: object) -> dict[str, object]:
    def binding(subject: str, role: str, org: str, project: str = "*") -> dict[str, str]:
        return {"subject": subject, "role": role, "org": org, "project": project, "domain": "*"}

    return {
        "version": 1,
        "issuer": ISSUER,
        "jwks": {"keys": [KEY.as_dict(private=False)]},
        "bindings": [
            binding("ann", "Viewer", "acme"),
            binding("bob", "Contributor", "acme", "other"),
            binding("eve", "Admin", "globex"),
            binding("demo", "Admin", "acme"),
        ],
        "clusters": [
            {"org": "acme", "cluster": "c1", "enabled": True},
            {"org": "acme", "cluster": "c2", "enabled": True},
            {"org": "acme", "cluster": "off", "enabled": False},
            {"org": "globex", "cluster": "c1", "enabled": True},
        ],
        "revoked": {},
        **changes,
    }


def message(text: bytes) -> bytes:
    """A Connect message."""
    return b"\0" + len(text).to_bytes(4, "big") + text


def messages(body: bytes) -> list[tuple[int, bytes]]:
    """Split a body into (flags, message)."""
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + size, "the body ends inside a message"
        found.append((body[0], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def bound(pki: Path, org: str = "acme", cluster: str = "c1") -> dict[str, object]:
    """The claim that binds a token to the agent's certificate in a directory."""
    return {"cnf": {"x5t#S256": file_thumbprint(pki / f"agent-{org}-{cluster}.pem")}}


class Client:
    """An HTTP/1.1 client on a byte stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> h11.Response:
        await self.send(method, path, body, headers)
        return await self.response()

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        fields = {"host": "relay", "content-length": str(len(body)), **(headers or {})}
        head = h11.Request(method=method, target=path, headers=list(fields.items()))
        data = self.http.send(head) + self.http.send(h11.Data(data=body))
        await self.stream.send_all(data + self.http.send(h11.EndOfMessage()))

    async def event(self) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.stream.receive_some(65_536))
        return event

    async def response(self) -> h11.Response:
        event = await self.event()
        assert isinstance(event, h11.Response)
        return event

    async def data(self) -> bytes:
        """Next piece of the body; b"" at its clean end. h11.RemoteProtocolError when it is cut."""
        event = await self.event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def rest(self) -> bytes:
        body = b""
        while piece := await self.data():
            body += piece
        return body

    async def exactly(self, count: int) -> bytes:
        body = b""
        while len(body) < count:
            piece = await self.data()
            assert piece, "the answer ended"
            body += piece
        assert len(body) == count
        return body


class Agent:
    """An agent's end of a tunnel; streams that the relay opens arrive at `opened`."""

    def __init__(self, link, session: Session) -> None:
        self.link, self.session = link, session
        self._put, self.opened = trio.open_memory_channel[Stream](64)
        self.closed: object = None
        self.ended = trio.Event()

    async def run(self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        self.closed = await self.session.serve(self._handle, task_status=task_status)
        self.ended.set()

    async def _handle(self, stream: Stream) -> None:
        self._put.send_nowait(stream)
        await trio.sleep_forever()

    async def stream(self) -> Stream:
        return await self.opened.receive()


class Stage:
    def __init__(self, nursery: trio.Nursery, relay: Relay, lines: list[str]) -> None:
        self.nursery, self.relay, self.lines = nursery, relay, lines

    @staticmethod
    async def settled() -> None:
        """Wait until nobody has anything left to do without time passing."""
        await trio.testing.wait_all_tasks_blocked()

    def count(self, reason: str) -> int:
        return self.relay.metrics.get("relay_rejected_total", reason)

    def viewer(self, *, lockstep: bool = False) -> Client:
        pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
        ours, theirs = pair()
        self.nursery.start_soon(self.relay.serve_viewer, theirs)
        return Client(ours)

    def control(self, uris: tuple[str, ...] = (CONTROL_URI,), thumbprint: str = "") -> Client:
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.relay.serve_control, theirs, Peer(uris, thumbprint))
        return Client(ours)

    async def push(self, **changes: object) -> None:
        body = json.dumps(policy(**changes)).encode()
        answer = await self.control().ask("PUT", "/v1/policy", body)
        assert answer.status_code == 204

    async def agent(self, org: str = "acme", cluster: str = "c1", **dial: object) -> Agent:
        agent = self.dial(org, cluster, **dial)
        await self.nursery.start(agent.run)
        return agent

    def dial(
        self,
        org: str = "acme",
        cluster: str = "c1",
        *,
        slot: int = 0,
        bearer: str | None = None,
        uris: tuple[str, ...] | None = None,
        thumbprint: str = THUMBPRINT,
        settings: TunnelSettings | None = None,
        **hello: int,
    ) -> Agent:
        ours, theirs, link = memory_transport_pair()
        uris = (agent_uri(org, cluster),) if uris is None else uris
        self.nursery.start_soon(self.relay.serve_agent_transport, theirs, Peer(uris, thumbprint))
        session = Session(
            ours,
            hello=Hello(org, cluster, "agent-1", slot=slot, **hello),
            settings=settings or TunnelSettings(),
            token=Payload((bearer or agent_token(org, cluster)).encode()),
        )
        return Agent(link, session)

    async def tail(self, body: bytes = b"request", **options: object) -> Client:
        """A viewer that has asked for a tail."""
        client = self.viewer(**options)
        await client.send("POST", TAIL, body, bearer())
        return client


async def serve_unit(stream, text: bytes, cursor: bytes) -> bytes:
    data = message(text)
    await stream.send(data)
    stream.mark(cursor)
    return data


async def request_of(stream) -> bytes:
    """Read a whole request."""
    body = b""
    while True:
        await stream.ready()
        for event in stream.take():
            if isinstance(event, End):
                return body
            assert isinstance(event, Data)
            body += bytes(event.view)
            stream.release(len(event.view))


def bearer(
    subject: str = "ann", content_type: str = STREAMING, **changes: object
) -> dict[str, str]:
    value = f"Bearer {viewer_token(subject, **changes)}"
    return {"authorization": value, "content-type": content_type}


def report_head(org: str = "acme", cluster: str = "c1") -> RequestHead:
    headers = (("content-type", "application/proto"),)
    path = "/planesplit.v1.ReportService/Report"
    return RequestHead("POST", path, Scope(org, "-", "-", cluster), f"agent:{cluster}", headers)


@asynccontextmanager
async def stage(*, pushed: bool = True, **settings: object) -> AsyncIterator[Stage]:
    lines: list[str] = []
    tunnel = settings.pop("tunnel", TunnelSettings())
    insecure = settings.pop("insecure", False)
    async with trio.open_nursery() as nursery:
        relay = Relay(
            RelaySettings(**settings),
            tunnel,
            insecure=insecure,
            journal=Journal("relay", write=lines.append, clock=now),
            clock=now,
            capabilities=CAPS,
        )
        theatre = Stage(nursery, relay, lines)
        if pushed:
            await theatre.push()
        yield theatre
        assert relay.metrics.get("relay_internal_errors_total") == 0, lines
        nursery.cancel_scope.cancel()


def error_of(body: bytes) -> dict[str, str]:
    """The error in the end-stream envelope that ends a streaming body."""
    flags, end = messages(body)[-1]
    assert flags == 2
    return json.loads(end)["error"]
