"""Names of an attempt in the cluster: namespace, pod and labels follow from its ids alone."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

LABEL_PREFIX = "planesplit/"
MAX_POD_NAME_CHARS = 63  # a pod's name is its host name (RFC 1123)

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class BadName(ValueError):
    """An id that cannot name anything in a cluster; the message says which and what is allowed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one action of a run.

    Args:
        org, project, domain, run, action: ids of the control plane.
        attempt: counts from 1.
    """

    org: str
    project: str
    domain: str
    run: str
    action: str
    attempt: int

    def check(self) -> None:
        """Make sure that every id can be a label and the namespace can exist.

        Raises:
            BadName: one cannot.
        """
        for name in ("org", "project", "domain", "run", "action"):
            if not _LABEL.fullmatch(getattr(self, name)):
                raise BadName(f"{name} must be 1 to 63 letters, digits and . _ - between them")
        if not 1 <= self.attempt < 2**31:
            raise BadName("attempt must be at least 1")
        if not _NAMESPACE.fullmatch(self.namespace):
            raise BadName("project and domain must form a namespace: a-z, 0-9, -; 63 characters")

    def numbered(self, attempt: int) -> Attempt:
        """Return another attempt of the same action."""
        return replace(self, attempt=attempt)

    @property
    def namespace(self) -> str:
        """Namespace of its pod."""
        return f"{self.project}-{self.domain}"

    @property
    def pod(self) -> str:
        """Name of its pod: readable, and a digest where the readable form is not unique."""
        return _pod_name(f"{self.run}-{self.action}-{self.attempt}")

    @property
    def short_pod(self) -> str:
        """Shown beside each line."""
        return f"{self.action}-{self.attempt}"

    def labels(self) -> dict[str, str]:
        """Labels of its pod."""
        return {
            f"{LABEL_PREFIX}org": self.org,
            f"{LABEL_PREFIX}project": self.project,
            f"{LABEL_PREFIX}domain": self.domain,
            f"{LABEL_PREFIX}run": self.run,
            f"{LABEL_PREFIX}action": self.action,
            f"{LABEL_PREFIX}attempt": str(self.attempt),
        }

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> Attempt | None:
        """Return whose pod it is; None for a pod that is not ours."""
        names = ("org", "project", "domain", "run", "action", "attempt")
        values = [labels.get(LABEL_PREFIX + name, "") for name in names]
        if not all(values) or not values[5].isdecimal():
            return None
        org, project, domain, run, action, number = values
        return cls(org, project, domain, run, action, int(number))


@functools.lru_cache(maxsize=1024)  # every tail asks for its pod at every look
def _pod_name(plain: str) -> str:
    name = re.sub(r"[^a-z0-9-]", "-", plain.lower()).strip("-")
    if name == plain and len(name) <= MAX_POD_NAME_CHARS:
        return name
    digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
    return f"{name[: MAX_POD_NAME_CHARS - 9]}-{digest}"
