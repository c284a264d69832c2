"""`planesplit policy can-i`: yes or no, and which row says so."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from planesplit.commands.policy.answer import NO, OK, WIDTH, UsageError, warn
from planesplit.commands.policy.show import said
from planesplit.commands.tables import as_json
from policy import iam, question
from policy.authorizer import Authorizer, Decision
from policy.question import Identity
from policy.resources import VERBS, find
from policy.roles import NAMESPACE, Role, accounts, roles, user_name
from policy.rules import Request

S3 = "s3:"


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, as it was typed."""

    account: str
    verb: str
    what: str
    namespace: str = ""
    subresource: str = ""
    presigned: bool = False


def can_i(asked: Question, *, why: bool, json: bool) -> int:
    """Print yes or no; return 0 or 1, as kubectl does.

    Raises:
        UnknownName: the account, verb, resource, action or bucket is none.
        UsageError: the options do not go together.
    """
    who = question.identity(asked.account, asked.namespace)
    if asked.verb.lower().startswith(S3):
        decision, reasons = _s3(who, asked)
    else:
        decision, reasons = _kubernetes(who, asked)
    if json:
        document = {**dataclasses.asdict(decision), "user": who.user, "plane": who.plane}
        sys.stdout.write(as_json(document))
    else:
        sys.stdout.write("yes\n" if decision.allowed else "no\n")
        if why:
            sys.stdout.writelines(map(_reason, reasons))
    return OK if decision.allowed else NO


def _reason(text: str) -> str:
    wrapped = textwrap.fill(
        text,
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return f"{wrapped}\n"


def _s3(who: Identity, asked: Question) -> tuple[Decision, list[str]]:
    action, bucket, key = question.action(asked.verb, asked.what)
    decision = iam.decide(who.account, action, bucket, key, presigned=asked.presigned)
    row = iam.iam_accounts().get(who.account)
    words = f"{row.appendix}: {row.words['s3_access']}" if row else "Appendix E doesn't name it"
    return decision, [decision.why, words]


def _kubernetes(who: Identity, asked: Question) -> tuple[Decision, list[str]]:
    if asked.presigned:
        raise UsageError("--presigned is for s3:... actions")
    wanted = question.request(
        asked.verb, asked.what, namespace=asked.namespace, subresource=asked.subresource
    )
    if asked.namespace and not wanted.namespace and not wanted.path:
        warn(f"{wanted.resource} are not in namespaces; -n {asked.namespace} means nothing here")
    wanted = replace(wanted, user=who.user)
    authorizer = Authorizer(who.plane)
    decision = authorizer.decide(wanted)
    if decision.allowed:
        return decision, list(_because(who, decision, wanted))
    return decision, list(_why_not(who, authorizer, decision, wanted))


def _because(who: Identity, decision: Decision, wanted: Request) -> Iterator[str]:
    yield decision.why
    role = next(role for role in roles(who.plane) if role.appendix == decision.appendix)
    for rule in role.rules:
        if rule.allows(wanted):
            yield f"its rule: {said(rule)}"
    yield f"its words: {_words(role)}"


def _words(role: Role) -> str:
    words = role.words
    return f"{words['api_groups']} | {words['resources']} | {words['verbs']}"


def _why_not(
    who: Identity, authorizer: Authorizer, decision: Decision, wanted: Request
) -> Iterator[str]:
    yield decision.why
    if who.user == user_name(who.account):
        held = [f"{r.appendix} {r.name}" for r in roles(who.plane) if who.account in r.accounts]
        yield f"its roles: {', '.join(held) or 'none'}"
    else:
        yield f"roles belong to the accounts in the namespace {NAMESPACE}"
    what = wanted.path or wanted.combined
    granted = [v for v in VERBS if authorizer.decide(replace(wanted, verb=v)).allowed]
    yield f"it may, of {what}: {' '.join(granted) or 'nothing'}"
    known = find(wanted.resource)
    narrower = replace(wanted, namespace=NAMESPACE)
    if known and known.namespaced and authorizer.decide(narrower).allowed:
        yield f"it may do this in the namespace {NAMESPACE}: -n {NAMESPACE}"
    others = [
        name
        for name in accounts(who.plane)
        if authorizer.decide(replace(wanted, user=user_name(name))).allowed
    ]
    yield f"who may do this in the {who.plane} plane: {', '.join(others) or 'nobody'}"
