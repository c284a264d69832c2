"""Every subject that can be measured, by name."""

from __future__ import annotations

from planesplit.measure.haproxy import find_haproxy
from planesplit.measure.subjects import (
    Subject,
    start_haproxy,
    start_relay,
    start_relay_direct,
    start_splice,
)
from planesplit.measure.whole import start_whole

PARTS = ("bulk", "lines", "rtt", "stalled", "query")


def _haproxy_missing() -> str:
    return "" if find_haproxy() else "haproxy is not installed (Debian package haproxy)"


SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject(
            "floor",
            "blocking threads, 256 KiB recv_into and sendall",
            start_splice,
            frozenset({"bulk", "lines", "rtt"}),
        ),
        Subject(
            "haproxy",
            "HAProxy in TCP mode",
            start_haproxy,
            frozenset({"bulk", "lines", "rtt"}),
            _haproxy_missing,
        ),
        Subject(
            "relay",
            "our relay, tails: units are held until they are whole",
            start_relay,
            frozenset({"bulk", "lines", "stalled"}),
        ),
        Subject(
            "relay-direct",
            "our relay, exchanges passed on as they come",
            start_relay_direct,
            frozenset({"bulk", "rtt"}),
        ),
        Subject(
            "whole",
            "our relay behind our agent, which reads log files",
            start_whole,
            frozenset({"lines"}),
        ),
    )
}
