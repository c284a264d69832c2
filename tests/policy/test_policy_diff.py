"""An operator's manifests against the white paper: nothing wider and nothing missing unseen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.comparison import compare
from policy.holdings import BadManifest, of_manifests, of_white_paper, planes_of, short_name
from policy.manifests import manifests

RBAC = "rbac.authorization.k8s.io/v1"


def exported() -> list[dict[str, Any]]:
    return copy.deepcopy(list(manifests("compute")))


def find(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))


def differences(objects: list[dict[str, Any]], namespace: str = "union") -> list[str]:
    operator = of_manifests(objects, namespace)
    return [
        f"{short_name(d.subject)} {'+' if d.wider else '-'} {' '.join(d.verbs)}: {d.what}"
        + (f" in {d.namespace}" if d.namespace else "")
        + (f" named {d.name}" if d.name else "")
        for d in compare(operator, of_white_paper(("compute",)))
    ]


def bound(rules: list[dict[str, Any]], account: str = "proxy-system") -> list[dict[str, Any]]:
    """The export, and one more role for an account."""
    role = {"kind": "ClusterRole", "apiVersion": RBAC, "metadata": {"name": "more"}, "rules": rules}
    binding = {
        "kind": "ClusterRoleBinding",
        "apiVersion": RBAC,
        "metadata": {"name": "more"},
        "roleRef": {"kind": "ClusterRole", "name": "more"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "union"}],
    }
    return [*exported(), role, binding]


def test_the_export_is_equal() -> None:
    assert differences(exported()) == []
    assert differences([{"kind": "List", "items": exported()}, None]) == []  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"resources": ["secrets"], "verbs": ["list"]}, ["+ list: secrets"]),
        ({"resources": ["pods/exec"], "verbs": ["create"]}, ["+ create: pods/exec"]),
        ({"resources": ["pods"], "verbs": ["get", "patch"]}, ["+ patch: pods"]),
        ({"resources": ["pods"], "verbs": ["get", "post"]}, []),
        ({"resources": ["pods/*"], "verbs": ["create"]}, []),
        ({"apiGroups": ["apps"], "resources": ["pods"], "verbs": ["create"]}, []),
        (
            {"apiGroups": ["acme.dev"], "resources": ["pods"], "verbs": ["create"]},
            ["+ create: pods.acme.dev"],
        ),
        (
            {"apiGroups": ["acme.dev"], "resources": ["widgets/x"], "verbs": ["get"]},
            ["+ get: widgets.acme.dev/x"],
        ),
        (
            {"apiGroups": ["apps"], "resources": ["deployments/finalizers"], "verbs": ["update"]},
            ["+ update: deployments.apps/finalizers"],
        ),
        (
            {"resources": ["secrets"], "verbs": ["get"], "resourceNames": ["a"]},
            ["+ get: secrets named a"],
        ),
        ({"nonResourceURLs": ["/logs/*"], "verbs": ["get"]}, ["+ get: URL /logs/*"]),
        ({"nonResourceURLs": ["*"], "verbs": ["get"]}, ["+ get: URL /(any other)"]),
        (
            {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get"]},
            ["+ get: everything in apps"],
        ),
        ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["create"]}, ["+ create: everything"]),
        (
            {"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["patch"]},
            [
                "+ patch: (any other).(any other)/scale",
                "+ patch: deployments.apps/scale",
                "+ patch: deployments.extensions/scale",
            ],
        ),
        ({"resources": ["nodes"], "verbs": ["impersonate"]}, ["+ impersonate: nodes"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wider_is_told_once(rule: dict[str, Any], expected: list[str]) -> None:
    if "nonResourceURLs" not in rule:
        rule = {"apiGroups": [""], **rule}
    assert differences(bound([rule])) == [f"proxy-system {line}" for line in expected]


def test_every_verb_is_told_as_a_wildcard() -> None:
    (line,) = differences(bound([{"apiGroups": [""], "resources": ["services"], "verbs": ["*"]}]))
    assert "deletecollection (any other): services" in line


def test_what_is_missing_is_told() -> None:
    objects = exported()
    find(objects, "ClusterRole", "proxy-system")["rules"][0]["resources"].remove("pods/log")
    find(objects, "Role", "proxy-system-secret")["rules"][0]["verbs"].remove("delete")
    assert differences(objects) == [
        "proxy-system - get list watch: pods/log",
        "proxy-system - delete: secrets in union",
    ]


def test_a_role_that_holds_in_more_places_is_wider() -> None:
    objects = exported()
    role = find(objects, "Role", "proxy-system-secret")
    binding = find(objects, "RoleBinding", "proxy-system-secret")
    role["kind"], binding["kind"], binding["roleRef"]["kind"] = (
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterRole",
    )
    assert differences(objects) == ["proxy-system + get list create update delete: secrets"]


def test_a_cluster_role_bound_in_one_namespace_is_missing_elsewhere() -> None:
    objects = exported()
    binding = find(objects, "ClusterRoleBinding", "release-name-dcgm-exporter")
    binding["kind"], binding["metadata"]["namespace"] = "RoleBinding", "gpu"
    assert differences(objects) == [
        "dcgm-exporter - get list watch: nodes",
        "dcgm-exporter - get list watch: pods",
    ]


def test_what_is_in_no_namespace_is_not_granted_in_one() -> None:
    objects = exported()
    rules = find(objects, "Role", "proxy-system-secret")["rules"]
    rules.append({"apiGroups": [""], "resources": ["nodes", "services"], "verbs": ["get"]})
    assert differences(objects) == ["proxy-system + get: services in union"]


def namespaced(namespace: str | None, subject: dict[str, str]) -> list[dict[str, Any]]:
    """The export, and a Role with a binding in a namespace."""
    metadata = {"name": "more"} | ({"namespace": namespace} if namespace else {})
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}]
    role = {"kind": "Role", "metadata": metadata, "rules": rules}
    reference = {"kind": "Role", "name": "more"}
    return [
        *exported(),
        role,
        {"kind": "RoleBinding", "metadata": metadata, "roleRef": reference, "subjects": [subject]},
    ]


OPENCOST = {"kind": "ServiceAccount", "name": "opencost", "namespace": "union"}


@pytest.mark.parametrize(
    ("namespace", "subject", "expected"),
    [
        ("gpu", {**OPENCOST, "name": "fluentbit"}, "fluentbit + get: services in gpu"),
        ("union", {**OPENCOST, "name": "fluentbit"}, "fluentbit + get: services in union"),
        (None, {**OPENCOST, "name": "fluentbit"}, "fluentbit + get: services in union"),
        (
            "union",
            {**OPENCOST, "namespace": "gpu"},
            "system:serviceaccount:gpu:opencost + get: services in union",
        ),
        (
            "gpu",
            {"kind": "ServiceAccount", "name": "opencost"},
            "system:serviceaccount:gpu:opencost + get: services in gpu",
        ),
        ("gpu", {"kind": "User", "name": "jane"}, "jane + get: services in gpu"),
        ("gpu", {"kind": "Group", "name": "staff"}, "staff + get: services in gpu"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_roles_of_one_namespace(
    namespace: str | None, subject: dict[str, str], expected: str
) -> None:
    assert differences(namespaced(namespace, subject)) == [expected]


def test_a_role_of_another_namespace_is_not_the_one_that_is_bound() -> None:
    objects = namespaced("gpu", {**OPENCOST, "name": "fluentbit"})
    find(objects, "Role", "more")["metadata"] = {"name": "more", "namespace": "other"}
    assert differences(objects) == ["fluentbit + : whatever it grants in gpu"]


def test_only_lists_are_taken_apart() -> None:
    objects = [{"kind": "Pod", "items": bound([{"verbs": ["get"], "nonResourceURLs": ["/x"]}])}]
    assert differences([*exported(), *objects]) == []


def test_a_refusal_names_the_object() -> None:
    with pytest.raises(BadManifest, match=r"^ClusterRole opencost: verbs is no list of words$"):
        of_manifests([{**find(exported(), "ClusterRole", "opencost"), "rules": [{"verbs": 1}]}])
    with pytest.raises(BadManifest, match=r"^ClusterRole without a name: metadata is no object$"):
        of_manifests([{"kind": "ClusterRole", "metadata": "x"}])


def test_who_is_not_named_and_who_should_not_be() -> None:
    objects = exported()
    find(objects, "ClusterRoleBinding", "opencost")["subjects"][0]["name"] = "stranger"
    found = differences(objects)
    assert "opencost - : " in found
    assert "system:serviceaccount:union:stranger + get list watch: nodes" in found


def test_roles_alone_count_as_the_white_paper_binds_them() -> None:
    objects = [o for o in exported() if not o["kind"].endswith("Binding")]
    assert differences(objects) == []


def test_an_aggregated_role_has_the_rules_of_its_parts() -> None:
    objects = exported()
    role = find(objects, "ClusterRole", "opencost")
    part = {**role, "metadata": {"name": "part", "labels": {"into": "opencost"}}}
    role["rules"], role["aggregationRule"] = (
        [],
        {"clusterRoleSelectors": [{"matchLabels": {"into": "opencost"}}]},
    )
    assert differences(objects)
    assert differences([*objects, part]) == []


def bound_to(role: str) -> list[dict[str, Any]]:
    """The export, and a binding to a role that isn't in it."""
    *objects, _, binding = bound([])
    binding["roleRef"]["name"] = role
    return [*objects, binding]


