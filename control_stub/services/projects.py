"""ProjectService: what projects there are for the caller."""

from __future__ import annotations

import re

from flyteidl2.project import project_service_pb2 as wire

from control_stub import directory
from control_stub.directory import Project
from control_stub.identity import not_found
from control_stub.lists import invalid
from control_stub.services.desk import Desk
from tunnel.messages.rpc import Context

# The CLI always sends one filter in the old text form; projects here are never archived.
_STATE_FILTER = re.compile(r"eq\(state, ?(\d)\)")


class ProjectService:
    """Handles `flyteidl2.project.ProjectService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def get_project(
        self, request: wire.GetProjectRequest, ctx: Context
    ) -> wire.GetProjectResponse:
        """Return a project."""
        caller = self._desk.access.require(ctx, "view", request.org, request.id)
        for project in await self._desk.store.call(directory.projects, caller.org):
            if project.project == request.id:
                return wire.GetProjectResponse(project=_project(project))
        raise not_found("project")

    async def list_projects(
        self, request: wire.ListProjectsRequest, ctx: Context
    ) -> wire.ListProjectsResponse:
        """Return the projects that the caller may view, all in one page."""
        caller = self._desk.access.require(ctx, "view", request.org)
        found = await self._desk.store.call(directory.projects, caller.org)
        if _state(request.filters) != wire.PROJECT_STATE_ACTIVE:
            found = []
        allows = self._desk.access.allows
        visible = [p for p in found if allows(caller, "view", p.project)]
        return wire.ListProjectsResponse(
            projects=wire.Projects(projects=[_project(p) for p in visible])
        )


def _state(filters: str) -> int:
    if not filters:
        return int(wire.PROJECT_STATE_ACTIVE)
    match = _STATE_FILTER.fullmatch(filters)
    if match is None:
        raise invalid("can filter by: eq(state, N)")
    return int(match[1])


def _project(project: Project) -> wire.Project:
    return wire.Project(
        id=project.project,
        name=project.project,
        org=project.org,
        state=wire.PROJECT_STATE_ACTIVE,
        domains=[wire.Domain(id=domain, name=domain) for domain in project.domains],
    )
