"""Who may do what, all of it, against the white paper's words read a second time; and mutants."""

from __future__ import annotations

from pathlib import Path

import judges
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judges import WORDS, covers, load, mutated

from policy.rules import Request, Rule


def test_every_identity_verb_resource_and_scope_is_as_the_seed_says() -> None:
    """Half a second: 84,000 questions."""
    assert list(judges.matrix(load())) == []


def test_every_account_bucket_and_action_is_as_the_seed_says() -> None:
    assert list(judges.store(load())) == []


def words(part: str, least: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(WORDS[part]), min_size=least, max_size=3).map(tuple)


RULES = st.fixed_dictionaries(
    {part: words(part, least=part not in ("names", "urls")) for part in WORDS}
)
VERB = st.sampled_from(["get", "list", "create"])
REQUESTS = st.one_of(
    st.fixed_dictionaries(
        {
            "verb": VERB,
            "group": st.sampled_from(["", "apps", "batch"]),
            "resource": st.sampled_from(["pods", "jobs"]),
            "subresource": st.sampled_from(["", "log", "status", "*"]),
            "name": st.sampled_from(["", "a", "c"]),
        }
    ),
    st.fixed_dictionaries(
        {"verb": VERB, "path": st.text("/metricsx*", min_size=1, max_size=12)},
    ),
)


@given(RULES, REQUESTS)
def test_a_rule_covers_what_upstream_says(
    rule: dict[str, tuple[str, ...]], request: dict[str, str]
) -> None:
    assert Rule(**rule).allows(Request("u", **request)) is covers(rule, request)


def test_random_rules_cover_what_upstream_says() -> None:
    assert list(judges.rules(load())) == []


JUDGES = (judges.rules, judges.store, judges.matrix)
MUTANTS = {
    "any verb": ("rules.py", "if not _covers(self.verbs, request.verb):", "if False:"),
    "no verb *": (
        "rules.py",
        "return ALL in granted or asked in granted",
        "return asked in granted",
    ),
    "only *": ("rules.py", "return ALL in granted or asked in granted", "return ALL in granted"),
    "any group": ("rules.py", "_covers(self.groups, request.group)", "True"),
    "any resource": (
        "rules.py",
        "and any(_resource_matches(resource, request) for resource in self.resources)",
        "",
    ),
    "any name": ("rules.py", "and (not self.names or request.name in self.names)", ""),
    "names never": ("rules.py", "(not self.names or request.name in self.names)", "not self.names"),
    "subresources are their resource": (
        "rules.py",
        "if granted in (ALL, request.combined):",
        "if granted in (ALL, request.combined, request.resource):",
    ),
    "subresources are nothing": (
        "rules.py",
        "if granted in (ALL, request.combined):",
        "if granted in (ALL, request.resource):",
    ),
    "*/sub without a subresource": (
        "rules.py",
        "return bool(request.subresource) and granted ==",
        "return granted in ('*/log', '*/status') or granted ==",
    ),
    "no */sub": (
        "rules.py",
        'return bool(request.subresource) and granted == f"*/{request.subresource}"',
        "return False",
    ),
    "a URL is any URL": (
        "rules.py",
        "any(_url_matches(url, request.path) for url",
        "any(True for url",
    ),
    "a URL is a prefix": (
        "rules.py",
        "return granted.endswith(ALL) and path.startswith",
        "return path.startswith",
    ),
    "no URL prefix": (
        "rules.py",
        "return granted.endswith(ALL) and path.startswith(granted.rstrip(ALL))",
        "return False",
    ),
    "URLs are resources": ("rules.py", "if not request.resource:", "if False:"),
    "a Role holds everywhere": (
        "authorizer.py",
        "if binding.namespace in (CLUSTER, namespace):",
        "if True:",
    ),
    "a Role holds nowhere": (
        "authorizer.py",
        "if binding.namespace in (CLUSTER, namespace):",
        "if binding.namespace == CLUSTER:",
    ),
    "every rule allows": (
        "authorizer.py",
        "if any(rule.allows(request) for rule in binding.rules):",
        "if binding.rules:",
    ),
    "the first rule decides": (
        "authorizer.py",
        "for rule in binding.rules):",
        "for rule in binding.rules[:1]):",
    ),
    "the first binding decides": (
        "authorizer.py",
        "yield binding",
        "yield binding\n                return",
    ),
    "allowed by default": (
        "authorizer.py",
        "return Decision(False, denial(request))",
        "return Decision(True, denial(request))",
    ),
    "any namespace's account": (
        "bindings.py",
        "subjects = frozenset(map(user_name, role.accounts))",
        'subjects = frozenset(f"system:serviceaccount:{n}:{a}" for a in role.accounts '
        'for n in ("union", "flyte-development"))',
    ),
    "Roles are ClusterRoles": (
        "bindings.py",
        "return Binding(role.name, role.rules, subjects, role.scope, role.appendix)",
        'return Binding(role.name, role.rules, subjects, "", role.appendix)',
    ),
    "one plane's roles in both": (
        "bindings.py",
        "return tuple(map(_binding, roles(plane)))",
        'return tuple(map(_binding, (*roles("control"), *roles("compute"))))',
    ),
    "core is a name": ("roles.py", '"" if group == CORE else group', "group"),
    "strangers have IAM rights": (
        "iam.py",
        "account = iam_accounts().get(service_account)\n    if",
        'account = iam_accounts().get(service_account, iam_accounts()["executor"])\n    if',
    ),
    "any bucket": (
        "iam.py",
        'kind = account.grants.get(bucket, "none")',
        'kind = account.grants.get(bucket, account.grants["metadata"])',
    ),
    "any action": ("iam.py", "if action not in GRANTED[kind]:", 'if kind == "none":'),
    "generates-only reads by itself": (
        "iam.py",
        'if kind == "generates-only" and not presigned:',
        "if False:",
    ),
    "a URL lists": ("iam.py", "if presigned and action not in SIGNABLE:", "if False:"),
    "read-only writes": ("iam.py", '"read-only": READ,', '"read-only": ACTIONS,'),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_check_is_needed(mutant: str, tmp_path: Path) -> None:
    with mutated(tmp_path, *MUTANTS[mutant]) as policy:
        noticed = (next(judge(policy), None) for judge in JUDGES)
        assert any(noticed), "nobody noticed"


def test_without_a_change_nobody_complains(tmp_path: Path) -> None:
    with mutated(tmp_path, "rules.py", 'ALL = "*"', "ALL = '*'") as policy:
        assert [next(judge(policy), None) for judge in JUDGES] == [None] * 3
