"""Where the white paper's words leave a choice: what we read, and why.

Each note's words are in its rows verbatim; a test holds every other word to mean only itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """One ambiguity.

    Args:
        rows: rows of Appendix C, D and E that it is about.
        words: the white paper's; in each of the rows, or empty if it says nothing.
        reading: what we take it for.
        reason: why.
    """

    rows: tuple[str, ...]
    words: str
    reading: str
    reason: str


_C = tuple(f"C{number}" for number in range(1, 13))
_D = tuple(f"D{number}" for number in range(1, 17))
_E = tuple(f"E{number}" for number in range(1, 9))
_SEVERAL_GROUPS = ("C1", "C3", "C4", "C5", "C7", "C9", "D1", "D2", "D5", "D11", "D12", "D14", "D15")
_CORE = (
    *("C1", "C3", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12"),
    *("D1", "D2", "D5", "D9", "D10", "D11", "D12", "D13", "D14", "D16"),
)

NOTES: tuple[Note, ...] = (
    Note(
        _CORE,
        '“"(core)',
        "the core API group, whose name is empty",
        'a YAML "" whose quotes were lost on the way to the page; (core) explains it',
    ),
    Note(("D15",), "(core)", "the core API group", "as above, without the quotes"),
    Note(
        ("D3", "D6", "D7", "D8"),
        "“*”",
        "every API group",
        "a quoted asterisk, RBAC's wildcard",
    ),
    Note(
        ("C1", "D1", "D15"),
        "*(all)",
        "verb *: every verb, escalate, bind and impersonate included",
        "the column is Verbs, and * is how RBAC says all",
    ),
    Note(
        ("D2", "D4", "D5"),
        "*(all)",
        "every API group, for the resources that no other group of the row serves",
        "here it stands among API Groups, beside groups with resources of their own",
    ),
    Note(
        ("D2", "D5"),
        "*(all plugin objects)",
        "resource * in API group *: everything, secrets and pods/exec too, with the row's 7 verbs",
        "RBAC has no word for plugin objects; the asterisk is what a cluster enforces. "
        "It is the widest right of the tables",
    ),
    Note(
        ("D2", "D5"),
        "pods (RO)",
        "get, list, watch on pods, beside *(all plugin objects), which covers creating them",
        "the purpose says that it creates task pods; RBAC's rules add up, so RO takes nothing away",
    ),
    Note(
        ("D2", "D5"),
        "flyteworkflows/*",
        "flyteworkflows with the subresources status and finalizers",
        "RBAC has no wildcard of one resource's subresources: flyteworkflows/* would match nothing",
    ),
    Note(
        ("D2",),
        "taskactions/*",
        "taskactions with the subresources status and finalizers, in flyte.lyft.com",
        "as flyteworkflows/*; the row names no other group that it could be in",
    ),
    Note(
        _SEVERAL_GROUPS,
        "",
        "each resource only in those of the row's groups that serve it",
        "the row gives one flat list of groups and one of resources; a pair that no API serves "
        "grants nothing, and this is the narrower reading",
    ),
    Note(
        ("D4",),
        "flyte.lyft.com *(all)",
        "flyteworkflows in flyte.lyft.com, the seven other resources in every group",
        "as above; the two groups stand in the order of the resources",
    ),
    Note(
        ("D11", "D12", "D15"),
        "extensions",
        "the group's workloads and ingresses, as before Kubernetes 1.22",
        "no cluster serves it any more; kept because the row names it",
    ),
    Note(
        ("D12",),
        "leases",
        "not granted",
        "coordination.k8s.io, the only group that serves leases, isn't in the row",
    ),
    Note(
        ("D11",),
        "autoscaling",
        "grants nothing",
        "a group of the row without a resource of the row (HPAs aren't listed)",
    ),
    Note(
        ("D12",),
        "policy",
        "grants nothing",
        "as autoscaling in D11 (PDBs aren't listed)",
    ),
    Note(
        ("C1",),
        "spark-role",
        "kept as a resource of the core group; grants nothing that any API serves",
        "it is the name of a role, not of a resource",
    ),
    Note(
        ("D4",),
        "post",
        "create",
        "HTTP's word: Kubernetes' verb of a POST is create, and no request bears the verb post",
    ),
    Note(
        ("D11", "D12"),
        "PVCs",
        "persistentvolumeclaims",
        "abbreviation; rules take the full plural only",
    ),
    Note(("D11", "D12"), "PVs", "persistentvolumes", "as PVCs"),
    Note(("D12",), "HPAs", "horizontalpodautoscalers", "as PVCs"),
    Note(("D15",), "PDBs", "poddisruptionbudgets", "as PVCs"),
    Note(
        ("D15",),
        "webhookconfigs",
        "mutatingwebhookconfigurations and validatingwebhookconfigurations",
        "no resource has that name; the group admissionregistration.k8s.io has these two",
    ),
    Note(
        ("D14",),
        "nonResourceURLs: /metrics /metrics/cadvisor",
        "a rule of its own for these two URLs",
        "in RBAC a rule is for resources or for URLs",
    ),
    Note(
        ("D14",),
        "get list watch",
        "all three on resources, get alone on the URLs",
        "a URL's verb is its HTTP method, and there is no method list or watch",
    ),
    Note(
        ("D12",),
        "list watch",
        "no get, of secrets neither; but a list shows the values of all",
        "as written",
    ),
    Note(
        ("D7", "D8", "D9"),
        "union namespace",
        "the namespace named union",
        "Appendix E's column K8s Namespace names it so",
    ),
    Note(
        ("D8",),
        "operator-system (ns)",
        "a Role operator-system in union, beside the ClusterRole operator-system",
        "(ns) only tells the two apart; Roles and ClusterRoles may share a name",
    ),
    Note(
        ("D7",),
        "get list create update delete",
        "no watch: whether a secret is there is polled; no patch",
        "as written, though every other reader may watch",
    ),
    Note(
        ("C2",),
        "Aggregated admin/edit role",
        "labelled to be aggregated into Kubernetes' admin and edit; bound to nobody",
        "such a role is a part of others and has no account of its own",
    ),
    Note(
        ("C3",),
        "aggregate-to-operator",
        "bound to the account scylla-operator directly",
        "the role that it is aggregated into has no other rules in the table",
    ),
    Note(
        _C,
        "",
        "ClusterRoles, bound for the whole cluster",
        "Appendix C has no column Scope; its head says that all roles are ClusterRole",
    ),
    Note(
        ("C1", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8"),
        "",
        "bound to the service account of Appendix E that does what the purpose says",
        "Appendix C and D name no subjects",
    ),
    Note(
        tuple(row for row in (*_C[2:], *_D[8:])),
        "",
        "bound to an account in union named as the role, without release-name- and -clusterrole",
        "Appendix E has no account for them; release-name is Helm's placeholder",
    ),
    Note(
        _E[:7],
        "adminflyterole",
        "the service account decides, not the role",
        "seven rows name one role, with five different rights",
    ),
    Note(
        ("E3", "E5", "E6", "E8"),
        "R/W",
        "read, list, write, delete, and multipart uploads",
        "the objects' whole life; no right over the bucket itself",
    ),
    Note(
        ("E4",),
        "Read-only",
        "read and list; URLs that it signs may read one object",
        "a URL carries the rights of who signs it, so it can sign no upload",
    ),
    Note(
        ("E1",),
        "Generates presigned URLs",
        "nothing by requests of its own; what it signs may read or write one object",
        "it does not directly read/write data, so the right must hold for query signatures alone",
    ),
    Note(
        ("E1",),
        "customer S3 buckets",
        "both: metadata and fast-registration",
        "the row names none, and its purpose is code upload and download",
    ),
    Note(
        ("E8",),
        "(per-namespace)",
        "one account of that name in every workspace's namespace; no Kubernetes role",
        "Appendix D gives it none",
    ),
)


def notes_of(row: str) -> tuple[Note, ...]:
    """Return the notes about a row."""
    return tuple(note for note in NOTES if row in note.rows)
