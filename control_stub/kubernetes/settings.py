"""Where the control plane's own cluster is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """The API of the control plane's own cluster.

    Args:
        url: of the API.
        ca_file: CA of its certificate, PEM; empty for plain HTTP.
        files: token file by service account (Appendix C).
    """

    url: str
    ca_file: str = ""
    files: dict[str, str] = field(default_factory=dict)
