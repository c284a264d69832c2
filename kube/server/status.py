"""Kubernetes' error object, `Status`, and the errors that this API answers with."""

from __future__ import annotations

from typing import Any

from policy import words
from policy.rules import Request

Json = dict[str, Any]


class ApiError(Exception):
    """An error that the client gets as a `Status` object.

    Args:
        code: HTTP status.
        reason: one of Kubernetes' reasons.
        message: for people; never more of the request than names of things.
        details: Kubernetes' machine-readable details.
    """

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self._reason, self._message, self._details = reason, message, details

    def status(self) -> Json:
        """Return the `Status` object."""
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self._message,
            "reason": self._reason,
            "code": self.code,
        }
        if self._details is not None:
            status["details"] = self._details
        return status


def bad_request(message: str) -> ApiError:
    """400: the request can't be understood."""
    return ApiError(400, "BadRequest", message)


def no_dry_run() -> ApiError:
    """400: a dry run."""
    return bad_request("dryRun is not supported by this stand-in")


def not_started(pod: Json) -> ApiError:
    """400: there is no log yet."""
    container, name = pod["spec"]["containers"][0]["name"], pod["metadata"]["name"]
    return bad_request(f'container "{container}" in pod "{name}" is waiting to start')


def unauthorized() -> ApiError:
    """401: no token, or an unknown one."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(request: Request) -> ApiError:
    """403: the user may not do this, in the words of Kubernetes' RBAC."""
    if not request.resource:
        return ApiError(403, "Forbidden", words.forbidden(request), {})
    details = {"name": request.name, "group": request.group, "kind": request.resource}
    details = {key: value for key, value in details.items() if value}
    return ApiError(403, "Forbidden", words.forbidden(request), details)


def quota_exceeded(name: str, limit: int, kind: str = "pods") -> ApiError:
    """403: as many objects as this stand-in holds."""
    message = f'{kind} "{name}" is forbidden: exceeded quota: max_{kind}, limited: {kind}={limit}'
    return ApiError(403, "Forbidden", message, {"name": name, "kind": kind})


def store_full(name: str, limit: int, kind: str) -> ApiError:
    """403: as many bytes as this stand-in holds."""
    message = f'{kind} "{name}" is forbidden: exceeded quota: max_stored_bytes, limited: {limit}'
    return ApiError(403, "Forbidden", message, {"name": name, "kind": kind})


def no_service_account(pod: str, namespace: str, account: str) -> ApiError:
    """403: the pod's service account isn't there."""
    message = (
        f'pods "{pod}" is forbidden: error looking up service account {namespace}/{account}: '
        f'serviceaccount "{account}" not found'
    )
    return ApiError(403, "Forbidden", message, {"name": pod, "kind": "pods"})


def over_quota(pod: str, quota: str, used: int, limit: int) -> ApiError:
    """403: a ResourceQuota of the namespace is used up."""
    message = (
        f'pods "{pod}" is forbidden: exceeded quota: {quota}, requested: pods=1, '
        f"used: pods={used}, limited: pods={limit}"
    )
    return ApiError(403, "Forbidden", message, {"name": pod, "kind": "pods"})


def webhook_failed(name: str, why: str) -> ApiError:
    """500: a webhook that must be asked can't be."""
    message = f'Internal error occurred: failed calling webhook "{name}": {why}'
    return ApiError(500, "InternalError", message, {"causes": [{"message": why}]})


def webhook_denied(name: str, code: int, why: str) -> ApiError:
    """A webhook says no, with a status of its own if that is one."""
    code = code if 400 <= code < 600 else 400  # Kubernetes' ToStatusErr, and what HTTP has
    return ApiError(code, "Forbidden", f'admission webhook "{name}" denied the request: {why}', {})


def no_such_path() -> ApiError:
    """404: nothing is served there."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def not_found(resource: str, name: str) -> ApiError:
    """404: no such object."""
    details = _details(resource, name)
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', details)


def method_not_allowed() -> ApiError:
    """405: the path exists, the verb doesn't."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def already_exists(resource: str, name: str) -> ApiError:
    """409: the name is taken."""
    details = _details(resource, name)
    return ApiError(409, "AlreadyExists", f'{resource} "{name}" already exists', details)


def conflict(resource: str, name: str) -> ApiError:
    """409: the object has changed since the caller read it."""
    message = (
        f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", message, _details(resource, name))


def _details(resource: str, name: str) -> Json:
    """Return Kubernetes' details about an object; `resource` is name and group, see `Kind.key`."""
    what, _, group = resource.partition(".")
    return {"name": name, **({"group": group} if group else {}), "kind": what}


def expired() -> ApiError:
    """410: the watch can't resume from there; list again."""
    message = "The resourceVersion for the provided watch is too old."
    return ApiError(410, "Expired", message)


def too_large(limit_bytes: int) -> ApiError:
    """413: the body is over the limit."""
    message = f"Request entity too large: limit is {limit_bytes}"
    return ApiError(413, "RequestEntityTooLarge", message, {})


def unsupported_media_type() -> ApiError:
    """415: only JSON is spoken."""
    message = "the body of the request was in an unknown format - accepted media types include:"
    return ApiError(
        415,
        "UnsupportedMediaType",
        f"{message} application/json, application/vnd.kubernetes.protobuf",
        {},
    )


def unsupported_patch(accepted: tuple[str, ...]) -> ApiError:
    """415: a patch of another kind, such as server-side apply."""
    message = "the body of the request was in an unknown format - accepted media types include: "
    return ApiError(415, "UnsupportedMediaType", message + ", ".join(accepted), {})


def invalid(name: str, causes: list[Json], kind: str = "Pod") -> ApiError:
    """422: fields are wrong or not supported; one cause for each."""
    text = ", ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
    message = f'{kind} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, {"name": name, "kind": kind, "causes": causes})


def too_many_requests() -> ApiError:
    """429: more requests or watches at once than allowed."""
    message = "too many requests, please try again later."
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": 1})


def version_too_large(version: int, current: int) -> ApiError:
    """504: a version that has not happened yet."""
    message = f"Too large resource version: {version}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def body_timeout() -> ApiError:
    """504: the body did not arrive in time."""
    return ApiError(504, "Timeout", "Timeout: the request's body did not arrive in time", {})
