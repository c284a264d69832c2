"""Names in a registry: repositories, tags, digests, and references to images."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

MAX_NAME_CHARS = 255
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME = rf"{_PART}(?:/{_PART})*"  # OCI distribution specification, "Pulling manifests"
TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
DIGEST = r"sha256:[0-9a-f]{64}"

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)

_REFERENCE = re.compile(rf"({NAME})(?::({TAG}))?(?:@({DIGEST}))?")


def digest_of(data: bytes) -> str:
    """Return the digest of bytes, `sha256:{hex}`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Reference:
    """An image within a registry; a digest wins over a tag."""

    name: str
    tag: str = "latest"
    digest: str = ""

    @property
    def wanted(self) -> str:
        """What to ask the registry for."""
        return self.digest or self.tag


def parse_reference(text: str) -> Reference | None:
    """Parse `name[:tag][@digest]`, without the registry's host; None if it is malformed."""
    match = _REFERENCE.fullmatch(text)
    if match is None or len(match[1]) > MAX_NAME_CHARS:
        return None
    return Reference(match[1], match[2] or "latest", match[3] or "")
