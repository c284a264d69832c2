"""Who is tried, where, and what must come out: written down once, from the role table alone."""

from __future__ import annotations

from typing import NamedTuple

# The white paper's roles. Written here by hand: the product's own table is what is tested.
RIGHTS = {"Viewer": "view", "Contributor": "view run", "Admin": "view run manage"}
PLACES = {
    "everywhere": ("*", "*"),
    "p1": ("p1", "*"),
    "p1/development": ("p1", "development"),
    "*/development": ("*", "development"),
}
DENIED = frozenset({"unauthenticated", "not_found", "permission_denied"})


class Identity(NamedTuple):
    """A caller; `token` says what is wrong with its token, if anything."""

    subject: str
    org: str = "acme"
    role: str = ""
    project: str = ""
    domain: str = ""
    token: str = "good"

    def holds(self, permission: str, project: str | None, domain: str | None) -> bool:
        """Whether its role gives a permission; None for a level that may be any."""
        return (
            permission in RIGHTS.get(self.role, "").split()
            and (project is None or self.project in ("*", project))
            and (domain is None or self.domain in ("*", domain))
        )


class Place(NamedTuple):
    """What is asked about; `-` for a level that is none in particular."""

    org: str
    project: str
    domain: str


IDENTITIES = [
    *(
        Identity(f"{role}-{number}".lower(), "acme", role, project, domain)
        for role in RIGHTS
        for number, (project, domain) in enumerate(PLACES.values())
    ),
    Identity("stranger"),
    Identity("bob", "globex", "Admin", "*", "*"),
    Identity("boss", "acme", "Admin", "*", "*", token="none"),
    Identity("boss", "acme", "Admin", "*", "*", token="expired"),
    Identity("gone", "acme", "Admin", "*", "*", token="revoked"),
    Identity("boss", "acme", "Admin", "*", "*", token="agent"),
    Identity("boss", "acme", "Admin", "*", "*", token="forged"),
]

PLACES_ASKED = [
    Place("acme", "p1", "development"),
    Place("acme", "p1", "production"),
    Place("acme", "p2", "development"),
    Place("acme", "p2", "production"),
]
SHARED_PLACES = [Place("acme", "-", "development"), Place("acme", "-", "-")]


def at_control(who: Identity, permission: str, place: Place, *, open_levels: str = "") -> str:
    """Return what the control plane must answer: `in`, or one of DENIED.

    Args:
        open_levels: `d` where any domain of the project will do, `pd` where anything in the org.
    """
    if who.token != "good":
        return "unauthenticated"
    project = None if "p" in open_levels else place.project
    domain = None if "d" in open_levels else place.domain
    seen = [None if level == "-" else level for level in (project, domain)]
    if who.org != place.org or not who.holds("view", *seen):
        return "not_found"
    return "in" if who.holds(permission, project, domain) else "permission_denied"


def at_customer(who: Identity, permission: str, place: Place) -> str:
    """Return what relay and agent must answer."""
    if who.token != "good":
        return "unauthenticated"
    held = who.org == place.org and who.holds(permission, place.project, place.domain)
    return "in" if held else "permission_denied"
