from __future__ import annotations

import base64
import ssl
from dataclasses import replace

import pytest
import trio
from trio.testing import memory_stream_pair

from compute_agent.dial import Address, Dialer, DialFailed
from compute_agent.settings import AgentSettings, TlsFiles
from planesplit.pki import Authority
from tunnel.errors import Code, HandshakeFailed
from tunnel.settings import SettingError
from tunnel.tls import server_context, start_tls
from tunnel.websocket import accept_websocket

PLAIN = AgentSettings("acme", "c1", "ws://127.0.0.1:8080/tunnel", "logs", "state")


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture(scope="module")
def secure(authority: Authority) -> AgentSettings:
    leaf = authority.agent("acme", "c1")
    files = TlsFiles(str(authority.ca_file), str(leaf.cert_file), str(leaf.key_file))
    return replace(PLAIN, relay_url="wss://localhost:8443/tunnel", tls=files)


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    leaf = authority.server("relay")
    return server_context(str(leaf.cert_file), str(leaf.key_file), str(authority.ca_file))


class Network:
    """Connects the dialer to one in-memory server and notes where it wanted to go."""

    def __init__(self, nursery: trio.Nursery, serve) -> None:
        self.nursery, self.serve = nursery, serve
        self.asked: list[tuple[str, int]] = []
        self.frames: list[bytes] = []

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        self.asked.append((host, port))
        ours, theirs = memory_stream_pair()
        self.nursery.start_soon(self.serve, self, theirs)
        await trio.lowlevel.checkpoint()
        return ours


async def websocket(network: Network, stream: trio.abc.Stream) -> None:
    transport = await accept_websocket(stream)
    network.frames += [bytes(frame) for frame in await transport.receive()]


async def read_head(stream: trio.abc.Stream) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await stream.receive_some()
        assert data
        head += data
    return head


def proxy(answer: bytes, behind=websocket, heads: list[bytes] | None = None):
    """A proxy that notes the request, answers, and connects to `behind`."""

    async def serve(network: Network, stream: trio.abc.Stream) -> None:
        head = await read_head(stream)
        if heads is not None:
            heads.append(head)
        await stream.send_all(answer)
        if b" 200 " in answer:
            await behind(network, stream)

    return serve


async def dial(settings: AgentSettings, nursery: trio.Nursery, serve) -> Network:
    network = Network(nursery, serve)
    transport = await Dialer(settings, connect=network.connect)()
    await transport.send([[b"hello"]])
    await trio.testing.wait_all_tasks_blocked()
    assert network.frames == [b"hello"]
    return network


async def test_plain_on_loopback(nursery, autojump_clock):
    network = await dial(PLAIN, nursery, websocket)
    assert network.asked == [("127.0.0.1", 8080)]


async def test_tls_with_private_ca_and_client_certificate(nursery, autojump_clock, secure, context):
    uris: list[str] = []

    async def serve(network: Network, stream: trio.abc.Stream) -> None:
        tls = await start_tls(stream, context, server_side=True)
        uris.extend(tls.peer().uris)
        await websocket(network, tls)

    await dial(secure, nursery, serve)
    assert uris == ["spiffe://planesplit/org/acme/cluster/c1"]


async def test_through_a_proxy(nursery, autojump_clock, secure, context):
    """TLS goes from end to end: the proxy sees one CONNECT and then only ciphertext."""
    heads: list[bytes] = []

    async def relay(network: Network, stream: trio.abc.Stream) -> None:
        await websocket(network, await start_tls(stream, context, server_side=True))

    settings = replace(secure, proxy_url="http://us%40er:p%3Aw@proxy.corp:3129")
    network = await dial(settings, nursery, proxy(b"HTTP/1.1 200 OK\r\n\r\n", relay, heads))
    assert network.asked == [("proxy.corp", 3129)]
    credentials = base64.b64encode(b"us@er:p:w")
    assert heads == [
        b"CONNECT localhost:8443 HTTP/1.1\r\nHost: localhost:8443\r\n"
        b"Proxy-Authorization: Basic " + credentials + b"\r\n\r\n"
    ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Code.AUTH_REFUSED),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Code.REFUSED),
        (b"SSH-2.0-nonsense\r\n\r\n", Code.REFUSED),
        (b"HTTP/1.1 200 OK\r\n\r\nearly bytes", Code.REFUSED),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, Code.REFUSED),
    ],
)
async def test_proxy_that_does_not_connect(nursery, autojump_clock, answer: bytes, code: Code):
    settings = replace(PLAIN, proxy_url="http://proxy")
    network = Network(nursery, proxy(answer, behind=silence))
    with pytest.raises(DialFailed) as failure:
        await Dialer(settings, connect=network.connect)()
    assert (failure.value.step, failure.value.code) == ("proxy", code)
    assert "nonsense" not in str(failure.value)


