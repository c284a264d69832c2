"""The white paper's Appendix C, D and E as cells, read from its text."""

from __future__ import annotations

from pathlib import Path

TEXT = (Path(__file__).parents[1] / "whitepaper" / "appendix.txt").read_text(encoding="utf-8")
C_HEADS = ("role_name", "purpose", "api_groups", "resources", "verbs")
D_HEADS = ("role_name", "purpose", "kind", "api_groups", "scope", "resources", "verbs")
E_HEADS = (
    "plane",
    "service_account",
    "purpose",
    "k8s_namespace",
    "iam_role_arn_pattern",
    "bound_to",
    "s3_access",
)

Cells = dict[str, str]


def table(start: str, end: str, heads: tuple[str, ...]) -> list[Cells]:
    """Return the rows between two titles; a row may go over several lines."""
    section = TEXT[TEXT.index(start) : TEXT.index(end)]
    lines = section.splitlines()
    lines = lines[next(i for i, line in enumerate(lines) if line.startswith("|---")) + 1 :]
    cells = [cell for line in lines for part in line.split(" | ") if (cell := part.strip(" |"))]
    assert len(cells) % len(heads) == 0, cells
    return [
        dict(zip(heads, cells[at : at + len(heads)], strict=True))
        for at in range(0, len(cells), len(heads))
    ]


def control() -> list[Cells]:
    """Appendix C."""
    return table("C: Kubernetes RBAC", "D: Kubernetes RBAC", C_HEADS)


def compute() -> list[Cells]:
    """Appendix D: core services, then observability."""
    core = table("Union core services", "Observability and monitoring", D_HEADS)
    return core + table("Observability and monitoring", "E: AWS IAM", D_HEADS)


def iam() -> list[Cells]:
    """Appendix E."""
    return table("E: AWS IAM roles", "For BYOC-specific", E_HEADS)
