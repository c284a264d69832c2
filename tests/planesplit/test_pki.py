"""The private authority: who is named, who trusts whom, and who may read the files."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from planesplit.pki import CONTROL_URI, Authority, Leaf, agent_uri


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def test_files_are_private(authority: Authority) -> None:
    leaves = (authority.server("relay"), authority.agent("acme", "c1"), authority.control())
    directory = authority.ca_file.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = {path for leaf in leaves for path in (leaf.cert_file, leaf.key_file)}
    assert files | {authority.ca_file} == set(directory.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_the_authority_key_is_never_written(authority: Authority) -> None:
    assert b"PRIVATE" not in authority.ca_file.read_bytes()
    assert [p.name for p in authority.ca_file.parent.iterdir()] == ["ca.pem"]


def test_agents_and_control_are_named_by_uri(authority: Authority) -> None:
    assert uris(authority.agent("acme", "c1")) == ["spiffe://planesplit/org/acme/cluster/c1"]
    assert uris(authority.control()) == [CONTROL_URI]
    assert agent_uri("acme", "c1") != agent_uri("acme", "c2")


def test_a_directory_holds_one_authority(authority: Authority) -> None:
    with pytest.raises(FileExistsError):
        Authority(authority.ca_file.parent)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_client_accepts_server_on_every_loopback_name(authority: Authority, host: str) -> None:
    assert handshake(authority, authority.server("relay"), host=host) == ()


def test_mutual_tls_shows_the_agent_to_the_server(authority: Authority) -> None:
    agent = authority.agent("acme", "c1")
    seen = handshake(authority, authority.server("relay"), client=agent)
    assert seen == (agent_uri("acme", "c1"),)


def test_another_host_name_is_refused(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(authority, authority.server("relay"), host="relay.example")


def test_another_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, stranger.server("relay"))
    with pytest.raises(ssl.SSLError):
        handshake(authority, authority.server("relay"), client=stranger.agent("acme", "c1"))


def test_expired_certificates_are_refused(tmp_path: Path) -> None:
    expired = Authority(tmp_path / "expired", valid_for=dt.timedelta(seconds=-1))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(expired, expired.server("relay"))


def test_a_server_certificate_is_no_client_certificate(authority: Authority) -> None:
    server = authority.server("relay")
    with pytest.raises(ssl.SSLError):
        handshake(authority, server, client=server)


def uris(leaf: Leaf) -> list[str]:
    return list(uris_of(x509.load_pem_x509_certificate(leaf.cert_file.read_bytes())))


def uris_of(certificate: x509.Certificate) -> tuple[str, ...]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def handshake(
    authority: Authority, server: Leaf, *, client: Leaf | None = None, host: str = "localhost"
) -> tuple[str, ...]:
    """Run a TLS handshake in memory (strict X.509); return the client's URIs it showed."""
    sides = (
        client_side(authority, client, host, memory := (ssl.MemoryBIO(), ssl.MemoryBIO())),
        server_side(authority, server, memory, wants_client=client is not None),
    )
    pending = list(sides)
    while pending:
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
    certificate = sides[1].getpeercert(binary_form=True)
    return () if certificate is None else uris_of(x509.load_der_x509_certificate(certificate))


def client_side(
    authority: Authority, leaf: Leaf | None, host: str, memory: tuple[ssl.MemoryBIO, ssl.MemoryBIO]
) -> ssl.SSLObject:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    if leaf:
        context.load_cert_chain(leaf.cert_file, leaf.key_file)
    return context.wrap_bio(memory[0], memory[1], server_hostname=host)


def server_side(
    authority: Authority,
    leaf: Leaf,
    memory: tuple[ssl.MemoryBIO, ssl.MemoryBIO],
    *,
    wants_client: bool,
) -> ssl.SSLObject:
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca_file) if wants_client else None
    )
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_cert_chain(leaf.cert_file, leaf.key_file)
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
    return context.wrap_bio(memory[1], memory[0], server_side=True)
