"""Names of secrets in the backends. The customer's webhook finds them by the same rules.

Kubernetes: one namespace holds all. A Secret is called `secret-` and the first 32 hex digits of
SHA-256 over `org/project/domain/name`; the labels `planesplit/org`, `/project`, `/domain` and
`/secret` say what was hashed. AWS Secrets Manager: `{prefix}/{org}/{project}/{domain}/{name}`.
In both, `-` stands for the project or domain of a secret that has none (in labels: empty).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from compute_agent.attempts import LABEL_PREFIX

WIDE = "-"  # no project, or no domain
DIGEST_CHARS = 32

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class BadSecretName(ValueError):
    """An id that can't name a secret; the message says which part and what is allowed."""


@dataclass(frozen=True, slots=True)
class SecretScope:
    """Whose secrets: of a project and domain, of a domain, or of the whole org.

    Args:
        org: never empty.
        project, domain: empty where the secret has none.
    """

    org: str
    project: str = ""
    domain: str = ""

    def check(self) -> None:
        """Make sure that such a scope can be.

        Raises:
            BadSecretName: it can't.
        """
        for part, value in (("project", self.project), ("domain", self.domain)):
            if value and not _LABEL.fullmatch(value):
                raise BadSecretName(f"{part} must be 1 to 63 letters, digits and . _ - between")
        if not _LABEL.fullmatch(self.org):
            raise BadSecretName("organization must be 1 to 63 letters, digits and . _ - between")
        if self.project and not self.domain:
            raise BadSecretName("a secret of a project needs a domain")

    def parts(self) -> tuple[str, str, str]:
        """Return org, project and domain, `-` for what there is none of."""
        return self.org, self.project or WIDE, self.domain or WIDE

    def labels(self) -> dict[str, str]:
        """Return the labels that a Kubernetes Secret of this scope has; a label can't be `-`."""
        values = (self.org, self.project, self.domain)
        names = ("org", "project", "domain")
        return {LABEL_PREFIX + name: value for name, value in zip(names, values, strict=True)}

    def aws_prefix(self, prefix: str) -> str:
        """Return what the names of its secrets begin with in AWS Secrets Manager."""
        return "/".join(filter(None, (prefix, *self.parts()))) + "/"


@dataclass(frozen=True, slots=True)
class SecretName:
    """One secret's name in its scope."""

    scope: SecretScope
    name: str

    def check(self) -> None:
        """Make sure that such a secret can be.

        Raises:
            BadSecretName: it can't.
        """
        self.scope.check()
        if not _LABEL.fullmatch(self.name):
            raise BadSecretName("name must be 1 to 63 letters, digits and . _ - between them")

    @property
    def kubernetes(self) -> str:
        """Its Kubernetes Secret."""
        text = "/".join((*self.scope.parts(), self.name))
        return f"secret-{hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]}"

    def aws(self, prefix: str) -> str:
        """Its name in AWS Secrets Manager."""
        return self.scope.aws_prefix(prefix) + self.name
