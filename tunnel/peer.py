"""What a peer's certificate says of it: its names, and which certificate it is."""

from __future__ import annotations

import base64
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import cast


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, as TLS has verified it.

    Args:
        uris: URI subject alternative names; empty without a certificate.
        thumbprint: of the certificate, see `thumbprint`; empty without one.
    """

    uris: tuple[str, ...] = ()
    thumbprint: str = ""


NOBODY = Peer()


def peer_of(tls: ssl.SSLObject) -> Peer:
    """Return who has shown a certificate in a TLS connection whose handshake is over."""
    certificate = tls.getpeercert()
    encoded = tls.getpeercert(binary_form=True)
    if not certificate or encoded is None:
        return NOBODY
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    return Peer(tuple(value for kind, value in names if kind == "URI"), thumbprint(encoded))


def thumbprint(certificate: bytes) -> str:
    """Return `x5t#S256` of a certificate in DER: SHA-256 in base64url (RFC 8705, 3.1)."""
    digest = hashlib.sha256(certificate).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def file_thumbprints(file: str | Path) -> frozenset[str]:
    """Return the thumbprints of all certificates in a PEM file.

    Raises:
        OSError, ValueError: the file cannot be read, or holds no certificate.
    """
    text = Path(file).read_text(encoding="ascii")
    ends = "-----END CERTIFICATE-----"
    certificates = [part.strip() + "\n" + ends for part in text.split(ends)[:-1]]
    if not certificates:
        raise ValueError("no certificate")
    return frozenset(thumbprint(ssl.PEM_cert_to_DER_cert(one)) for one in certificates)


def file_thumbprint(file: str | Path) -> str:
    """Return the thumbprint of the certificate in a PEM file.

    Raises:
        OSError, ValueError: the file cannot be read, or holds no certificate.
    """
    return thumbprint(ssl.PEM_cert_to_DER_cert(Path(file).read_text(encoding="ascii").strip()))
