"""A private certificate authority for one split: made at start, its key never leaves the process.

Names follow SPIFFE: an agent is `spiffe://planesplit/org/{org}/cluster/{cluster}`, the control
plane's client `spiffe://planesplit/control`. Servers are `localhost` and the loopback addresses.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from planesplit.ready import write_atomically
from tunnel.peer import thumbprint

VALID_FOR = dt.timedelta(days=7)  # one split's life; `planesplit rotate certs` renews earlier
CLOCK_SKEW = dt.timedelta(minutes=5)
CONTROL_URI = "spiffe://planesplit/control"
LOOPBACK_NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


def agent_uri(org: str, cluster: str) -> str:
    """Return the URI SAN that names an agent's tunnel identity."""
    return f"spiffe://planesplit/org/{org}/cluster/{cluster}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate and its private key, as PEM files readable by their owner only."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class Renewal:
    """A new certificate and key for a leaf, not in place yet."""

    leaf: Leaf
    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def thumbprint(self) -> str:
        """Of the new certificate, see `tunnel.peer.thumbprint`."""
        return thumbprint(ssl.PEM_cert_to_DER_cert(self.certificate.decode()))

    def install(self) -> None:
        """Replace the files, the key first: whoever reads in between finds no pair, and again."""
        write_atomically(self.leaf.key_file, self.key.decode())
        write_atomically(self.leaf.cert_file, self.certificate.decode())


class Authority:
    """A certificate authority (EC P-256) that writes what it issues below one directory.

    Args:
        directory: where `ca.pem` and the leaves go; made with mode 0700 if absent.
        valid_for: life of the authority and of every leaf; negative makes expired ones, for tests.

    Raises:
        FileExistsError: the directory already holds an authority.
    """

    def __init__(self, directory: Path, *, valid_for: dt.timedelta = VALID_FOR) -> None:
        self._directory, self._valid_for = directory, valid_for
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("planesplit private CA")
        self._certificate = self._sign_authority()
        self.ca_file = directory / "ca.pem"
        _write(self.ca_file, _pem(self._certificate))

    def server(self, name: str, addresses: Sequence[str] = ()) -> Leaf:
        """Issue a server certificate for the loopback names, stored as `{name}.pem`.

        Args:
            addresses: further IP addresses that it is good for.

        Raises:
            ValueError: not an address.
        """
        return self._issue(name, _server_names(addresses), ExtendedKeyUsageOID.SERVER_AUTH)

    def agent(self, org: str, cluster: str) -> Leaf:
        """Issue an agent's client certificate, stored as `agent-{org}-{cluster}.pem`."""
        uri = x509.UniformResourceIdentifier(agent_uri(org, cluster))
        return self._issue(f"agent-{org}-{cluster}", [uri], ExtendedKeyUsageOID.CLIENT_AUTH)

    def control(self) -> Leaf:
        """Issue the control plane's client certificate, stored as `control-client.pem`."""
        uri = x509.UniformResourceIdentifier(CONTROL_URI)
        return self._issue("control-client", [uri], ExtendedKeyUsageOID.CLIENT_AUTH)

    def renew_server(self, name: str, addresses: Sequence[str] = ()) -> Renewal:
        """Make another certificate for a server that has one; see `server`."""
        return self._renew(name, _server_names(addresses), ExtendedKeyUsageOID.SERVER_AUTH)

    def renew_agent(self, org: str, cluster: str) -> Renewal:
        """Make another certificate for an agent that has one; see `agent`."""
        uri = x509.UniformResourceIdentifier(agent_uri(org, cluster))
        return self._renew(f"agent-{org}-{cluster}", [uri], ExtendedKeyUsageOID.CLIENT_AUTH)

    def renew_control(self) -> Renewal:
        """Make another client certificate for the control plane."""
        uri = x509.UniformResourceIdentifier(CONTROL_URI)
        return self._renew("control-client", [uri], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self, name: str, names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier
    ) -> Leaf:
        renewal = self._renew(name, names, usage)
        _write(renewal.leaf.key_file, renewal.key)
        _write(renewal.leaf.cert_file, renewal.certificate)
        return renewal.leaf

    def _renew(
        self, name: str, names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier
    ) -> Renewal:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(_name(name), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signing=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        leaf = Leaf(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        return Renewal(leaf, _pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))

    def _sign_authority(self) -> x509.Certificate:
        return (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signing=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        ends = now + self._valid_for
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, ends) - CLOCK_SKEW)
            .not_valid_after(ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(authority, critical=False)
        )


def _server_names(addresses: Sequence[str]) -> list[x509.GeneralName]:
    more = (x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)
    return [*LOOPBACK_NAMES, *(name for name in more if name not in LOOPBACK_NAMES)]


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _usage(*, signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signing,
        key_cert_sign=signing,
        crl_sign=signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read; O_EXCL, so that no link is ever followed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
