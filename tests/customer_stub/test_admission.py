"""Which pods are admitted, and how the others are refused."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from customer_cast import NAMESPACE, pod
from hypothesis import given
from hypothesis import strategies as st

from kube.server.admission import admit_pod
from kube.server.selectors import field_selector, label_selector
from kube.server.status import ApiError


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good pod with one field set, by dotted path."""
    body = pod()
    target: Any = body
    *parents, last = path.split(".")
    for key in parents:
        target = target[int(key)] if key.isdigit() else target[key]
    target[last] = value
    return body


def test_a_good_pod_is_completed() -> None:
    admitted = admit_pod(pod("x", "busybox", "sleep", "1"), NAMESPACE)
    assert admitted["metadata"] == {"name": "x", "namespace": NAMESPACE}
    assert admitted["spec"]["restartPolicy"] == "Never"


CONTAINER = "spec.containers.0"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.hostNetwork", True, "spec.hostNetwork"),
        ("spec.nodeName\x1b[2J", "x", "spec.?"),
        (f"{CONTAINER}.securityContext", {}, "spec.containers[0].securityContext"),
        ("spec.initContainers", [], "spec.initContainers"),
        ("spec.restartPolicy", "Always", "spec.restartPolicy"),
        ("spec.terminationGracePeriodSeconds", -1, "spec.terminationGracePeriodSeconds"),
        ("spec.terminationGracePeriodSeconds", True, "spec.terminationGracePeriodSeconds"),
        ("spec.serviceAccountName", "A B", "spec.serviceAccountName"),
        ("spec.containers", [], "spec.containers"),
        ("spec.containers", ["x"], "spec.containers[0]"),
        ("metadata.name", "Upper", "metadata.name"),
        ("metadata.name", "../../etc", "metadata.name"),
        ("metadata.name", "x" * 151, "metadata.name"),
        ("metadata.name", None, "metadata.name"),
        ("metadata.ownerReferences", [], "metadata.ownerReferences"),
        ("metadata.labels", {"a b": "x"}, "metadata.labels"),
        ("metadata.labels", {"a": "x" * 64}, "metadata.labels"),
        ("metadata.labels", [], "metadata.labels"),
        ("metadata.annotations", {"a": "x" * 262_144}, "metadata.annotations"),
        (f"{CONTAINER}.name", "a/b", "spec.containers[0].name"),
        (f"{CONTAINER}.image", "", "spec.containers[0].image"),
        (f"{CONTAINER}.command", "sh", "spec.containers[0].command"),
        (f"{CONTAINER}.args", [1], "spec.containers[0].args"),
        (f"{CONTAINER}.args", ["a\0b"], "spec.containers[0].args"),
        (f"{CONTAINER}.workingDir", 1, "spec.containers[0].workingDir"),
        (f"{CONTAINER}.env", {}, "spec.containers[0].env"),
        (f"{CONTAINER}.env", [{"name": "A=B"}], "spec.containers[0].env[0].name"),
        (
            f"{CONTAINER}.env",
            [{"name": "A", "valueFrom": {}}],
            "spec.containers[0].env[0].valueFrom",
        ),
        (f"{CONTAINER}.env", [{"name": "A", "value": 1}], "spec.containers[0].env[0]"),
    ],
)
def test_bad_fields_are_named(path: str, value: Any, field: str) -> None:
    with pytest.raises(ApiError) as caught:
        admit_pod(changed(path, value), NAMESPACE)
    status = caught.value.status()
    assert status["code"] == 422
    assert [cause["field"] for cause in status["details"]["causes"]] == [field]


@pytest.mark.parametrize("body", [None, [], {}, {**pod(), "kind": "Job"}, {**pod(), "spec": 1}])
def test_what_is_no_pod(body: Any) -> None:
    with pytest.raises(ApiError) as caught:
        admit_pod(body, NAMESPACE)
    assert caught.value.code == 400


def test_the_url_decides_the_namespace() -> None:
    with pytest.raises(ApiError, match="does not match the namespace"):
        admit_pod(changed("metadata.namespace", "other"), NAMESPACE)
    with pytest.raises(ApiError) as caught:
        admit_pod(pod(), "../etc")
    assert caught.value.code == 422


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(
        [
            "metadata",
            "spec",
            "metadata.labels",
            "metadata.annotations",
            "spec.containers",
            f"{CONTAINER}.env",
            f"{CONTAINER}.command",
            "metadata.name",
        ]
    ),
    json_values,
)
def test_any_json_is_admitted_or_refused(path: str, value: Any) -> None:
    with contextlib.suppress(ApiError):
        assert admit_pod(changed(path, value), NAMESPACE)["kind"] == "Pod"


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("run=r1", True),
        ("run==r1,zone=eu", True),
        ("run=r2", False),
        ("run!=r2,absent!=x", True),
        ("run in (r0, r1)", True),
        ("run notin (r0,r1),zone", False),
        ("absent notin (x)", True),
        ("zone,!absent", True),
        ("absent", False),
    ],
)
def test_label_selectors(selector: str, *, matches: bool) -> None:
    labelled = {"metadata": {"name": "x", "labels": {"run": "r1", "zone": "eu"}}}
    assert label_selector(selector)(labelled) is matches


@pytest.mark.parametrize("selector", ["a in b", "a=b=c", "a,,b", "=x", "a in (b", "x" * 3000])
def test_bad_label_selectors(selector: str) -> None:
    with pytest.raises(ApiError, match="selector"):
        label_selector(selector)


def test_field_selectors() -> None:
    obj = {"metadata": {"name": "x", "namespace": "n"}}
    assert field_selector("metadata.name=x,metadata.namespace!=m")(obj)
    assert not field_selector("metadata.name==y")(obj)
    for bad in ("status.phase=Running", "metadata.name", "metadata.name in (x)"):
        with pytest.raises(ApiError, match="field selectors"):
            field_selector(bad)
