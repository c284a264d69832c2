"""An operator's rights against the white paper's: what is wider, what is missing.

Rights are compared by trying each verb on each place that any of the rules could tell apart. What
no API serves (a known resource in a known group that hasn't it, the verb `post`, `pods/*`) is no
difference: no request asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from policy.holdings import Grant, Holdings
from policy.resources import VERBS, resources
from policy.roles import CLUSTER
from policy.rules import ALL, Request, Rule

OTHER = "(any other)"  # a word that nobody uses, so that only a wildcard covers it
UNKNOWN = "whatever it grants"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that one side grants and the other does not.

    Args:
        subject: who.
        wider: whether the operator grants more; else it is missing.
        what: `deployments.apps`, `pods/log`, `everything`, a URL; empty if the operator's manifests
            don't name the subject at all; UNKNOWN if they don't have a role that they bind.
        verbs: what may be done; none are known of such a role.
        namespace: where; empty for everywhere.
        name: the one object it is about, empty for all.
        sources: roles that grant it.
    """

    subject: str
    wider: bool
    what: str
    verbs: tuple[str, ...]
    namespace: str
    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """What a verb is about; namespace empty for everywhere, name empty for all objects."""

    namespace: str
    name: str
    group: str
    resource: str
    path: str = ""

    def request(self, verb: str) -> Request:
        resource, _, subresource = self.resource.partition("/")
        return Request(
            "", verb, self.group, resource, subresource, self.name, self.namespace, self.path
        )

    def wholes(self) -> Iterator[_Place]:
        """Yield the places that this one is a part of."""
        kinds = ((OTHER, OTHER), (self.group, OTHER), (self.group, self.resource))
        namespaces, names = {CLUSTER, self.namespace}, {"", self.name}
        for namespace, name, kind in itertools.product(namespaces, names, kinds):
            yield _Place(namespace, name, *kind, self.path)

    @property
    def shown(self) -> str:
        if self.path:
            return f"URL {self.path}"
        if self.resource == OTHER:
            return "everything" if self.group == OTHER else f"everything in {self.group or 'core'}"
        resource, slash, subresource = self.resource.partition("/")
        group = f".{self.group}" if self.group else ""
        return f"{resource}{group}{slash}{subresource}"


def compare(operator: Holdings, white_paper: Holdings) -> Iterator[Difference]:
    """Yield every difference, subject by subject, in the white paper's order."""
    for subject in dict.fromkeys((*white_paper, *operator)):
        theirs, ours = operator.get(subject), white_paper.get(subject, [])
        if theirs is None:
            sources = tuple(grant.source for grant in ours)
            yield Difference(subject, False, "", (), CLUSTER, "", sources)
            continue
        for grant in dict.fromkeys(grant for grant in theirs if not grant.known):
            yield Difference(subject, True, UNKNOWN, (), grant.namespace, "", (grant.source,))
        verbs, places = _verbs([*theirs, *ours]), list(_places([*theirs, *ours]))
        yield from _one_side(subject, True, theirs, ours, verbs, places)
        yield from _one_side(subject, False, ours, theirs, verbs, places)


def _one_side(
    subject: str,
    wider: bool,
    more: Sequence[Grant],
    less: Sequence[Grant],
    verbs: Sequence[str],
    places: Sequence[_Place],
) -> Iterator[Difference]:
    """Yield what `more` allows and `less` doesn't; a part of what was said isn't said again."""
    said: set[tuple[_Place, str]] = set()
    here, there = _by_namespace(more), _by_namespace(less)
    for place in places:
        wholes = list(place.wholes())
        found: dict[str, list[str]] = {}
        giving, others = (each.get(place.namespace, each[CLUSTER]) for each in (here, there))
        for verb in (*verbs, "post") if place.path else verbs:
            request = place.request(verb)
            sources = _allowing(giving, request)
            if sources and not _allowing(others, request):
                if not any((whole, verb) in said for whole in wholes):
                    found[verb] = sources
                said.add((place, verb))
        if found:
            sources = list(dict.fromkeys(itertools.chain(*found.values())))
            yield Difference(
                subject,
                wider,
                place.shown,
                tuple(found),
                place.namespace,
                place.name,
                tuple(sources),
            )


def _by_namespace(grants: Sequence[Grant]) -> dict[str, list[Grant]]:
    """Return what holds in each namespace that is named; elsewhere it is that of all, CLUSTER."""
    everywhere = [grant for grant in grants if grant.namespace == CLUSTER]
    found = {CLUSTER: everywhere}
    for grant in grants:
        if grant.namespace != CLUSTER:
            found.setdefault(grant.namespace, [*everywhere]).append(grant)
    return found


def _allowing(grants: Iterable[Grant], request: Request) -> list[str]:
    """Return the roles that allow a request where they hold."""
    return [grant.source for grant in grants if any(rule.allows(request) for rule in grant.rules)]


def _verbs(grants: Iterable[Grant]) -> list[str]:
    named = {verb for grant in grants for rule in grant.rules for verb in rule.verbs}
    return [*VERBS, *sorted(named - {*VERBS, ALL, "post"}), OTHER]


def _places(grants: Sequence[Grant]) -> Iterator[_Place]:
    """Yield everything that any of the rules could tell apart, wholes before their parts."""
    rules = [rule for grant in grants for rule in grant.rules]
    namespaces = (CLUSTER, *sorted({grant.namespace for grant in grants} - {CLUSTER}))
    names = {each: _names(grants, each) for each in namespaces}
    kinds = sorted(_kinds(rules), key=lambda kind: (kind[1] != OTHER, kind[0] != OTHER, kind))
    for namespace in namespaces:
        for name, (group, resource) in itertools.product(names[namespace], kinds):
            known = resources().get(resource.partition("/")[0])
            if not namespace or known is None or known.namespaced:
                yield _Place(namespace, name, group, resource)
    for url in sorted({url for rule in rules for url in rule.urls}):
        yield _Place(CLUSTER, "", "", "", f"/{OTHER}" if url == ALL else url)


def _names(grants: Iterable[Grant], namespace: str) -> tuple[str, ...]:
    """Return the names that rules of one namespace, or of all, could tell apart."""
    here = (grant for grant in grants if grant.namespace in (CLUSTER, namespace))
    return "", *sorted({name for grant in here for rule in grant.rules for name in rule.names})


def _kinds(rules: Iterable[Rule]) -> set[tuple[str, str]]:
    """Return pairs of group and resource that are served, or may be for all we know."""
    known = {
        (group, what)
        for resource in resources().values()
        for group in resource.groups
        for what in (resource.name, *(f"{resource.name}/{sub}" for sub in resource.subresources))
    }
    groups = {group for group, _ in known}
    found = known | {(OTHER, OTHER)}
    for rule in rules:
        for group, resource in itertools.product(rule.groups, rule.resources):
            found |= set(_unknown(group, resource, groups))
    return found


def _unknown(group: str, resource: str, groups: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what a rule's pair may mean beyond the resources that are known."""
    base, _, subresource = resource.partition("/")
    known = resources().get(base)
    if known is None:
        stand_in = OTHER if base == ALL else base
        yield (OTHER if group == ALL else group, f"{stand_in}/{subresource}".rstrip("/"))
    elif group not in (*groups, ALL):
        yield group, resource  # a group of somebody's own
    elif subresource not in ("", ALL):
        yield from ((one, resource) for one in known.groups)
