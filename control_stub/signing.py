"""Signs URLs as flyteadmin (Appendix E): it names objects of the customer's store, and uses none.

Its identity's signed requests are refused there; only what others do with a URL passes. A URL is a
credential: it is in the answer, and in no log and no table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from control_stub.settings import FlyteadminSettings
from tunnel.settings import SettingError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Signed:
    """A presigned URL.

    Args:
        url: good for one object and one verb.
        expires_s: when it ends, seconds since the epoch.
    """

    url: str = field(repr=False)
    expires_s: int


class Signer:
    """Signs with AWS Signature Version 4; talks to nobody.

    Args:
        settings: the store's address and the identity's keys.
        clock: seconds since the epoch.

    Raises:
        SettingError: the secret cannot be read, or the address is none.
    """

    def __init__(self, settings: FlyteadminSettings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._endpoint = settings.endpoint_url.rstrip("/")
        parts = urlsplit(self._endpoint)
        plain = parts.scheme == "http" and parts.hostname in LOOPBACK
        if not plain and parts.scheme != "https":
            raise SettingError(
                "setting 'flyteadmin.endpoint_url' must be https://host:port, or http:// on"
                " loopback"
            )
        try:
            self._secret = Path(settings.secret_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            self._secret = ""
        if not self._secret:
            raise SettingError(
                f"setting 'flyteadmin.secret_file' is '{settings.secret_file}', which is missing "
                "or empty; write the identity's secret key into it"
            )

    def url(
        self,
        verb: Literal["GET", "PUT"],
        bucket: str,
        key: str,
        ttl_s: int,
        headers: Mapping[str, str] | None = None,
    ) -> Signed:
        """Return a URL that is good for `ttl_s` seconds, and only with `headers`."""
        from botocore.auth import S3SigV4QueryAuth  # 0.2 s: only who signs needs it
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        expires_s = int(self._clock()) + ttl_s
        url = f"{self._endpoint}/{bucket}/{quote(key, safe='/~')}"
        request = AWSRequest(verb, url, headers=dict(headers or {}))
        credentials = Credentials(self._settings.access_key, self._secret)
        S3SigV4QueryAuth(credentials, "s3", self._settings.region, expires=ttl_s).add_auth(request)
        return Signed(request.url, expires_s)
