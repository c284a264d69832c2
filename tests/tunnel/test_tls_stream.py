"""TLS as a stream: trio's own conformance suite, certificates, and peers that refuse."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import check_two_way_stream, memory_stream_pair
from wires import Contexts, tls_over, together

from planesplit.pki import Authority
from tunnel.errors import Code, HandshakeFailed
from tunnel.tls import (
    CLEANSE_PLAINTEXT,
    CertificateRefused,
    client_context,
    server_context,
    start_tls,
)

BIG = bytes(range(256)) * 4096


async def test_trios_conformance_suite(contexts: Contexts) -> None:
    async def make() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        return await tls_over(contexts, *memory_stream_pair())

    await check_two_way_stream(make, None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_big_data_both_ways_on_either_version(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    own = Contexts.of(Authority(tmp_path / "pki"))
    own.client.maximum_version = own.client.minimum_version = version
    near, far = await tls_over(own, *memory_stream_pair())
    assert near._tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]

    async def read(stream: trio.abc.Stream) -> bytes:
        data = b""
        while len(data) < len(BIG):
            data += await stream.receive_some()
        return data

    for sender, receiver in ((near, far), (far, near)):
        _, got = await together(partial(sender.send_all, BIG), partial(read, receiver))
        assert got == BIG


async def test_who_is_at_the_other_end(contexts: Contexts) -> None:
    near, far = await tls_over(contexts, *memory_stream_pair())
    assert far.peer().uris == ("spiffe://planesplit/org/acme/cluster/c1",)
    assert len(far.peer().thumbprint) == 43
    assert near.peer().uris == ()


async def test_an_end_that_just_vanishes_is_an_end(contexts: Contexts) -> None:
    raw, other = memory_stream_pair()
    near, _ = await tls_over(contexts, raw, other)
    await trio.aclose_forcefully(other)
    assert await near.receive_some() == b""


async def test_garbage_breaks_the_stream(contexts: Contexts) -> None:
    raw, other = memory_stream_pair()
    near, _ = await tls_over(contexts, raw, other)
    await other.send_all(b"this is no record of TLS")
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()


# Handshakes that fail.


async def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> object:
    """Shake hands; return what the client and the server raised."""
    near, far = memory_stream_pair()
    failures: dict[str, BaseException | None] = {}

    async def end(who: str, stream: trio.abc.Stream, **kwargs: object) -> None:
        try:
            context = client if who == "client" else server
            tls = await start_tls(stream, context, **kwargs)  # type: ignore[arg-type]
            if who == "client":
                await tls.receive_some()
            failures[who] = None
        except HandshakeFailed as error:
            failures[who] = error
        await stream.aclose()

    await together(
        partial(end, "client", near, server_hostname=name),
        partial(end, "server", far, server_side=True),
    )
    return failures["client"], failures["server"]


async def test_a_client_without_a_certificate_learns_that_it_is_refused(
    contexts: Contexts, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "pki")
    anonymous = client_context(str(authority.ca_file))
    leaf = authority.server("relay")
    server = server_context(str(leaf.cert_file), str(leaf.key_file), str(authority.ca_file))
    ours, theirs = await shake(anonymous, server)  # type: ignore[misc]
    assert isinstance(ours, CertificateRefused)
    assert ours.code is Code.AUTH_REFUSED
    assert isinstance(theirs, HandshakeFailed)


async def test_a_client_of_another_authority_is_refused(tmp_path: Path) -> None:
    mine, other = Authority(tmp_path / "mine"), Authority(tmp_path / "other")
    leaf, stranger = mine.server("relay"), other.agent("acme", "c1")
    server = server_context(str(leaf.cert_file), str(leaf.key_file), str(mine.ca_file))
    client = client_context(str(mine.ca_file), str(stranger.cert_file), str(stranger.key_file))
    ours, theirs = await shake(client, server)  # type: ignore[misc]
    assert isinstance(ours, CertificateRefused)
    assert isinstance(theirs, HandshakeFailed)


@pytest.mark.parametrize("name", ["relay.example", "127.0.0.2"])
async def test_a_server_of_another_name_is_refused(contexts: Contexts, name: str) -> None:
    ours, theirs = await shake(contexts.client, contexts.server, name)  # type: ignore[misc]
    assert isinstance(ours, HandshakeFailed)
    assert not isinstance(ours, CertificateRefused)
    assert isinstance(theirs, HandshakeFailed)


async def test_a_server_that_nobody_vouches_for_is_refused(contexts: Contexts) -> None:
    ours, _ = await shake(client_context(), contexts.server)  # type: ignore[misc]
    assert isinstance(ours, HandshakeFailed)
    assert "certificate" in str(ours)


async def test_peers_that_talk_no_tls(contexts: Contexts) -> None:
    for bad in (b"GET / HTTP/1.1\r\n\r\n", b""):
        near, far = memory_stream_pair()
        await near.send_all(bad)
        await near.send_eof()
        with pytest.raises(HandshakeFailed):
            await start_tls(far, contexts.server, server_side=True)


async def test_a_connection_that_breaks_during_the_handshake(contexts: Contexts) -> None:
    near, far = memory_stream_pair()
    await trio.aclose_forcefully(far)
    with pytest.raises(HandshakeFailed):
        await start_tls(near, contexts.client, server_hostname="localhost")


def test_contexts_are_hardened(contexts: Contexts) -> None:
    for context in (contexts.client, contexts.server):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & CLEANSE_PLAINTEXT
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert contexts.client.check_hostname
