"""`planesplit policy ...`: the white paper's roles and rights; needs no running split."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from planesplit.cli.options import Json, app

policy = App(name="policy", help="Who may do what, by the white paper's Appendix C, D and E.")
app.command(policy)

PlaneOption = Annotated[
    Literal["all", "control", "compute"], Parameter(help="Of which plane's cluster.")
]


@policy.command
def show(
    *,
    role: Annotated[
        str, Parameter(help="One role or account in full, by name or row, e.g. D3.")
    ] = "",
    notes: Annotated[
        bool, Parameter(negative="", help="Where the white paper's words leave a choice.")
    ] = False,
    json: Json = False,
) -> int:
    """List roles and service accounts with their rows; --role shows words, reading and rules."""
    from planesplit.commands.policy.answer import answer
    from planesplit.commands.policy.show import show as command

    return answer(partial(command, role, notes=notes, json=json))


@policy.command(name="can-i")
def can_i(
    verb: Annotated[str, Parameter(help="get, list, watch, create, ...; or s3:GetObject, ...")],
    what: Annotated[
        str,
        Parameter(help="TYPE[.GROUP][/SUBRESOURCE or /NAME], a URL, or metadata[/KEY] for s3:..."),
    ],
    /,
    *,
    as_: Annotated[str, Parameter(name="--as", help="The service account.")],
    namespace: Annotated[
        str, Parameter(name=["--namespace", "-n"], help="All namespaces if not given.")
    ] = "",
    subresource: Annotated[str, Parameter(help="As kubectl's: pods --subresource log.")] = "",
    presigned: Annotated[
        bool, Parameter(negative="", help="For s3:...: by a URL that the account signed.")
    ] = False,
    why: Annotated[bool, Parameter(negative="", help="Which row says so.")] = False,
    json: Json = False,
) -> int:
    """Tell whether a service account may do something: yes (exit code 0) or no (1)."""
    from planesplit.commands.policy.answer import answer
    from planesplit.commands.policy.can_i import Question
    from planesplit.commands.policy.can_i import can_i as command

    question = Question(as_, verb, what, namespace, subresource, presigned)
    return answer(partial(command, question, why=why, json=json))


@policy.command
def matrix(
    *,
    plane: PlaneOption = "all",
    resource: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="These columns instead; may be repeated."),
    ] = (),
    format: Annotated[  # noqa: A002 - the option's name
        Literal["table", "markdown", "csv", "json"], Parameter(help="How it is printed.")
    ] = "table",
    json: Json = False,
) -> int:
    """Show which account reaches what; what holds customers' payload is marked with '!'."""
    from planesplit.commands.policy.answer import answer
    from planesplit.commands.policy.matrix import matrix as command

    return answer(partial(command, plane, resource, "json" if json else format))


@policy.command
def export(
    *,
    format: Annotated[  # noqa: A002 - the option's name
        Literal["yaml", "iam-json"],
        Parameter(help="Manifests for kubectl apply, or policies for AWS IAM."),
    ] = "yaml",
    plane: PlaneOption = "all",
    account: Annotated[
        str, Parameter(help="iam-json: the document of this service account alone.")
    ] = "",
    metadata_bucket: Annotated[
        str, Parameter(help="iam-json: the bucket's name.")
    ] = "planesplit-metadata",
    fast_registration_bucket: Annotated[
        str, Parameter(help="iam-json: the bucket's name.")
    ] = "planesplit-fast-registration",
) -> int:
    """Print roles, accounts and bindings as Kubernetes manifests, or rights as IAM policies."""
    from planesplit.commands.policy.answer import answer
    from planesplit.commands.policy.export import export_iam, export_yaml

    if format == "yaml":
        return answer(partial(export_yaml, plane))
    buckets = {"metadata": metadata_bucket, "fast-registration": fast_registration_bucket}
    return answer(partial(export_iam, plane, account, buckets))


@policy.command
def diff(
    file: Annotated[
        Path,
        Parameter(allow_leading_hyphen=True, help="YAML, one or many documents; '-' for stdin."),
    ],
    /,
    *,
    plane: PlaneOption = "all",
    account: Annotated[
        tuple[str, ...], Parameter(negative="", help="Only this account; may be repeated.")
    ] = (),
    namespace: Annotated[
        str, Parameter(help="What the manifests call the namespace 'union'.")
    ] = "union",
    json: Json = False,
) -> int:
    """Compare manifests with the white paper: what is wider, what is missing; exit code 1 if any.

    Accounts are compared by what their bindings add up to, not by how roles
    are cut.
    """
    from planesplit.commands.policy.answer import answer
    from planesplit.commands.policy.diff import diff as command

    return answer(partial(command, file, plane, account, namespace, json=json))
