"""What the white paper's words grant, read here by hand a second time.

Written without a look at `policy`: the words of a row are weighed for one request, and what a word
stands for is written down below once more.
"""

from __future__ import annotations

from typing import NamedTuple

from seed_tables import Cells, compute, control, iam

READS = {"get", "list", "watch"}
UNION = "union"

# Who has which rows. Rows of Appendix C and D that nobody has aren't here.
HOLDERS = {
    "flyteadmin": "C1",
    "scylla-operator": "C3",
    "scylla-operator-webhook": "C4",
    "console": "C5",
    "authorizer": "C6",
    "cluster": "C7",
    "dataproxy": "C8",
    "executions": "C9",
    "queue": "C10",
    "run-scheduler": "C11",
    "usage": "C12",
    "clustersync-system": "D1",
    "executor": "D2",
    "proxy-system": "D3 D7",
    "operator-system": "D4 D8",
    "flytepropeller-system": "D5",
    "flytepropeller-webhook-system": "D6",
    "union-operator-admission": "D9",
    "fluentbit": "D10",
    "opencost": "D11",
    "kube-state-metrics": "D12",
    "grafana": "D13",
    "union-operator-prometheus": "D14",
    "prometheus-operator": "D15",
    "dcgm-exporter": "D16",
}

# Resources by the group that serves them.
SERVED = {
    "": "pods pods/log pods/exec events secrets configmaps namespaces nodes nodes/metrics "
    "nodes/proxy serviceaccounts services endpoints resourcequotas limitranges persistentvolumes "
    "persistentvolumeclaims podtemplates replicationcontrollers spark-role",
    "events.k8s.io": "events",
    "apps": "deployments daemonsets replicasets replicasets/finalizers statefulsets",
    "extensions": "deployments daemonsets replicasets replicasets/finalizers ingresses "
    "networkpolicies",
    "batch": "jobs cronjobs",
    "autoscaling": "horizontalpodautoscalers",
    "policy": "poddisruptionbudgets",
    "networking.k8s.io": "ingresses networkpolicies",
    "discovery.k8s.io": "endpointslices",
    "coordination.k8s.io": "leases",
    "storage.k8s.io": "storageclasses volumeattachments",
    "certificates.k8s.io": "certificatesigningrequests",
    "admissionregistration.k8s.io": "mutatingwebhookconfigurations validatingwebhookconfigurations",
    "apiextensions.k8s.io": "customresourcedefinitions",
    "rbac.authorization.k8s.io": "roles rolebindings clusterroles clusterrolebindings",
    "flyte.lyft.com": "flyteworkflows flyteworkflows/status flyteworkflows/finalizers taskactions "
    "taskactions/status taskactions/finalizers",
    "ray.io": "rayjobs",
    "scylla.scylladb.com": "scyllaclusters scylladbmonitorings scylladbdatacenters "
    "scylladbclusters scylladbmanagerclusterregistrations scylladbmanagertasks "
    "scyllaoperatorconfigs nodeconfigs",
    "monitoring.coreos.com": "alertmanagers prometheuses thanosrulers servicemonitors podmonitors "
    "prometheusrules probes scrapeconfigs prometheusagents",
}
MEANS = {
    "PVCs": "persistentvolumeclaims",
    "PVs": "persistentvolumes",
    "HPAs": "horizontalpodautoscalers",
    "PDBs": "poddisruptionbudgets",
    "webhookconfigs": "mutatingwebhookconfigurations validatingwebhookconfigurations",
    "flyteworkflows/*": "flyteworkflows flyteworkflows/status flyteworkflows/finalizers",
    "taskactions/*": "taskactions taskactions/status taskactions/finalizers",
}
EVERY_OBJECT = "*(all plugin objects)"
READ_ONLY_PODS = "pods (RO)"


class Asked(NamedTuple):
    """One cell of the matrix; `what` is a resource or resource/subresource, or a path."""

    verb: str
    group: str
    what: str
    namespace: str


ROWS: dict[str, Cells] = {
    **{f"C{number}": cells for number, cells in enumerate(control(), start=1)},
    **{f"D{number}": cells for number, cells in enumerate(compute(), start=1)},
}
CONTROL, COMPUTE = "C", "D"


def allowed(account: str, asked: Asked) -> bool:
    """Whether an account in the namespace `union` may do this."""
    return any(row_allows(ROWS[row], asked) for row in HOLDERS.get(account, "").split())


def row_allows(cells: Cells, asked: Asked) -> bool:
    """Whether one row's words give this."""
    if "union namespace" in cells.get("scope", "") and asked.namespace != UNION:
        return False
    listed, _, urls = cells["resources"].partition("nonResourceURLs:")
    if asked.what.startswith("/"):
        return asked.verb == "get" and asked.what in urls.split()
    if asked.verb not in cells["verbs"].split() and cells["verbs"] != "*(all)":
        return False
    if asked.verb == "post" and cells["verbs"] != "*(all)":
        return False
    if EVERY_OBJECT in listed:
        return True
    words = listed.replace(";", " ").split()
    meant = " ".join(MEANS.get(word, word) for word in words).split()
    return asked.what in meant and in_group(cells["api_groups"], asked)


def in_group(groups: str, asked: Asked) -> bool:
    """Whether a row's groups name the one that serves what is asked for."""
    if groups == "“*”":
        return True
    named = ["" if "(core)" in word else word for word in groups.split()]
    serving = [group for group in named if asked.what in SERVED.get(group, "").split()]
    if "*(all)" in named and not serving:
        return True
    return asked.group in serving


def s3_allowed(account: str, kind: str, action: str, *, presigned: bool) -> bool:
    """Whether Appendix E's last column lets a signature of this account do this in a bucket."""
    names = {cells["service_account"].removesuffix(" (per-namespace)"): cells for cells in iam()}
    if account not in names:
        return False
    words = names[account]["s3_access"]
    signed = {"s3:GetObject", "s3:PutObject"}
    if words.startswith("Generates presigned URLs for customer S3 buckets"):
        return presigned and action in signed and kind in ("metadata", "fast-registration")
    if words.startswith("No direct S3 access") or f"{kind} bucket" not in words:
        return False
    reads = {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"}
    writes = {"s3:PutObject", "s3:DeleteObject"}
    uploads = {"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
    granted = reads if words.startswith("Read-only") else reads | writes | uploads
    return action in (granted & signed if presigned else granted)
