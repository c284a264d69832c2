"""The relay as a process: listeners first, then everything else; SIGTERM drains."""

from __future__ import annotations

import resource
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from ssl import SSLContext
from sys import intern

import trio

from relay.app import Relay
from relay.metrics import Reason
from relay.seal.apply import seal_process
from relay.seal.level import Seal, SealRefused
from relay.settings import RelayConfig, SealSettings, TlsFiles
from tunnel.errors import TunnelError
from tunnel.handover import hand_over_memory
from tunnel.peer import file_thumbprints
from tunnel.process import accept, announce, until_signalled
from tunnel.settings import SettingError
from tunnel.tls import TlsStream, server_context

CONNECTION = "connection"  # one name for all: trio would make each task its own
BACKLOG = 1_024  # a whole fleet of viewers reconnects at once when a relay was replaced

HOST_BITS = 64  # of an IPv6 address, which one subscriber chooses as he likes

Serve = Callable[[trio.abc.Stream], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Contexts:
    """TLS contexts; None where plain."""

    viewer: SSLContext | None = None
    mutual: SSLContext | None = None


class Door:
    """One listener: counts its connections, does TLS, hands streams over.

    Args:
        relay: whose it is.
        serve: what runs a connection.
        context: TLS, None for plain.
        ready: awaited before anything is done for a connection.
    """

    def __init__(
        self,
        relay: Relay,
        serve: Serve,
        context: SSLContext | None,
        ready: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self._relay, self._serve, self._context, self._ready = relay, serve, context, ready
        self._open = 0
        self._of_peer: Counter[str] = Counter()

    def secure_with(self, context: SSLContext | None) -> None:
        """Use another certificate for connections that come from now on."""
        self._context = context

    async def enter(self, stream: trio.abc.Stream) -> None:
        """Serve one accepted connection; never raises."""
        peer = _peer(stream)
        reason = self._full(peer)
        if reason is not None:
            self._relay.metrics.reject(reason)
            await trio.aclose_forcefully(stream)
            return
        self._count(peer, 1)
        try:
            await self._ready()
            secured = await self._secure(stream)
            if secured is not None:
                await self._serve(secured)
        except Exception as error:
            self._relay.report(error)
        finally:
            self._count(peer, -1)
            await trio.aclose_forcefully(stream)

    def _full(self, peer: str) -> Reason | None:
        limits = self._relay.settings
        if self._open >= limits.max_connections:
            return Reason.TOO_MANY_CONNECTIONS
        if self._of_peer[peer] >= limits.max_connections_per_peer and peer:
            return Reason.TOO_MANY_OF_PEER
        return None

    def _count(self, peer: str, change: int) -> None:
        self._open += change
        self._of_peer[peer] += change
        if not self._of_peer[peer]:
            del self._of_peer[peer]

    async def _secure(self, stream: trio.abc.Stream) -> trio.abc.Stream | None:
        if self._context is None:
            return stream
        try:
            with trio.move_on_after(self._relay.settings.handshake_s):
                tls = TlsStream(stream, self._context, server_side=True)
                await tls.handshake(self._relay.turn)
                return tls
        except TunnelError:
            pass
        self._relay.metrics.reject(Reason.TLS)
        return None


def _peer(stream: trio.abc.Stream) -> str:
    """Whose connection it is: an IPv4 address, or an IPv6 network of 64 bits; empty if unknown."""
    if not isinstance(stream, trio.SocketStream):
        return ""
    try:
        address = ip_address(stream.socket.getpeername()[0].partition("%")[0])
    except (OSError, ValueError):
        return ""  # it has left already
    if isinstance(address, IPv6Address):
        network = IPv6Address(int(address) >> HOST_BITS << HOST_BITS)
        address = address.ipv4_mapped or network
    return intern(str(address))  # one string for all that come from there


async def run(config: RelayConfig) -> None:
    """Run the relay until SIGTERM or SIGINT.

    The order matters: all that needs a file or a new socket, then the seal, then work.

    Raises:
        SettingError: a certificate or a port cannot be used.
        SealRefused: the relay cannot be sealed as it must be.
    """
    contexts = _contexts(config.tls)
    listeners = {
        name: await _listen(config.host, name, port)
        for name, port in (
            ("viewer", config.viewer_port),
            ("agent", config.agent_port),
            ("control", config.control_port),
            ("ops", config.ops_port),
        )
    }
    _raise_descriptor_limit()
    relay = Relay(config.limits, config.tunnel, insecure=config.insecure)
    relay.control_is(_control(config.tls))
    relay.check_machine()
    seal = _seal(config.seal)
    relay.sealed(seal)
    doors = {
        "viewer": Door(relay, relay.serve_viewer, contexts.viewer),
        # A fleet that finds a relay without policy would pay for a handshake and be refused, again
        # and again, just while the relay starts: it waits at the door instead.
        "agent": Door(relay, relay.serve_agent, contexts.mutual, relay.wait_for_policy),
        "control": Door(relay, relay.serve_control, contexts.mutual),
        "ops": Door(relay, relay.serve_ops, None),
    }
    async with trio.open_nursery() as nursery:
        accepting = {name: trio.CancelScope() for name in doors}
        nursery.start_soon(relay.watch_viewers)
        nursery.start_soon(relay.watch_tenants)
        nursery.start_soon(relay.watch_tokens)
        for name, door in doors.items():
            nursery.start_soon(_accept, door, listeners[name], nursery, accepting[name])
        ports = {f"{name}_port": _port(listener) for name, listener in listeners.items()}
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            nursery.start_soon(_reload_certificates, relay, config.tls, doors, hangups)
            announce(**ports, seal=str(seal))
            await until_signalled()
        for name in ("viewer", "agent"):
            accepting[name].cancel()
        await relay.drain()
        nursery.cancel_scope.cancel()


async def _reload_certificates(
    relay: Relay, files: TlsFiles | None, doors: Mapping[str, Door], hangups: AsyncIterator[int]
) -> None:
    """Read the certificate again at every SIGHUP; a sealed relay may still read files."""
    async for _ in hangups:
        try:
            contexts, control = _contexts(files), _control(files)
        except SettingError:
            relay.certificates_read(good=False)  # the old ones go on
            continue
        doors["viewer"].secure_with(contexts.viewer)
        for name in ("agent", "control"):
            doors[name].secure_with(contexts.mutual)
        relay.control_is(control)
        relay.certificates_read(good=True)


async def _accept(
    door: Door,
    listener: trio.SocketListener,
    connections: trio.Nursery,
    scope: trio.CancelScope,
) -> None:
    """Accept until `scope` is cancelled, then close the port; connections live on."""
    with scope:
        async with listener:
            while True:
                stream = await accept(listener)
                connections.start_soon(door.enter, stream, name=CONNECTION)


async def _listen(host: str, name: str, port: int) -> trio.SocketListener:
    try:
        # Looked up here and now: trio would start a thread, which Landlock would not bind.
        address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
        first, *others = await trio.open_tcp_listeners(port, host=str(address), backlog=BACKLOG)
    except OSError as error:
        text = f"'{name}_port' {port} on '{host}' cannot be used: {error.strerror}; try port 0"
        raise SettingError(text) from None
    for listener in others:  # a name with several addresses: one port, one listener
        await listener.aclose()
    return first


def _seal(settings: SealSettings) -> Seal:
    try:
        hand_over_memory(settings.prover_fd)
    except OSError as error:
        text = f"memory cannot be handed over by descriptor {settings.prover_fd}: {error.strerror}"
        raise SealRefused(text) from None
    seal = Seal() if settings.mode == "off" else seal_process()
    seal.demand(settings.require)
    return seal


def _port(listener: trio.SocketListener) -> int:
    return int(listener.socket.getsockname()[1])


def _contexts(files: TlsFiles | None) -> Contexts:
    if files is None:
        return Contexts()
    try:
        return Contexts(
            server_context(files.cert_file, files.key_file),
            server_context(files.cert_file, files.key_file, files.ca_file),
        )
    except OSError as error:
        text = f"[tls] files cannot be used: {error.strerror}; check cert_file, key_file, ca_file"
        raise SettingError(text) from None


def _control(files: TlsFiles | None) -> frozenset[str] | None:
    if files is None or not files.control_file:
        return None
    try:
        return file_thumbprints(files.control_file)
    except (OSError, ValueError):
        text = "[tls] control_file cannot be used: it must hold readable PEM certificates"
        raise SettingError(text) from None


def _raise_descriptor_limit() -> None:
    """One descriptor a viewer: take what the system allows, not the soft default of 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
