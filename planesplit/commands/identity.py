"""`planesplit get principals`, `bind`, `unbind`, `revoke`: who may do what in the org."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from planesplit.administration import open_administration
from planesplit.commands.outcome import OK
from planesplit.commands.output import as_json, as_table, progress
from planesplit.ready import find
from tunnel.messages.planesplit_v1_pb2 import Binding, Principal

COLUMNS = ("subject", "kind", "roles")
ALL = "*"


async def get_principals(*, output: str, ready_file: Path | None) -> int:
    """Print who is known in the org, with their roles."""
    async with open_administration(find(ready_file)) as administration:
        found = await administration.principals()
    if output == "json":
        sys.stdout.write(as_json([as_record(principal) for principal in found]))
    else:
        rows = [
            {"subject": p.subject, "kind": p.kind, "roles": ", ".join(map(_role, p.bindings))}
            for p in found
        ]
        sys.stdout.write(as_table(rows, COLUMNS))
    return OK


async def bind(
    subject: str, role: str, *, project: str, domain: str, remove: bool, ready_file: Path | None
) -> int:
    """Give a subject a role, or take it away."""
    async with open_administration(find(ready_file)) as administration:
        await administration.bind(subject, role, project, domain, remove=remove)
    where = _role(Binding(role=role, project=project or ALL, domain=domain or ALL))
    progress(f"{subject} {'is no longer' if remove else 'is'} {where}")
    return OK


async def revoke(subject: str, *, ready_file: Path | None) -> int:
    """Make a subject's tokens void."""
    async with open_administration(find(ready_file)) as administration:
        await administration.revoke(subject)
    progress(f"every token of {subject} is void; it may fetch new ones")
    return OK


async def hold(subject: str = "", *, cluster: str = "", undo: bool, ready_file: Path | None) -> int:
    """Shut an identity out, or let it in again.

    Args:
        subject: a viewer; empty for an agent.
        cluster: whose agent, if no viewer; empty for the first cluster's.
    """
    ready = find(ready_file)
    async with open_administration(ready) as administration:
        name = subject or administration.agent(cluster or ready.place.cluster)
        await administration.revoke(name, hold=not undo, release=undo)
    if undo:
        progress(f"{name} may fetch tokens again; those of before stay void")
    else:
        progress(f"{name} is shut out: its tokens are void and it gets no new ones; see --undo")
    return OK


def as_record(principal: Principal) -> dict[str, Any]:
    """Return a principal as plain values."""
    return {
        "subject": principal.subject,
        "kind": principal.kind,
        "org": principal.org,
        "bindings": [
            {"role": b.role, "project": b.project, "domain": b.domain} for b in principal.bindings
        ],
    }


def _role(binding: Binding) -> str:
    if (binding.project, binding.domain) == (ALL, ALL):
        return str(binding.role)
    return f"{binding.role} of {binding.project}/{binding.domain}"
