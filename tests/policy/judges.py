"""Judges of a policy: each tries it against a second opinion and yields what differs."""

from __future__ import annotations

import importlib
import itertools
import random
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import reading
from reading import HOLDERS, SERVED, Asked

PACKAGE = "policy"
VERBS = (
    *("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
    *("post", "bind", "escalate", "impersonate"),
)
NAMESPACES = ("", "union", "flyte-development")
STRANGERS = ("clusterresource-template", "default")
URLS = ("/metrics", "/metrics/cadvisor", "/metrics/", "/metricsx", "/logs", "/healthz", "/")
ELSEWHERE = ("pods", "secrets", "pods/log", "events", "widgets", "widgets/scale")


def load() -> SimpleNamespace:
    """The package's parts, as they are imported now."""
    parts = {}
    for part in ("rules", "roles", "authorizer", "bindings", "iam", "words"):
        parts[part] = importlib.import_module(f"{PACKAGE}.{part}")
    return SimpleNamespace(**parts)


@contextmanager
def mutated(directory: Path, file: str, old: str, new: str) -> Iterator[SimpleNamespace]:
    """The package with one place changed; everybody else keeps the real one."""
    source = Path(sys.modules[PACKAGE].__file__ or "").parent
    copy = directory / PACKAGE
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} times in {file}: {old!r}"
    (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    real = _take_out()
    sys.path.insert(0, str(directory))
    try:
        yield load()
    finally:
        sys.path.remove(str(directory))
        _take_out()
        sys.modules.update(real)


def _take_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}


def cells() -> list[Asked]:
    """Everything that is tried for each account."""
    served = [(group, what) for group, names in SERVED.items() for what in names.split()]
    others = [("example.com", what) for what in (*ELSEWHERE, "flyteworkflows", "deployments")]
    resources = [*served, *others, ("", "widgets"), ("apps", "pods"), ("batch", "secrets")]
    asked = itertools.product(VERBS, resources, NAMESPACES)
    found = [Asked(verb, group, what, where) for verb, (group, what), where in asked]
    return found + [Asked(verb, "", url, "") for verb in ("get", "list", "post") for url in URLS]


def as_request(policy: SimpleNamespace, user: str, asked: Asked) -> Any:
    """The cell as the package's own request."""
    if asked.what.startswith("/"):
        return policy.rules.Request(user, asked.verb, path=asked.what)
    resource, _, subresource = asked.what.partition("/")
    return policy.rules.Request(
        user, asked.verb, asked.group, resource, subresource, namespace=asked.namespace
    )


def matrix(policy: SimpleNamespace) -> Iterator[str]:
    """Identity x verb x resource x scope: differences from the white paper's words."""
    everything = cells()
    for plane, letter in (("control", "C"), ("compute", "D")):
        authorizer = policy.authorizer.Authorizer(plane)
        for account in (*HOLDERS, *STRANGERS):
            here = HOLDERS.get(account, "").startswith(letter)
            for namespace in ("union", "flyte-development"):
                user = f"system:serviceaccount:{namespace}:{account}"
                holds = here and namespace == "union"
                for asked in everything if holds else everything[::37]:
                    expected = holds and reading.allowed(account, asked)
                    decision = authorizer.decide(as_request(policy, user, asked))
                    if decision.allowed is not expected:
                        yield f"{plane} {user} {asked}: {decision}, expected {expected}"


def store(policy: SimpleNamespace) -> Iterator[str]:
    """Service account x bucket x action x way of signing: differences from Appendix E."""
    accounts = ("stranger", *(c["service_account"].partition(" ")[0] for c in reading.iam()))
    buckets = ("metadata", "fast-registration", "other")
    for account, bucket, action, presigned in itertools.product(
        accounts, buckets, ("s3:DeleteBucket", "s3:*", *policy.iam.ACTIONS), (False, True)
    ):
        expected = reading.s3_allowed(account, bucket, action, presigned=presigned)
        decision = policy.iam.decide(account, action, bucket, "key", presigned=presigned)
        if decision.allowed is not expected:
            yield f"{account} {action} {bucket} {presigned}: {decision}, expected {expected}"


WORDS = {
    "verbs": ("get", "list", "*"),
    "groups": ("", "apps", "*"),
    "resources": ("pods", "pods/log", "pods/*", "*/log", "*", "*/status", "jobs"),
    "names": ("a", "b"),
    "urls": ("/metrics", "/metrics*", "/metrics/*", "*", "/"),
}


def random_rule(chance: random.Random) -> dict[str, tuple[str, ...]]:
    """The parts of a rule, each of a few words."""
    return {
        part: tuple(chance.sample(words, chance.randint(part not in ("names", "urls"), 2)))
        for part, words in WORDS.items()
    }


def random_request(chance: random.Random) -> dict[str, str]:
    """The parts of a request for a resource or a URL."""
    verb = chance.choice(("get", "list", "create"))
    if chance.random() < 0.3:
        path = chance.choice(("/metrics", "/metrics/x", "/metricsx", "/", "/other"))
        return {"verb": verb, "path": path}
    return {
        "verb": verb,
        "group": chance.choice(("", "apps", "batch")),
        "resource": chance.choice(("pods", "jobs")),
        "subresource": chance.choice(("", "log", "status", "*")),
        "name": chance.choice(("", "a", "c")),
    }


def covers(rule: dict[str, tuple[str, ...]], request: dict[str, str]) -> bool:
    """Upstream's comparison said with regular expressions over one line for each request."""
    verb = _pattern(rule["verbs"], {"*": "[^ ]+"})
    if "path" in request:
        ends = [
            re.escape(url.rstrip("*")) + (".*" if url[-1] == "*" else "") for url in rule["urls"]
        ]
        return bool(ends) and bool(
            re.fullmatch(f"{verb} ({'|'.join(ends)})", f"{request['verb']} {request['path']}")
        )
    subresource = request["subresource"]
    what = request["resource"] + (f"/{subresource}" if subresource else "")
    line = f"{request['verb']} {request['group']} {what} {request['name']}"
    groups = _pattern(rule["groups"], {"*": "[^ ]*"})
    suffixes = {
        word: f"[^ /]+{re.escape(word[1:])}" for word in WORDS["resources"] if word[:2] == "*/"
    }
    resources = _pattern(rule["resources"], {"*": "[^ ]+", **suffixes})
    names = _pattern(rule["names"] or ("*",), {"*": "[^ ]*"})
    return bool(re.fullmatch(f"{verb} {groups} {resources} {names}", line))


def _pattern(words: tuple[str, ...], special: dict[str, str]) -> str:
    return "(" + "|".join(special.get(word, re.escape(word)) for word in words) + ")"


def rules(policy: SimpleNamespace, seed: int = 36, pairs: int = 4000) -> Iterator[str]:
    """Random rules and requests: differences from the second comparison."""
    chance = random.Random(seed)
    for _ in range(pairs):
        rule, request = random_rule(chance), random_request(chance)
        ours = policy.rules.Rule(**rule).allows(policy.rules.Request("u", **request))
        if ours is not covers(rule, request):
            yield f"{rule} {request}: {ours}"
