"""Settings of the object store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from policy.iam import Bucket, iam_accounts
from tunnel.settings import SettingError, setting

SECRET_BYTES = 1024
_ACCESS_KEY = re.compile(r"[A-Za-z0-9_-]{3,128}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class IdentityFile:
    """A service account of Appendix E: its name, access key, and the file with its secret key."""

    name: str
    access_key: str
    secret_file: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A service account that can sign; the secret is not shown."""

    name: str
    access_key: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Identity({self.name})"


@dataclass(frozen=True, slots=True)
class ObjectsSettings:
    """`[objects]`: buckets, who may sign, and the bound of everything."""

    identities: tuple[IdentityFile, ...] = ()
    region: str = setting("us-east-1", why="AWS's own default; part of every signature")
    metadata_bucket: str = setting("planesplit-metadata", why="inputs, outputs, reports")
    fast_registration_bucket: str = setting("planesplit-fast-registration", why="code bundles")
    cors_origins: tuple[str, ...] = setting(
        ("*",), why="who may read answers in a browser; a URL carries its own right, no cookie does"
    )
    url_max_s: int = setting(
        3600, low=1, high=604_800, why="longest life of a presigned URL: the white paper's hour"
    )
    skew_s: int = setting(
        900, low=1, high=86_400, why="how far a signer's clock may be off: 15 minutes, as S3"
    )
    max_requests: int = setting(64, low=1, high=10_000, why="requests at once; more get SlowDown")
    max_object_bytes: int = setting(
        5_368_709_120, low=1, high=5_497_558_138_880, why="S3's largest single PUT, 5 GiB"
    )
    max_stored_bytes: int = setting(
        21_474_836_480, low=1, high=10_995_116_277_760, why="all objects together on this disk"
    )
    max_objects: int = setting(
        100_000, low=1, high=10_000_000, why="held in the index in memory, about 1 KiB each"
    )
    max_uploads: int = setting(64, low=1, high=10_000, why="multipart uploads under way at once")
    min_part_bytes: int = setting(
        5_242_880, low=1, high=5_368_709_120, why="S3's least size of all parts but the last, 5 MiB"
    )
    idle_s: float = setting(
        20.0, low=0.1, high=600.0, why="an upload that sends nothing for so long is RequestTimeout"
    )

    def kind(self, bucket: str) -> Bucket | None:
        """Return what a bucket is for, None if there is no such bucket."""
        if bucket == self.metadata_bucket:
            return "metadata"
        return "fast-registration" if bucket == self.fast_registration_bucket else None

    def check(self) -> ObjectsSettings:
        """Return self if buckets and identities can be used together.

        Raises:
            SettingError: a bad bucket name, an unknown service account, an access key used twice.
        """
        for name in ("metadata_bucket", "fast_registration_bucket"):
            if not _BUCKET.fullmatch(getattr(self, name)):
                raise SettingError(
                    f"setting 'objects.{name}' must be 3 to 63 of a-z, 0-9 and inner hyphens"
                )
        if self.metadata_bucket == self.fast_registration_bucket:
            raise SettingError("setting 'objects': the two buckets need different names")
        keys = [identity.access_key for identity in self.identities]
        for identity in self.identities:
            if identity.name not in iam_accounts():
                known = ", ".join(iam_accounts())
                raise SettingError(
                    f"setting 'objects.identities': '{identity.name}' is no service account of "
                    f"Appendix E; known: {known}"
                )
            if (
                not _ACCESS_KEY.fullmatch(identity.access_key)
                or keys.count(identity.access_key) > 1
            ):
                raise SettingError(
                    f"setting 'objects.identities': the access key of '{identity.name}' must be "
                    "its own, 3 to 128 letters, digits, _ and -"
                )
        return self


def read_identities(settings: ObjectsSettings) -> dict[str, Identity]:
    """Read the secret keys; return identities by access key.

    Raises:
        SettingError: a secret can't be read or is empty; never shows content.
    """
    return {
        item.access_key: Identity(item.name, item.access_key, _secret(item))
        for item in settings.identities
    }


def _secret(item: IdentityFile) -> bytes:
    try:
        secret = Path(item.secret_file).read_bytes().strip()
    except OSError as error:
        raise SettingError(
            f"setting 'objects.identities': cannot read '{item.secret_file}': {error.strerror}"
        ) from None
    if not 8 <= len(secret) <= SECRET_BYTES:
        raise SettingError(
            f"setting 'objects.identities': '{item.secret_file}' must hold 8 to {SECRET_BYTES} "
            "bytes"
        )
    return secret