def test_a_role_that_every_cluster_has_is_known() -> None:
    assert "proxy-system + get list watch create" in differences(bound_to("cluster-admin"))[0]
    assert differences(bound_to("cluster-admin"))[0].endswith(": everything")


def test_a_role_that_is_not_there_is_not_taken_for_nothing() -> None:
    assert differences(bound_to("edit")) == ["proxy-system + : whatever it grants"]


def test_http_s_own_verbs_count_for_urls() -> None:
    rule = {"nonResourceURLs": ["/debug"], "verbs": ["post"]}
    assert differences(bound([rule])) == ["proxy-system + post: URL /debug"]


def test_the_namespace_may_be_called_otherwise() -> None:
    text = str(exported()).replace("'union'", "'dataplane'")
    objects = eval(text)
    assert differences(objects)
    assert differences(objects, "dataplane") == []


def test_planes_are_recognised() -> None:
    assert planes_of(of_manifests(manifests("control"))) == ("control",)
    assert planes_of(of_manifests(exported())) == ("compute",)
    assert planes_of(of_manifests([])) == ()


def aggregated(selector: dict[str, Any]) -> dict[str, Any]:
    rule = {"clusterRoleSelectors": [selector]}
    return {"kind": "ClusterRole", "metadata": {"name": "opencost"}, "aggregationRule": rule}


