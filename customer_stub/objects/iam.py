"""What a request asks of IAM; `policy.iam` (the white paper's Appendix E) answers."""

from __future__ import annotations

from customer_stub.objects.errors import S3Error, denied
from customer_stub.objects.request import S3Request
from policy.iam import Bucket, decide, iam_accounts

_BUCKET_ACTIONS = {
    "GET": "s3:ListBucket",
    "HEAD": "s3:ListBucket",
    "PUT": "s3:CreateBucket",
    "DELETE": "s3:DeleteBucket",
    "POST": "s3:DeleteObject",  # of many at once
}
_OBJECT_ACTIONS = {
    "GET": "s3:GetObject",
    "HEAD": "s3:GetObject",
    "PUT": "s3:PutObject",
    "POST": "s3:PutObject",  # multipart
    "DELETE": "s3:DeleteObject",
}


def action_of(request: S3Request) -> str:
    """Return the IAM action that S3 asks for.

    Source: AWS's service authorization reference, "Actions, resources, and condition keys for S3".

    Raises:
        S3Error: the method is none of S3's.
    """
    if request.method not in _OBJECT_ACTIONS:
        raise S3Error("MethodNotAllowed", "The specified method is not allowed here.")
    if not request.key:
        location = request.method == "GET" and request.parameter("location") is not None
        return "s3:GetBucketLocation" if location else _BUCKET_ACTIONS[request.method]
    if request.parameter("uploadId") is not None:
        if request.method == "DELETE":
            return "s3:AbortMultipartUpload"
        if request.method == "GET":
            return "s3:ListMultipartUploadParts"
    return _OBJECT_ACTIONS[request.method]


def authorise(request: S3Request, account: str, kind: Bucket | None, *, presigned: bool) -> None:
    """Raise unless Appendix E lets this account's signature do this.

    Args:
        request: what is asked.
        account: the service account that signed.
        kind: what the bucket is for; None if there is no such bucket, which is refused alike.
        presigned: signed in the query, not in a header.

    Raises:
        S3Error: 403, or a method that S3 does not have.
    """
    action = action_of(request)
    if kind is None:
        raise denied()
    if not decide(account, action, kind, request.key, presigned=presigned).allowed:
        raise denied(_refusal(account, action, request.bucket))
    if presigned and not _of_one_object(request):
        raise denied("A URL may read or write one object")


def _of_one_object(request: S3Request) -> bool:
    return request.parameter("uploadId") is None and request.method in ("GET", "HEAD", "PUT")


def _refusal(account: str, action: str, bucket: str) -> str:
    """S3's words, without the key."""
    role = iam_accounts()[account].role
    return (
        f"User: arn:aws:sts::000000000000:assumed-role/{role}/{account} is not authorized to "
        f'perform: {action} on resource: "arn:aws:s3:::{bucket}" because no identity-based policy '
        f"allows the {action} action"
    )
