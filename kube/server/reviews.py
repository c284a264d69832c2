"""What callers may ask about themselves: SelfSubjectAccessReview, -RulesReview, -Review."""

from __future__ import annotations

from typing import Any

from kube.server.authorization import Authorization
from kube.server.status import bad_request
from kube.server.tokens import User
from policy.rules import Request, Rule

AUTHORIZATION, AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
REVIEWS = {
    f"selfsubjectaccessreviews.{AUTHORIZATION}": "SelfSubjectAccessReview",
    f"selfsubjectrulesreviews.{AUTHORIZATION}": "SelfSubjectRulesReview",
    f"selfsubjectreviews.{AUTHENTICATION}": "SelfSubjectReview",
}

Json = dict[str, Any]


def reviewed(authorization: Authorization, user: User, key: str, body: Any) -> Json:
    """Answer a review.

    Args:
        key: which one, of REVIEWS.

    Raises:
        ApiError: 400, the body is none.
    """
    kind, group = REVIEWS[key], key.partition(".")[2]
    spec = body.get("spec") if isinstance(body, dict) else None
    spec = {} if spec is None else spec
    if not isinstance(spec, dict):
        raise bad_request(f"the body is no {kind}")
    head = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {"creationTimestamp": None}}
    match kind:
        case "SelfSubjectAccessReview":
            return {**head, "spec": spec, "status": _access(authorization, user, spec)}
        case "SelfSubjectRulesReview":
            rules = authorization.rules_for(user, _text(spec, "namespace"))
            return {**head, "spec": spec, "status": _rules(rules)}
    info = {"username": user.name, "groups": list(user.all_groups)}
    return {**head, "status": {"userInfo": info}}


def _access(authorization: Authorization, user: User, spec: Json) -> Json:
    resource, url = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    groups = user.all_groups
    if isinstance(resource, dict):
        words = ("verb", "group", "resource", "subresource", "name", "namespace")
        fields = {word: _text(resource, word) for word in words}
        asked = Request(user.name, groups=groups, **fields)
    elif isinstance(url, dict):
        verb, path = _text(url, "verb"), _text(url, "path")
        asked = Request(user.name, verb, path=path, groups=groups)
    else:
        raise bad_request("the body is no SelfSubjectAccessReview")
    decision = authorization.decide(asked)
    return {"allowed": decision.allowed, "reason": decision.why if decision.allowed else ""}


def _rules(rules: tuple[Rule, ...]) -> Json:
    of_resources, of_urls = [], []
    for rule in rules:
        verbs = {"verbs": list(rule.verbs)}
        if rule.urls:
            of_urls.append({**verbs, "nonResourceURLs": list(rule.urls)})
        if rule.resources:
            about = {"apiGroups": list(rule.groups), "resources": list(rule.resources)}
            names = {"resourceNames": list(rule.names)} if rule.names else {}
            of_resources.append({**verbs, **about, **names})
    return {"resourceRules": of_resources, "nonResourceRules": of_urls, "incomplete": False}


def _text(table: Json, key: str) -> str:
    value = table.get(key) or ""
    if not isinstance(value, str):
        raise bad_request(f"{key} is not a string")
    return value