WORDS = st.sampled_from(["union", "opencost", "pods", "get", "*", ""])
PARTS = ["metadata", "name", "namespace", "labels", "rules", "verbs", "roleRef", "kind"]
PARTS += ["subjects", "aggregationRule", "clusterRoleSelectors", "matchLabels", "apiGroups"]
KINDS = st.sampled_from(["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "List"])
VALUES = st.recursive(
    WORDS | KINDS | st.none() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(PARTS), inner, max_size=4)
    ),
)
OBJECTS = st.dictionaries(st.sampled_from(PARTS), VALUES, max_size=6)


@given(st.lists(st.builds(lambda one, kind: {**one, "kind": kind}, OBJECTS, KINDS), max_size=3))
def test_anything_is_compared_or_refused(documents: list[Any]) -> None:
    try:
        operator = of_manifests(documents)
    except BadManifest:
        return
    assert all(d.subject for d in compare(operator, {}))


@pytest.mark.parametrize(
    "documents",
    [
        ["text"],
        [{"a": 1}],
        [{"kind": 5}],
        [{"kind": "List", "items": ["x"]}],
        [{"kind": "Role"}],
        [{"kind": "Role", "metadata": {"name": ["x"]}}],
        [{"kind": "RoleBinding", "metadata": {"name": "x"}}],
        [{"kind": "ClusterRole", "metadata": {"name": "opencost"}, "rules": "all"}],
        [{"kind": "ClusterRole", "metadata": {"name": "opencost"}, "rules": [{"verbs": "*"}]}],
        [{"kind": "ClusterRole", "metadata": {"name": "opencost"}, "rules": [{"verbs": [1]}]}],
        [{"kind": "ClusterRole", "metadata": {"name": "opencost"}, "aggregationRule": "x"}],
        [aggregated({"matchLabels": {"a": "b"}, "matchExpressions": []})],
        [aggregated({"matchExpressions": []})],
        [{"kind": "ClusterRole", "metadata": {"name": "opencost"}, "rules": ["x"]}],
        [{"kind": "Pod"}] * 10_001,
    ],
    ids=lambda documents: str(documents)[:50],
)
def test_what_is_no_manifest_is_refused(documents: list[Any]) -> None:
    with pytest.raises(BadManifest):
        of_manifests(documents)
