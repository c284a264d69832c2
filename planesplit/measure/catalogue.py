"""Every subject that can be measured, by name."""

from __future__ import annotations

from planesplit.measure.peers import (
    haproxy_missing,
    openssh_missing,
    start_haproxy,
    start_openssh,
    start_pair,
    start_splice,
    websockets,
)
from planesplit.measure.secure import AGENT_SIDE, BOTH, relay_with, splice_with
from planesplit.measure.subjects import Subject, start_relay, start_relay_direct
from planesplit.measure.whole import start_prompt, start_whole

PARTS = (
    "bulk",
    "tls",
    "lines",
    "prompt",
    "rtt",
    "fair",
    "window",
    "stalled",
    "memory",
    "idle",
    "seal",
    "query",
)
PEER_STREAMS = 16  # of these that are slow, or stop when one viewer does


def _all(*parts: str) -> frozenset[str]:
    return frozenset(parts)


SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject(
            "floor",
            "blocking threads, 256 KiB recv_into and sendall",
            start_splice,
            _all("bulk", "lines", "rtt", "fair"),
        ),
        Subject(
            "pair",
            "two of these in a row, as relay and agent are",
            start_pair,
            _all("prompt", "rtt"),
        ),
        Subject(
            "haproxy",
            "HAProxy in TCP mode",
            start_haproxy,
            _all("bulk", "lines", "rtt"),
            haproxy_missing,
        ),
        Subject(
            "openssh",
            "OpenSSH, ssh -R with aes128-gcm; encrypted between sshd and ssh",
            start_openssh,
            _all("bulk", "tls", "rtt"),
            openssh_missing,
            most_streams=PEER_STREAMS,
        ),
        Subject(
            "websockets-trio",
            "the usual relay over one WebSocket, with websockets.trio",
            websockets("trio"),
            _all("bulk", "rtt"),
            most_streams=PEER_STREAMS,
        ),
        Subject(
            "websockets-asyncio",
            "the same with websockets on asyncio",
            websockets("asyncio"),
            _all("bulk", "rtt"),
            most_streams=PEER_STREAMS,
        ),
        Subject(
            "relay",
            "our relay, tails: units are held until they are whole",
            start_relay,
            _all("bulk", "lines", "fair", "stalled", "window", "memory", "idle", "seal"),
        ),
        Subject(
            "relay-direct",
            "our relay, exchanges passed on as they come",
            start_relay_direct,
            _all("bulk", "rtt"),
        ),
        Subject(
            "floor-tls",
            "blocking threads with TLS on both sides",
            splice_with(BOTH),
            _all("tls"),
        ),
        Subject(
            "floor-agent-tls",
            "blocking threads with TLS on the source's side",
            splice_with(AGENT_SIDE),
            _all("tls"),
        ),
        Subject(
            "relay-mtls",
            "our relay, mTLS to the agent and TLS to viewers",
            relay_with(BOTH),
            _all("tls"),
        ),
        Subject(
            "relay-agent-tls",
            "our relay, mTLS to the agent and plain viewers",
            relay_with(AGENT_SIDE),
            _all("tls"),
        ),
        Subject(
            "whole",
            "our relay behind our agent, which reads log files",
            start_whole,
            _all("lines"),
        ),
        Subject(
            "whole-latency",
            "the same with the agent's policy `latency`",
            start_prompt,
            _all("prompt"),
        ),
    )
}
