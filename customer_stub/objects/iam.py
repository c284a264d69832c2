"""Appendix E as data: service accounts, their IAM roles, and what each may do in which bucket.

Seven of the eight rows share a role name (`adminflyterole`) with five different rights, so the
service account decides, not the role. The name `userflyterole` is that of task pods' account
`clusterresource-template`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Plane = Literal["Control Plane", "Compute Plane"]
Kind = Literal["metadata", "fast-registration"]
Action = Literal["read", "list", "write"]

NONE: frozenset[Action] = frozenset()
READ: frozenset[Action] = frozenset({"read", "list"})
READ_WRITE: frozenset[Action] = READ | {"write"}
KINDS: tuple[Kind, ...] = ("metadata", "fast-registration")
ACTIONS: tuple[Action, ...] = ("read", "list", "write")
# A URL is for one object: a listing can't be signed into one.
SIGNABLE: frozenset[Action] = frozenset({"read", "write"})

ADMIN_ROLE, USER_ROLE = "adminflyterole", "userflyterole"


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """One row of Appendix E.

    Args:
        plane, name, namespace, bound_to, s3_access: the white paper's words.
        role: the IAM role's name, without account id and remarks.
        metadata, fast_registration: what it may do in the bucket with its own requests.
        signs: both buckets, by URLs that it has signed, and by nothing else.
    """

    plane: Plane
    name: str
    namespace: str
    role: str
    bound_to: str
    s3_access: str
    metadata: frozenset[Action] = NONE
    fast_registration: frozenset[Action] = NONE
    signs: bool = False

    def may(self, action: Action, kind: Kind, *, presigned: bool) -> bool:
        """Tell whether a request with this account's signature may do this.

        Args:
            action: read (GET, HEAD), list, or write (PUT, DELETE, multipart).
            kind: which bucket.
            presigned: signed in the query (a URL that somebody else uses) or in a header (itself).
        """
        if self.signs:
            return presigned and action in SIGNABLE
        rights = self.metadata if kind == "metadata" else self.fast_registration
        return action in rights and (action in SIGNABLE or not presigned)


_COMPUTE: Plane = "Compute Plane"

SERVICE_ACCOUNTS: dict[str, ServiceAccount] = {
    account.name: account
    for account in (
        ServiceAccount(
            "Control Plane",
            "flyteadmin",
            "union",
            ADMIN_ROLE,
            "FlyteAdmin (workflow admin service)",
            "Generates presigned URLs for customer S3 buckets (does not directly read/write data)",
            signs=True,
        ),
        ServiceAccount(
            _COMPUTE,
            "clustersync-system",
            "union",
            ADMIN_ROLE,
            "ClusterResourceSync controller",
            "No direct S3 access",
        ),
        ServiceAccount(
            _COMPUTE,
            "executor",
            "union",
            ADMIN_ROLE,
            "Node Executor (TaskAction controller)",
            "R/W to metadata bucket and fast-registration bucket for staging task inputs/outputs",
            metadata=READ_WRITE,
            fast_registration=READ_WRITE,
        ),
        ServiceAccount(
            _COMPUTE,
            "proxy-system",
            "union",
            ADMIN_ROLE,
            "Proxy Service",
            "Read-only access to metadata bucket for proxying presigned URL requests",
            metadata=READ,
        ),
        ServiceAccount(
            _COMPUTE,
            "operator-system",
            "union",
            ADMIN_ROLE,
            "Union Operator",
            "R/W to metadata bucket for operator state and config",
            metadata=READ_WRITE,
        ),
        ServiceAccount(
            _COMPUTE,
            "flytepropeller-system",
            "union",
            ADMIN_ROLE,
            "FlytePropeller (workflow engine)",
            "R/W to metadata bucket for workflow data (inputs, outputs, offloaded data)",
            metadata=READ_WRITE,
        ),
        ServiceAccount(
            _COMPUTE,
            "flytepropeller-webhook-system",
            "union",
            ADMIN_ROLE,
            "FlytePropeller Webhook",
            "No direct S3 access (handles secrets injection only)",
        ),
        ServiceAccount(
            _COMPUTE,
            "clusterresource-template",
            "Per-workspace namespace",
            USER_ROLE,
            "Task Pods (user workloads)",
            "R/W to metadata bucket for task inputs/outputs, code bundles, artifacts",
            metadata=READ_WRITE,
        ),
    )
}
TASK_PODS = "clusterresource-template"
