"""Shapes of objects that this server itself goes by; all others it keeps as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kube.server.status import bad_request
from kube.server.values import quantity
from kube.server.webhooks import CONFIGURATIONS, MAX_TIMEOUT_S

QUOTAS = "resourcequotas"
HARD = ("pods", "count/pods")  # what is limited here
_RULE = ("operations", "apiGroups", "apiVersions", "resources")

Json = dict[str, Any]


def check_shape(key: str, obj: Json) -> None:
    """Refuse an object that would have later requests fail.

    Args:
        key: see `Kind.key`.

    Raises:
        ApiError: 400.
    """
    if key in _SHAPES and not _SHAPES[key](obj):
        raise bad_request("the object is not of the agreed shape")


def _is_configuration(obj: Json) -> bool:
    return _all(obj.get("webhooks"), _is_webhook)


def _is_webhook(hook: Any) -> bool:
    if not isinstance(hook, dict) or not isinstance(hook.get("name"), str) or not hook["name"]:
        return False
    config, limit_s = hook.get("clientConfig") or {}, hook.get("timeoutSeconds", 1)
    return (
        isinstance(config, dict)
        and all(isinstance(config.get(name) or "", str) for name in ("url", "caBundle"))
        and type(limit_s) is int
        and 1 <= limit_s <= MAX_TIMEOUT_S
        and hook.get("failurePolicy", "Fail") in ("Fail", "Ignore")
        and _all(hook.get("rules"), _is_rule)
    )


def _is_rule(rule: Any) -> bool:
    return isinstance(rule, dict) and all(_all(rule.get(field), _is_text) for field in _RULE)


def _is_quota(obj: Json) -> bool:
    spec = obj.get("spec") or {}
    hard = (spec.get("hard") or {}) if isinstance(spec, dict) else None
    limits = [hard[name] for name in HARD if name in hard] if isinstance(hard, dict) else [None]
    return all(quantity(limit) is not None for limit in limits)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _all(values: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether there is nothing, or a list of nothing else."""
    return values is None or (isinstance(values, list) and all(map(holds, values)))


_SHAPES: Mapping[str, Callable[[Json], bool]] = {
    CONFIGURATIONS: _is_configuration,
    QUOTAS: _is_quota,
}
