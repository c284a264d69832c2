"""AWS Signature Version 4 as S3 verifies it, in a header or in the query; no I/O, no clock.

The signature is checked over what the request claims, and only then is judged what was signed:
so whatever is altered gives `SignatureDoesNotMatch`. Source: "Authenticating Requests (AWS
Signature Version 4)" in the S3 API reference.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from customer_stub.objects.errors import S3Error, denied
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import Identity, ObjectsSettings
from customer_stub.objects.uri import quoted, quoted_path

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
WEEK_S = 604_800  # S3's longest life of a presigned URL
_QUERY = {
    name: f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
}
_CREDENTIAL = re.compile(
    r"([A-Za-z0-9_-]{3,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9]{1,32})/([ -~]*)"
)
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_HEADERS = re.compile(r"[a-z0-9_.-]{1,128}(;[a-z0-9_.-]{1,128}){0,63}")
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([^,]+)"
)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method."
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says about its own signature."""

    access_key: str
    day: str
    region: str
    service: str
    terminator: str
    date: str
    signed_headers: tuple[str, ...]
    signature: str
    expires_s: int | None  # None: signed in a header

    @property
    def scope(self) -> str:
        """The credential scope."""
        return f"{self.day}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified request: who signed it, and what its body must fit.

    Args:
        identity: the signer.
        presigned: the signature came in the query.
        payload: the signed `x-amz-content-sha256`: a digest, or the name of a mode.
        date, scope, signature, key: what the signatures of chunks are derived from.
    """

    identity: Identity
    presigned: bool
    payload: str
    date: str
    scope: str
    signature: str
    key: bytes

    def __repr__(self) -> str:
        return f"Signed({self.identity.name})"


def verify(
    request: S3Request,
    identities: Mapping[str, Identity],
    settings: ObjectsSettings,
    *,
    now_s: float,
) -> Signed:
    """Return who signed a request.

    Args:
        request: its head; the body is checked by whoever reads it.
        identities: by access key.
        settings: region, longest life of a URL, clock skew.
        now_s: seconds since the epoch.

    Raises:
        S3Error: 403 if unsigned, altered, expired or of an unknown key; 400 if malformed.
    """
    claim = _claim(request)
    identity = identities.get(claim.access_key)
    if identity is None:
        raise S3Error("InvalidAccessKeyId", "The access key does not exist in our records.")
    payload = request.header("x-amz-content-sha256") or UNSIGNED
    key = signing_key(identity.secret, claim)
    expected = sign(key, _string_to_sign(request, claim, payload))
    if not hmac.compare_digest(expected, claim.signature):
        raise S3Error("SignatureDoesNotMatch", _MISMATCH)
    _check_scope(claim, settings)
    _check_headers(request, claim)
    _check_time(claim, settings, now_s)
    presigned = claim.expires_s is not None
    return Signed(identity, presigned, payload, claim.date, claim.scope, expected, key)


def signing_key(secret: bytes, claim: Claim) -> bytes:
    """Derive the key for a scope."""
    key = b"AWS4" + secret
    for part in (claim.day, claim.region, claim.service, claim.terminator):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """Return the signature of a string to sign."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def _claim(request: S3Request) -> Claim:
    authorization = request.header("authorization")
    in_query = any(name.lower() == "x-amz-signature" for name, _ in request.query)
    if authorization is not None and in_query:
        raise S3Error("InvalidArgument", "Only one auth mechanism allowed")
    if in_query:
        return _from_query(request)
    if authorization is None:
        if any(name == "Signature" for name, _ in request.query):
            raise _unsupported()
        raise denied()
    return _from_header(request, authorization)


def _unsupported() -> S3Error:
    message = f"The authorization mechanism is not supported. Please use {ALGORITHM}."
    return S3Error("InvalidRequest", message)


def _from_header(request: S3Request, authorization: str) -> Claim:
    if not authorization.startswith(ALGORITHM):
        raise _unsupported()
    match = _AUTHORIZATION.fullmatch(authorization)
    date = request.header("x-amz-date") or ""
    if match is None or request.header("x-amz-content-sha256") is None:
        raise _malformed("AuthorizationHeaderMalformed")
    credential, headers, signature = match.groups()
    return _make(credential, date, headers, signature, None, "AuthorizationHeaderMalformed")


