"""Kubernetes' own words for a refusal."""

from __future__ import annotations

from policy.rules import Request


def denial(request: Request) -> str:
    """Return who cannot do what and where, as Kubernetes puts it.

    Source: `forbiddenMessage` in `apiserver/pkg/endpoints/handlers/responsewriters/errors.go`.
    """
    who = f'User "{request.user}" cannot {request.verb}'
    if not request.resource:
        return f'{who} path "{request.path}"'
    what = f'resource "{request.combined}" in API group "{request.group}"'
    where = (
        f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    )
    return f"{who} {what} {where}"


def forbidden(request: Request) -> str:
    """Return the whole message of the 403, object first."""
    if not request.resource:
        return f"forbidden: {denial(request)}"
    what = f"{request.resource}.{request.group}" if request.group else request.resource
    named = f' "{request.name}"' if request.name else ""
    return f"{what}{named} is forbidden: {denial(request)}"
