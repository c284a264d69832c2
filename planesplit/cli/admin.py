"""Commands about clusters and identities."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from cyclopts import App, Parameter

from planesplit.cli.options import Output, ReadyFile, app, get

cluster = App(name="cluster", help="Let clusters connect, or shut them out.")
app.command(cluster)

Name = Annotated[str, Parameter(help="The cluster's name.")]
Subject = Annotated[str, Parameter(help="A user's or an application's name.")]
Role = Annotated[Literal["Admin", "Contributor", "Viewer"], Parameter(help="What it may do.")]
Project = Annotated[str, Parameter(help="Only in this project; everywhere if not given.")]
Domain = Annotated[str, Parameter(help="Only in this domain; everywhere if not given.")]


@get.command(name="clusters")
async def get_clusters(
    *,
    output: Output = "table",
    watch: Annotated[
        bool, Parameter(negative="", help="Again at every change, until Ctrl-C.")
    ] = False,
    ready_file: ReadyFile = None,
) -> int:
    """Show tunnel, health and usage of every cluster."""
    from planesplit.commands.clusters import get_clusters as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, output=output, watch=watch, ready_file=ready_file))


@cluster.command
async def enable(name: Name, /, *, ready_file: ReadyFile = None) -> int:
    """Let a cluster's agent connect."""
    return await _set_cluster(name, enabled=True, ready_file=ready_file)


@cluster.command
async def disable(name: Name, /, *, ready_file: ReadyFile = None) -> int:
    """End a cluster's tunnels and refuse its agent until it is enabled again."""
    return await _set_cluster(name, enabled=False, ready_file=ready_file)


@get.command(name="principals")
async def get_principals(*, output: Output = "table", ready_file: ReadyFile = None) -> int:
    """List users and applications with their roles."""
    from planesplit.commands.identity import get_principals as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, output=output, ready_file=ready_file))


@app.command
async def bind(
    subject: Subject,
    role: Role,
    /,
    *,
    project: Project = "",
    domain: Domain = "",
    ready_file: ReadyFile = None,
) -> int:
    """Give a subject a role."""
    return await _bind(subject, role, project, domain, remove=False, ready_file=ready_file)


@app.command
async def unbind(
    subject: Subject,
    role: Role,
    /,
    *,
    project: Project = "",
    domain: Domain = "",
    ready_file: ReadyFile = None,
) -> int:
    """Take a role away; what it allowed ends at once."""
    return await _bind(subject, role, project, domain, remove=True, ready_file=ready_file)


revoke = App(name="revoke", help="Make tokens void, or shut an agent or a viewer out.")
app.command(revoke)

Undo = Annotated[bool, Parameter(negative="", help="Let it in again, with new tokens.")]


@revoke.default
async def revoke_tokens(subject: Subject, /, *, ready_file: ReadyFile = None) -> int:
    """Make every token of a subject void; it may fetch new ones."""
    from planesplit.commands.identity import revoke as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, subject, ready_file=ready_file))


@revoke.command(name="agent")
async def revoke_agent(
    *,
    cluster: Annotated[str, Parameter(help="Whose agent; the first cluster's if not given.")] = "",
    undo: Undo = False,
    ready_file: ReadyFile = None,
) -> int:
    """End a cluster's tunnels now and shut its agent out, whatever token it shows."""
    from planesplit.commands.identity import hold as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, cluster=cluster, undo=undo, ready_file=ready_file))


@revoke.command(name=["viewer", "identity"])
async def revoke_viewer(
    name: Subject, /, *, undo: Undo = False, ready_file: ReadyFile = None
) -> int:
    """End what a viewer looks at now and shut it out, whatever token it shows."""
    from planesplit.commands.identity import hold as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, name, undo=undo, ready_file=ready_file))


@revoke.command(name="control")
async def revoke_control(*, ready_file: ReadyFile = None) -> int:
    """Shut out the certificate that the control plane shows the relay, and give it another."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.rotate import revoke_control as command

    return await settle(partial(command, ready_file=ready_file))


@app.command
async def rotate(
    what: Annotated[Literal["certs", "keys"], Parameter(help="What is to be another one.")],
    /,
    *,
    ready_file: ReadyFile = None,
) -> int:
    """Give relay and agents other certificates, or the issuer another key; nothing is lost."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.rotate import rotate as command

    return await settle(partial(command, what, ready_file=ready_file))


async def _set_cluster(name: str, *, enabled: bool, ready_file: ReadyFile) -> int:
    from planesplit.commands.clusters import set_cluster as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, name, enabled=enabled, ready_file=ready_file))


async def _bind(
    subject: str,
    role: str,
    project: str,
    domain: str,
    *,
    remove: bool,
    ready_file: ReadyFile,
) -> int:
    from planesplit.commands.identity import bind as command
    from planesplit.commands.outcome import settle

    return await settle(
        partial(
            command,
            subject,
            role,
            project=project,
            domain=domain,
            remove=remove,
            ready_file=ready_file,
        )
    )
