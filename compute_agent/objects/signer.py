"""Signs requests to the store: URLs for others (presigned), headers for the agent's own.

botocore does the signing (AWS Signature Version 4) and is loaded when it is first needed; nothing
here talks to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from compute_agent.objects.keys import Place
from compute_agent.objects.settings import ObjectSettings, StoreIdentity
from tunnel.token import TokenFile, TokenUnreadable

Verb = Literal["GET", "PUT"]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SERVICE = "s3"


class Identity(Enum):
    """A service account of Appendix E."""

    EXECUTOR = "executor"
    PROXY_SYSTEM = "proxy-system"


class CannotSign(Exception):
    """The identity's secret cannot be read."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A presigned URL; it is a credential, so it is not in the repr.

    Args:
        url: good for one object and one verb.
        expires_s: when it ends, seconds since the epoch.
        headers: must be sent with it, as they are signed.
    """

    url: str = field(repr=False)
    expires_s: float
    headers: Mapping[str, str] = field(repr=False)


class Signer:
    """Signs for both identities.

    Args:
        settings: the store and the identities' keys.
        now_s: wall clock, seconds since the epoch.
    """

    def __init__(self, settings: ObjectSettings, now_s: Callable[[], float]) -> None:
        self._region, self._now_s = settings.region, now_s
        self._endpoint = settings.endpoint_url.rstrip("/")
        self._public = (settings.public_url or settings.endpoint_url).rstrip("/")
        self._keys = {
            Identity.EXECUTOR: _Key(settings.executor),
            Identity.PROXY_SYSTEM: _Key(settings.proxy_system),
        }

    def url(
        self,
        identity: Identity,
        verb: Verb,
        place: Place,
        ttl_s: int,
        headers: Mapping[str, str] | None = None,
        *,
        own: bool = False,
    ) -> Signed:
        """Return a URL that is good for `ttl_s` seconds, and only with `headers`.

        Args:
            own: it is for the agent itself, not for somebody outside.

        Raises:
            CannotSign
        """
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        expires_s = int(self._now_s()) + ttl_s  # the signature knows whole seconds
        given = dict(headers or {})
        base = self._endpoint if own else self._public
        request = AWSRequest(verb, base + _path(place), headers=given)
        key = self._keys[identity].credentials()
        S3SigV4QueryAuth(key, SERVICE, self._region, expires=ttl_s).add_auth(request)
        return Signed(request.url, expires_s, given)

    def own(
        self, identity: Identity, method: str, place: Place, body: bytes, headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """Return URL and headers of a request that the agent itself makes.

        Raises:
            CannotSign
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        url = self._endpoint + _path(place)
        request = AWSRequest(method, url, headers=dict(headers), data=body)
        key = self._keys[identity].credentials()
        S3SigV4Auth(key, SERVICE, self._region).add_auth(request)
        return url, dict(request.headers.items())


class _Key:
    """Credentials of one identity; the secret is read again when its file changes."""

    def __init__(self, identity: StoreIdentity) -> None:
        self._access_key, self._secret = identity.access_key, TokenFile(identity.secret_file)

    def credentials(self) -> Any:
        from botocore.credentials import Credentials

        try:
            secret = self._secret.current().reveal().decode("ascii")
        except TokenUnreadable:
            raise CannotSign("the store's secret key cannot be read") from None
        return Credentials(self._access_key, secret)


def load_signing() -> None:
    """Import what signs, 0.2 s (measured): in a thread, so that nobody waits for the first URL."""
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials  # noqa: F401


def usable_url(url: str) -> bool:
    """Whether a store may be reached so: `https://`, or `http://` on loopback."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and parts.hostname in LOOPBACK
    return (plain or parts.scheme == "https") and parts.path in ("", "/") and not parts.query


def _path(place: Place) -> str:
    return f"/{place.bucket}/{quote(place.key, safe='/~')}"