def _from_query(request: S3Request) -> Claim:
    code = "AuthorizationQueryParametersError"
    values = {name: request.parameter(full) for name, full in _QUERY.items()}
    if None in values.values():
        raise _malformed(code)
    text = {name: value or "" for name, value in values.items()}
    if text["Algorithm"] != ALGORITHM:
        raise S3Error(code, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    if (
        not re.fullmatch(r"[0-9]{1,9}", text["Expires"])
        or not 0 < int(text["Expires"]) < WEEK_S + 1
    ):
        raise S3Error(code, f"X-Amz-Expires must be a number of seconds, at most {WEEK_S}")
    expires_s = int(text["Expires"])
    return _make(
        text["Credential"], text["Date"], text["SignedHeaders"], text["Signature"], expires_s, code
    )


def _make(
    credential: str, date: str, headers: str, signature: str, expires_s: int | None, code: str
) -> Claim:
    match = _CREDENTIAL.fullmatch(credential)
    well_formed = _DATE.fullmatch(date) and _HEADERS.fullmatch(headers)
    if match is None or not well_formed or not date.startswith(match[2]):
        raise _malformed(code)
    if not _SIGNATURE.fullmatch(signature):
        raise S3Error("SignatureDoesNotMatch", _MISMATCH)
    access_key, day, region, service, terminator = match.groups()
    names = tuple(headers.split(";"))
    return Claim(access_key, day, region, service, terminator, date, names, signature, expires_s)


def _malformed(code: str) -> S3Error:
    return S3Error(code, "The parts of the signature are incomplete or malformed.")


def _string_to_sign(request: S3Request, claim: Claim, payload: str) -> str:
    headers = "".join(f"{name}:{request.canonical(name)}\n" for name in claim.signed_headers)
    pairs = sorted(
        (quoted(name), quoted(value))
        for name, value in request.query
        if name != _QUERY["Signature"]
    )
    canonical = "\n".join(
        (
            request.method,
            quoted_path(request.path),
            "&".join(f"{name}={value}" for name, value in pairs),
            headers,
            ";".join(claim.signed_headers),
            payload,
        )
    )
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return "\n".join((ALGORITHM, claim.date, claim.scope, digest))


def _check_scope(claim: Claim, settings: ObjectsSettings) -> None:
    if (claim.region, claim.service, claim.terminator) == (settings.region, "s3", "aws4_request"):
        return
    code = "AuthorizationHeaderMalformed"
    if claim.expires_s is not None:
        code = "AuthorizationQueryParametersError"
    raise S3Error(code, f"The credential scope must be for '{settings.region}/s3/aws4_request'.")


def _check_headers(request: S3Request, claim: Claim) -> None:
    """Every header that S3 would act on has to be signed, and the host always."""
    signed = set(claim.signed_headers)
    unsigned = {name for name in request.header_names if name.startswith("x-amz-")} - signed
    if unsigned or "host" not in signed:
        raise denied("There were headers present in the request which were not signed")
    if "x-amz-security-token" in request.header_names or request.parameter("X-Amz-Security-Token"):
        raise S3Error("InvalidToken", "Session tokens are not issued by this stand-in.")


def _check_time(claim: Claim, settings: ObjectsSettings, now_s: float) -> None:
    try:
        signed_s = calendar.timegm(time.strptime(claim.date, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise denied("The date of the signature is no date") from None
    if claim.expires_s is None:
        if abs(now_s - signed_s) > settings.skew_s:
            message = "The difference between the request time and the current time is too large."
            raise S3Error("RequestTimeTooSkewed", message)
    elif claim.expires_s > settings.url_max_s:
        raise denied(f"A URL may be valid for {settings.url_max_s} seconds at most")
    elif signed_s > now_s + settings.skew_s:
        raise denied("Request is not valid yet")
    elif now_s > signed_s + claim.expires_s:
        raise denied("Request has expired")
