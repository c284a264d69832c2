"""Errors of the object store, with the codes and statuses that S3 gives."""

from __future__ import annotations

# Code -> HTTP status, as in the S3 API reference, "List of error codes".
STATUS = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InsufficientStorage": 507,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidToken": 400,
    "InvalidURI": 400,
    "KeyTooLongError": 400,
    "MalformedXML": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "XAmzContentChecksumMismatch": 400,
    "XAmzContentSHA256Mismatch": 400,
}


class S3Error(Exception):
    """An error that the client gets as S3's XML.

    Args:
        code: one of `STATUS`.
        message: for people; never anything of the request.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.status = STATUS[code]


def denied(message: str = "Access Denied") -> S3Error:
    """403: this identity may not do that, or the URL is no longer good."""
    return S3Error("AccessDenied", message)


def not_implemented(what: str) -> S3Error:
    """501: a part of S3 that this stand-in does not have; never ignored silently."""
    return S3Error("NotImplemented", f"{what} is not implemented by this stand-in")