async def silence(_network: Network, stream: trio.abc.Stream) -> None:
    while await stream.receive_some():
        pass


async def hang_up(_network: Network, stream: trio.abc.Stream) -> None:
    await stream.aclose()


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, "websocket"),
        ({"proxy_url": "http://proxy"}, "proxy"),
    ],
)
@pytest.mark.parametrize(("serve", "code"), [(silence, Code.TIMEOUT), (hang_up, Code.TUNNEL_LOST)])
async def test_every_step_has_a_deadline_and_an_end(
    nursery, autojump_clock, changes, step: str, serve, code: Code
):
    network = Network(nursery, serve)
    start = trio.current_time()
    with pytest.raises(DialFailed) as failure:
        await Dialer(replace(PLAIN, **changes), connect=network.connect)()
    assert (failure.value.step, failure.value.code) == (step, code)
    assert trio.current_time() - start <= PLAIN.dial.websocket_s


async def test_tls_has_a_deadline(nursery, autojump_clock, secure):
    network = Network(nursery, silence)
    with pytest.raises(DialFailed) as failure:
        await Dialer(secure, connect=network.connect)()
    assert (failure.value.step, failure.value.code) == ("tls", Code.TIMEOUT)


async def test_connecting_has_a_deadline(autojump_clock):
    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.sleep_forever()

    with pytest.raises(DialFailed) as failure:
        await Dialer(PLAIN, connect=connect)()
    assert (failure.value.step, failure.value.code) == ("connect", Code.TIMEOUT)


async def test_nobody_listens(autojump_clock):
    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError

    with pytest.raises(DialFailed) as failure:
        await Dialer(PLAIN, connect=connect)()
    assert failure.value.code is Code.TUNNEL_LOST


async def test_client_certificate_that_is_refused_is_no_endless_retry(
    nursery, autojump_clock, secure, authority, tmp_path
):
    """In TLS 1.3 the refusal shows only at the first read."""
    other = Authority(tmp_path / "other")
    relay = authority.server("relay2")
    strict = server_context(str(relay.cert_file), str(relay.key_file), str(other.ca_file))

    async def serve(_network: Network, stream: trio.abc.Stream) -> None:
        with pytest.raises(HandshakeFailed):
            await start_tls(stream, strict, server_side=True)
        await stream.aclose()

    network = Network(nursery, serve)
    with pytest.raises(DialFailed) as failure:
        await Dialer(secure, connect=network.connect)()
    assert failure.value.code is Code.AUTH_REFUSED


async def test_server_of_another_ca_is_not_trusted(nursery, autojump_clock, secure, tmp_path):
    leaf = Authority(tmp_path / "other").server("relay")
    foreign = server_context(str(leaf.cert_file), str(leaf.key_file))

    async def serve(_network: Network, stream: trio.abc.Stream) -> None:
        with pytest.raises(HandshakeFailed):
            await start_tls(stream, foreign, server_side=True)
        await stream.aclose()

    network = Network(nursery, serve)
    with pytest.raises(DialFailed) as failure:
        await Dialer(secure, connect=network.connect)()
    assert failure.value.step == "tls"


async def test_failed_dial_closes_what_it_opened(nursery, autojump_clock):
    ended = trio.Event()

    async def serve(_network: Network, stream: trio.abc.Stream) -> None:
        await silence(_network, stream)
        ended.set()

    with pytest.raises(DialFailed):
        await Dialer(PLAIN, connect=Network(nursery, serve).connect)()
    with trio.fail_after(1):
        await ended.wait()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"relay_url": "ws://relay.example/tunnel"}, "relay_url"),
        ({"relay_url": "https://relay"}, "relay_url"),
        ({"relay_url": "wss://relay:port"}, "relay_url"),
        ({"relay_url": ""}, "relay_url"),
        ({"proxy_url": "socks5://proxy"}, "proxy_url"),
        ({"relay_url": "wss://relay", "tls": TlsFiles("/nowhere.pem")}, "tls.ca_file"),
    ],
)
def test_settings_that_cannot_work_are_named(changes, names):
    with pytest.raises(SettingError, match=names):
        Dialer(replace(PLAIN, **changes))


def test_addresses():
    address = Address.parse("wss://[::1]:8443", ("ws", "wss"), "relay_url")
    assert (address.authority, address.path) == ("[::1]:8443", "/tunnel")
    assert Address.parse("wss://relay/t", ("ws", "wss"), "x").authority == "relay:443"
    proxy_address = Address.parse("http://user:secret@proxy:1", ("http", "https"), "proxy_url")
    assert "secret" not in repr(proxy_address)


def test_settings_never_show_the_proxy_password_in_errors():
    with pytest.raises(SettingError) as failure:
        Dialer(replace(PLAIN, proxy_url="ftp://user:secret@proxy"))
    assert "secret" not in str(failure.value)
