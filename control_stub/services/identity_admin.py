"""IdentityAdminService: who is known in an org, what they may do, and whose tokens are void."""

from __future__ import annotations

from collections.abc import Iterable

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from control_stub import directory
from control_stub.directory import App, Binding
from control_stub.identity import Caller, not_found
from control_stub.lists import invalid
from control_stub.policy import HELD_S, Policy
from control_stub.services.desk import Desk
from control_stub.services.views import timestamp
from control_stub.settings import ANY, NAME, ROLES
from tunnel.exchange import NONE
from tunnel.messages import planesplit_v1_pb2 as wire
from tunnel.messages.rpc import Context


class IdentityAdminService:
    """Handles `planesplit.v1.IdentityAdminService`."""

    def __init__(self, desk: Desk, policy: Policy) -> None:
        self._desk, self._policy = desk, policy

    async def list_principals(
        self, request: wire.ListPrincipalsRequest, ctx: Context
    ) -> wire.ListPrincipalsResponse:
        """Return who is known in an org: all to its admins, to others who has roles in theirs."""
        caller = self._desk.access.require(ctx, "manage", request.org, what="organization")
        visible = [b for b in self._policy.bindings(caller.org) if self._manages(caller, b)]
        apps = {app.client_id: app for app in await self._apps(caller)}
        names = {binding.subject for binding in visible}
        if self._policy.allows(caller.subject, "manage", caller.org, NONE, NONE):
            names |= apps.keys()
        found = [_principal(name, caller.org, apps.get(name), visible) for name in sorted(names)]
        return wire.ListPrincipalsResponse(principals=found)

    async def bind(self, request: wire.BindRequest, ctx: Context) -> wire.BindResponse:
        """Give a subject a role; saying it again changes nothing."""
        caller, binding = await self._binding(request.binding, ctx)
        if any(
            app.client_id == binding.subject and app.cluster for app in await self._apps(caller)
        ):
            raise invalid("an agent has no roles: it is what its cluster is")
        await self._desk.store.call(directory.bind, binding)
        await self._changed("role_bound", caller, binding.subject)
        return wire.BindResponse()

    async def unbind(self, request: wire.BindRequest, ctx: Context) -> wire.BindResponse:
        """Take a role away; tails that it allowed end."""
        caller, binding = await self._binding(request.binding, ctx)
        if self._is_last_admin(binding):
            raise ConnectError(
                Code.FAILED_PRECONDITION, "it is the org's last Admin; bind another one before"
            )
        if not await self._desk.store.call(directory.unbind, binding):
            raise not_found("binding")
        await self._changed("role_unbound", caller, binding.subject)
        return wire.BindResponse()

    async def revoke(self, request: wire.RevokeRequest, ctx: Context) -> wire.RevokeResponse:
        """Make every token void that a subject of the org has.

        It may fetch new ones unless it is held; what was held is released by name.
        """
        caller = self._desk.access.require(
            ctx, "manage", request.org, NONE, NONE, what="organization"
        )
        apps = {app.client_id: app for app in await self._apps(caller)}
        known = {binding.subject for binding in self._policy.bindings(caller.org)}
        known |= {_token_subject(app) for app in apps.values()}
        app = apps.get(request.subject)
        if app is None and request.subject not in known:
            raise not_found("subject")
        subject = _token_subject(app) if app else request.subject
        not_before_s = int(self._desk.clock()) + 1  # tokens have whole seconds; this one is void
        event = "tokens_revoked"
        if request.hold or (self._policy.is_held(caller.org, subject) and not request.release):
            not_before_s, event = HELD_S, "identity_held"
        elif request.release:
            event = "identity_released"
        await self._desk.store.call(directory.revoke, caller.org, subject, not_before_s)
        await self._changed(event, caller, subject)
        return wire.RevokeResponse(not_before=timestamp(not_before_s * 1_000_000_000))

    async def _binding(self, asked: wire.Binding, ctx: Context) -> tuple[Caller, Binding]:
        """Return a well-formed binding, once the caller may manage where it holds."""
        project, domain = asked.project or ANY, asked.domain or ANY
        caller = self._desk.access.require(
            ctx, "manage", asked.org, _level(project), _level(domain), what="project"
        )
        await self._check_exists(caller.org, project, domain)
        if asked.role not in ROLES:
            raise invalid(f"role is one of {', '.join(ROLES)}")
        if not NAME.fullmatch(asked.subject):
            raise invalid("a subject is 1 to 128 letters, digits and . _ @ : -")
        return caller, Binding(asked.subject, asked.role, caller.org, project, domain)

    async def _check_exists(self, org: str, project: str, domain: str) -> None:
        known = await self._desk.store.call(directory.projects, org)
        if not any(project in (ANY, p.project) and domain in (ANY, *p.domains) for p in known):
            raise not_found("project")

    async def _apps(self, caller: Caller) -> list[App]:
        return await self._desk.store.call(directory.apps, caller.org)

    async def _changed(self, event: str, caller: Caller, subject: str) -> None:
        await self._policy.reload()
        self._desk.journal.event(event, org=caller.org, subject=subject, by=caller.subject)

    def _manages(self, caller: Caller, binding: Binding) -> bool:
        levels = _level(binding.project), _level(binding.domain)
        return self._policy.allows(caller.subject, "manage", caller.org, *levels)

    def _is_last_admin(self, binding: Binding) -> bool:
        held = self._policy.bindings(binding.org)
        admins = [b for b in held if (b.role, b.project, b.domain) == ("Admin", ANY, ANY)]
        return admins == [binding]


def _token_subject(app: App) -> str:
    """Return how an app is named in its tokens."""
    return f"agent:{app.org}/{app.cluster}" if app.cluster else app.client_id


def _level(name: str) -> str:
    """Return where a binding's name must be managed: `*` is the level above."""
    return NONE if name == ANY else name


def _principal(name: str, org: str, app: App | None, bindings: Iterable[Binding]) -> wire.Principal:
    kind = "user" if app is None else "agent" if app.cluster else "application"
    held = [wire.Binding(**b._asdict()) for b in bindings if b.subject == name]
    return wire.Principal(subject=name, kind=kind, org=org, bindings=held)
