"""The invariants. They judge what was seen, and know nothing of how it came about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

from evidence import Evidence, Seen

from planesplit.proof.canaries import Canaries

ENVELOPE_BYTES = 5
END_STREAM = 2
_LINE = re.compile(rb"\|(\d+)\|(gap )?(\d+)\|")
STREAMS = ("tail", "watch")


def messages(body: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Split a body into (flags, message), and what is left of an unfinished one."""
    found, start = [], 0
    while start + ENVELOPE_BYTES <= len(body):
        end = start + ENVELOPE_BYTES + int.from_bytes(body[start + 1 : start + 5], "big")
        if end > len(body):
            break
        found.append((body[start], bytes(body[start + ENVELOPE_BYTES : end])))
        start = end
    return found, bytes(body[start:])


def numbers(seen: Seen) -> list[tuple[int, bool]]:
    """Return the lines a viewer saw, by number, and whether each is a gap marker."""
    text = b"".join(message for flags, message in messages(bytes(seen.body))[0] if not flags)
    return [(int(m[3]), bool(m[2])) for m in _LINE.finditer(text) if int(m[1]) == seen.ident]


def ended(seen: Seen) -> str:
    """Return how an exchange ended: complete, error, torn, left, open."""
    if seen.ending != "end" or seen.kind not in STREAMS:
        return "complete" if seen.ending == "end" else seen.ending
    last = [message for flags, message in messages(bytes(seen.body))[0] if flags & END_STREAM]
    return "error" if last and "error" in json.loads(last[-1] or b"{}") else "complete"


def nothing_persisted(evidence: Evidence) -> Iterator[str]:
    """Nobody opens a file for writing, a database, a program or a connection."""
    yield from evidence.wrote


def nothing_logged(evidence: Evidence) -> Iterator[str]:
    """No payload is in a journal, a log record, on stdout or on an operator's page."""
    for where, text in evidence.said:
        if _scanner(evidence.secret).scan(where, text.encode()):
            yield f"{where} holds payload"


@lru_cache(1)
def _scanner(secret: str) -> Canaries:
    return Canaries(secret)


def no_cross_tenant_byte(evidence: Evidence) -> Iterator[str]:
    """Neither a viewer nor an agent gets what is another tenant's, or was not allowed at all."""
    for seen in evidence.seen:
        foreign = [mark for t, mark in enumerate(evidence.marks) if t != seen.tenant]
        if any(mark in seen.body for mark in foreign):
            yield f"{seen.kind} {seen.ident} of tenant {seen.tenant} got another's bytes"
        allowed = seen.kind not in ("stale", "trespass")
        if not allowed and any(mark in seen.body for mark in evidence.marks):
            yield f"{seen.kind} {seen.ident} was answered"
    for tenant, request in evidence.heard:
        if evidence.marks[tenant] not in request:
            yield f"the agent of tenant {tenant} got another's request"


def order(evidence: Evidence) -> Iterator[str]:
    """Lines come in the order of their numbers, and whole."""
    for seen in _content(evidence):
        found = [number for number, _ in numbers(seen)]
        if any(b < a for a, b in pairwise(found)):
            yield f"{seen.kind} {seen.ident}: out of order"
        if ended(seen) == "complete" and messages(bytes(seen.body))[1]:
            yield f"{seen.kind} {seen.ident}: ends inside a message"


def no_silent_loss(evidence: Evidence) -> Iterator[str]:
    """What is missing between two lines, or before a clean end, is said to be by a gap marker."""
    for seen in _content(evidence):
        expected = 0
        for number, gap in numbers(seen):
            if gap:
                expected = max(expected, number)  # it names the next line that there is
            elif number > expected:
                yield f"{seen.kind} {seen.ident}: {expected} to {number - 1} are missing"
                break
            else:
                expected = number + 1
        else:
            if ended(seen) == "complete" and expected < seen.lines:
                yield f"{seen.kind} {seen.ident}: ends in order after {expected} of {seen.lines}"


def no_double(evidence: Evidence) -> Iterator[str]:
    """No line comes twice, and no secret is written twice."""
    for seen in _content(evidence):
        found = [number for number, gap in numbers(seen) if not gap]
        if len(found) != len(set(found)):
            yield f"{seen.kind} {seen.ident}: a line came twice"
    for seen in evidence.seen:
        times = sum(seen.secret in request for _, request in evidence.heard if seen.secret)
        if times > 1:
            yield f"secret {seen.ident} was written {times} times"
        if seen.secret and seen.status == 200 and seen.ending == "end" and not times:
            yield f"secret {seen.ident} was acknowledged and not written"


def bounded_memory(evidence: Evidence) -> Iterator[str]:
    """No more of one exchange is under way than its window and the viewer's socket hold."""
    if evidence.ahead > evidence.bound:
        yield f"{evidence.ahead} bytes of one exchange were under way; bound {evidence.bound}"


def every_task_ends(evidence: Evidence) -> Iterator[str]:
    """When everybody has hung up, no task is left."""
    yield from evidence.left


def progress(evidence: Evidence) -> Iterator[str]:
    """Every exchange ends, and one that is resumable survives what it has to survive."""
    for seen in evidence.seen:
        how = ended(seen)
        if how == "open":
            yield f"{seen.kind} {seen.ident} never ended"
        elif seen.kind in STREAMS and how in ("error", "torn") and not seen.excused:
            yield f"{seen.kind} {seen.ident} was given up ({how}): {bytes(seen.body[-120:])!r}"


def _content(evidence: Evidence) -> Iterator[Seen]:
    """Streams whose agent kept to the protocol: of what a broken one sends, nothing is promised."""
    return (s for s in evidence.seen if s.kind in STREAMS and s.excused != "tampered")


Invariant = Callable[[Evidence], Iterator[str]]
INVARIANTS: dict[str, Invariant] = {
    check.__name__: check
    for check in (
        nothing_persisted,
        nothing_logged,
        no_cross_tenant_byte,
        order,
        no_silent_loss,
        no_double,
        bounded_memory,
        every_task_ends,
        progress,
    )
}


def violations(evidence: Evidence) -> list[tuple[str, str]]:
    """Return every (invariant, what was seen)."""
    return [(name, text) for name, check in INVARIANTS.items() for text in check(evidence)]
