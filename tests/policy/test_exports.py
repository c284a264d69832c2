"""What is exported says what is enforced: manifests and IAM documents, read back otherwise."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re
import subprocess
import sys
from typing import Any

import pytest
import reading
import yaml
from judges import as_request, cells, load

from policy.documents import document
from policy.iam import ACTIONS, iam_accounts
from policy.manifests import manifests
from policy.roles import PLANES, Plane, accounts, user_name

BUCKETS = {"metadata": "acme-meta", "fast-registration": "acme-fast"}
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SHAPES = {
    "Namespace": ("v1", {"metadata"}),
    "ServiceAccount": ("v1", {"metadata"}),
    **dict.fromkeys(
        ("Role", "ClusterRole"), ("rbac.authorization.k8s.io/v1", {"metadata", "rules"})
    ),
    **dict.fromkeys(
        ("RoleBinding", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io/v1", {"metadata", "roleRef", "subjects"}),
    ),
}


def cli(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "planesplit", "policy", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout


@pytest.mark.parametrize("plane", PLANES)
def test_manifests_have_the_shape_of_their_kind(plane: Plane) -> None:
    seen = set()
    for one in manifests(plane):
        version, parts = SHAPES[one["kind"]]
        assert one["apiVersion"] == version
        assert one.keys() - {"apiVersion", "kind"} == parts
        name, namespace = one["metadata"]["name"], one["metadata"].get("namespace")
        rbac = version.startswith("rbac")
        assert re.fullmatch(r"[^/%]+", name) if rbac else SUBDOMAIN.fullmatch(name)
        scoped = one["kind"] in ("ServiceAccount", "Role", "RoleBinding")
        assert (namespace == "union") is scoped
        key = (one["kind"], namespace, name)
        assert key not in seen
        seen.add(key)
    assert len(seen) == 1 + len(accounts(plane)) + {"control": 12 + 11, "compute": 16 * 2}[plane]


def granted(objects: list[dict[str, Any]], user: str, request: Any) -> bool:
    """Kubernetes' decision over manifests, said plainly and apart from the package."""
    roles = {(o["kind"], o["metadata"]["name"]): o for o in objects if o["kind"].endswith("Role")}
    for binding in (o for o in objects if o["kind"].endswith("Binding")):
        users = [f"system:serviceaccount:{s['namespace']}:{s['name']}" for s in binding["subjects"]]
        where = binding["metadata"].get("namespace")
        if user not in users or (where and where != request.namespace):
            continue
        for rule in roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]["rules"]:
            if {request.verb, "*"} & set(rule["verbs"]):
                if request.path and request.path in rule.get("nonResourceURLs", ()):
                    return True
                if (
                    request.resource
                    and {request.group, "*"} & set(rule.get("apiGroups", ()))
                    and {request.combined, "*"} & set(rule.get("resources", ()))
                ):
                    return True
    return False


@pytest.mark.parametrize("plane", PLANES)
def test_the_exported_yaml_grants_what_is_enforced(plane: Plane) -> None:
    objects = list(yaml.safe_load_all(cli("export", "--plane", plane)))
    policy = load()
    authorizer = policy.authorizer.Authorizer(plane)
    for account in accounts(plane):
        for asked in cells()[::7]:
            request = as_request(policy, user_name(account), asked)
            assert granted(objects, request.user, request) is authorizer.decide(request).allowed


def test_both_planes_are_one_file_with_every_object_once() -> None:
    text = cli("export", "--format", "yaml")
    objects = list(yaml.safe_load_all(text))
    assert [o["kind"] for o in objects].count("Namespace") == 1
    both = {yaml.safe_dump(o) for plane in PLANES for o in manifests(plane)}
    assert {yaml.safe_dump(o) for o in objects} == both
    assert len(objects) == len(both)
    assert "&id" not in text


def evaluate(policy: dict[str, Any], action: str, resource: str, *, presigned: bool) -> bool:
    """IAM's decision over one document: an explicit refusal wins, and nothing is the default."""
    context = {"s3:authType": "REST-QUERY-STRING" if presigned else "REST-HEADER"}
    effects = []
    for statement in policy["Statement"]:
        conditions = statement.get("Condition", {}).get("StringEquals", {})
        if (
            any(fnmatch.fnmatchcase(action, pattern) for pattern in statement["Action"])
            and any(fnmatch.fnmatchcase(resource, pattern) for pattern in statement["Resource"])
            and all(context[key] == value for key, value in conditions.items())
        ):
            effects.append(statement["Effect"])
    return "Allow" in effects and "Deny" not in effects


@pytest.mark.parametrize("account", list(iam_accounts()))
def test_a_document_grants_what_appendix_e_says(account: str) -> None:
    found = document(iam_accounts()[account], BUCKETS)
    for kind, action, presigned in itertools.product(BUCKETS, ACTIONS, (False, True)):
        whole = action in ("s3:ListBucket", "s3:GetBucketLocation")
        if presigned and action not in ("s3:GetObject", "s3:PutObject"):
            continue  # the store refuses such URLs whoever signed them
        resource = f"arn:aws:s3:::{BUCKETS[kind]}" + ("" if whole else "/some/key")
        expected = reading.s3_allowed(account, kind, action, presigned=presigned)
        assert evaluate(found, action, resource, presigned=presigned) is expected, (action, kind)
    assert not evaluate(found, "s3:GetObject", "arn:aws:s3:::other/key", presigned=True)


def test_documents_have_iams_grammar() -> None:
    found = json.loads(cli("export", "--format", "iam-json"))
    assert list(found) == list(iam_accounts())
    for one in found.values():
        assert one.keys() == {"Version", "Statement"}
        assert one["Version"] == "2012-10-17"
        sids = [statement["Sid"] for statement in one["Statement"]]
        assert len(sids) == len(set(sids)) >= 1
        for statement in one["Statement"]:
            assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
            assert statement["Effect"] in ("Allow", "Deny")
            assert all(re.fullmatch(r"s3:[A-Za-z*]+", action) for action in statement["Action"])
            arn = r"arn:aws:s3:::[a-z0-9.-]+(/\*)?"
            assert all(re.fullmatch(arn, resource) for resource in statement["Resource"])
            of_objects = any(resource.endswith("/*") for resource in statement["Resource"])
            listing = {"s3:ListBucket", "s3:GetBucketLocation"} & set(statement["Action"])
            assert not (of_objects and listing)  # these are actions on buckets
            assert statement.keys() - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}


def test_one_account_s_document_alone_with_the_buckets_own_names() -> None:
    text = cli(
        "export", "--format", "iam-json", "--account", "executor", "--metadata-bucket", "m-1"
    )
    found = json.loads(text)
    assert found["Version"] == "2012-10-17"
    assert found["Statement"][0]["Resource"] == ["arn:aws:s3:::m-1/*"]
