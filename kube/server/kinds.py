"""The kinds of objects that this API serves: a table, and no code for each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
FLYTE = "flyte.lyft.com"

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PATH_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%]+")  # what names of roles may be


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object.

    Args:
        version: group and version as `apiVersion` has them.
        name: plural, as in URLs.
        kind: of one object.
        short: what kubectl's users type.
        namespaced: whether its objects live in namespaces.
    """

    version: str
    name: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.version.rpartition("/")[0]

    @property
    def key(self) -> str:
        """Name and group, as Kubernetes' messages have it: `pods`, `deployments.apps`."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def names(self) -> re.Pattern[str]:
        """What its objects may be called."""
        return _PATH_SEGMENT if self.group == RBAC else _SUBDOMAIN

    def described(self) -> Json:
        """Return its APIResource."""
        return {
            "name": self.name,
            "singularName": self.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": list(VERBS),
            "shortNames": list(self.short),
        }


def _kinds(version: str, *lines: str, namespaced: bool = True) -> Iterator[Kind]:
    for line in lines:
        name, kind, *short = line.split()
        yield Kind(version, name, kind, tuple(short), namespaced)


KINDS: dict[str, Kind] = {
    kind.key: kind
    for kind in (
        *_kinds(
            "v1",
            "pods Pod po",
            "secrets Secret",
            "events Event ev",
            "configmaps ConfigMap cm",
            "serviceaccounts ServiceAccount sa",
            "resourcequotas ResourceQuota quota",
            "limitranges LimitRange limits",
            "services Service svc",
            "endpoints Endpoints ep",
            "podtemplates PodTemplate",
            "replicationcontrollers ReplicationController rc",
            "persistentvolumeclaims PersistentVolumeClaim pvc",
        ),
        *_kinds(
            "v1",
            "nodes Node no",
            "namespaces Namespace ns",
            "persistentvolumes PersistentVolume pv",
            namespaced=False,
        ),
        *_kinds(
            "apps/v1",
            "deployments Deployment deploy",
            "replicasets ReplicaSet rs",
            "statefulsets StatefulSet sts",
            "daemonsets DaemonSet ds",
        ),
        *_kinds("batch/v1", "jobs Job", "cronjobs CronJob cj"),
        *_kinds("autoscaling/v2", "horizontalpodautoscalers HorizontalPodAutoscaler hpa"),
        *_kinds("policy/v1", "poddisruptionbudgets PodDisruptionBudget pdb"),
        *_kinds(
            "networking.k8s.io/v1", "ingresses Ingress ing", "networkpolicies NetworkPolicy netpol"
        ),
        *_kinds("discovery.k8s.io/v1", "endpointslices EndpointSlice"),
        *_kinds("coordination.k8s.io/v1", "leases Lease"),
        *_kinds(
            "storage.k8s.io/v1",
            "storageclasses StorageClass sc",
            "volumeattachments VolumeAttachment",
            namespaced=False,
        ),
        *_kinds(
            "certificates.k8s.io/v1",
            "certificatesigningrequests CertificateSigningRequest csr",
            namespaced=False,
        ),
        *_kinds(f"{RBAC}/v1", "roles Role", "rolebindings RoleBinding"),
        *_kinds(
            f"{RBAC}/v1",
            "clusterroles ClusterRole",
            "clusterrolebindings ClusterRoleBinding",
            namespaced=False,
        ),
        *_kinds(
            f"{ADMISSION}/v1",
            "mutatingwebhookconfigurations MutatingWebhookConfiguration",
            "validatingwebhookconfigurations ValidatingWebhookConfiguration",
            namespaced=False,
        ),
        *_kinds(
            "apiextensions.k8s.io/v1",
            "customresourcedefinitions CustomResourceDefinition crd",
            namespaced=False,
        ),
        *_kinds(f"{FLYTE}/v1alpha1", "flyteworkflows FlyteWorkflow fly", "taskactions TaskAction"),
        *_kinds("ray.io/v1", "rayjobs RayJob"),
    )
}
PODS, SECRETS, EVENTS = KINDS["pods"], KINDS["secrets"], KINDS["events"]
NODES, NAMESPACES = KINDS["nodes"], KINDS["namespaces"]
