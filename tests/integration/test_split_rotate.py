"""Certificates and keys are rotated by command, on real processes, under a tail."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from planesplit.harness import Harness
from tunnel.peer import thumbprint

pytestmark = pytest.mark.integration

ROTATIONS = int(os.environ.get("PLANESPLIT_ROTATIONS", "3"))  # 20 take half a minute and more
RATE = 400  # lines a second
LINES = RATE * (4 + 2 * ROTATIONS)
RESUMES = "relay_resumes_total"


def planesplit(tenants: Harness, *words: str) -> str:
    file = ["--ready-file", tenants.ready.planesplit_ready]
    command = [sys.executable, "-m", "planesplit", *words, *file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stderr


def shown(tenants: Harness) -> str:
    """Return the thumbprint of the certificate that the relay shows viewers now."""
    port = int(tenants.ready.urls.relay.rpartition(":")[2])
    pem = ssl.get_server_certificate(("127.0.0.1", port), ca_certs=tenants.ready.ca_file)
    return thumbprint(ssl.PEM_cert_to_DER_cert(pem))


@pytest.mark.timeout(120 + 20 * ROTATIONS)
def test_certificates_are_rotated_under_a_tail(tenants: Harness) -> None:
    run = tenants.run(workload="plain", args=["--lines", str(LINES), "--rate", str(RATE)])
    refused = refusals(tenants)  # others have been refused before, in tests that share the split
    before = tenants.metrics()[RESUMES]
    with ThreadPoolExecutor(1) as pool, tenants.tail(run, retry_for_s=0) as lines:
        lines.next()
        reading = pool.submit(lines.all)  # else back-pressure has the tail rest, and nothing moves
        seen = {shown(tenants)}
        for _ in range(ROTATIONS):
            since = tenants.journal_count()
            assert "other certificates" in planesplit(tenants, "rotate", "certs")
            # Not `certificate_rotated`: a tunnel whose token ends first is dialled anew with it.
            tenants.seen("tunnel_open", since=since)
            seen.add(shown(tenants))
        delivery = tenants.assert_delivered(run, reading.result())
    resumed = tenants.metrics()[RESUMES] - before
    print(f"{ROTATIONS} rotations of agent and relay, {resumed:g} resumes: {delivery}")
    assert len(seen) == ROTATIONS + 1
    assert resumed  # not once a rotation: the run may end before a slow machine has done them all
    assert refusals(tenants) == refused


def refusals(tenants: Harness) -> list[float]:
    """How often the relay has refused whoever dialled, by reason."""
    metrics = tenants.metrics()
    reasons = "token_not_bound", "identity", "bad_token"
    return [metrics[f'relay_rejected_total{{reason="{reason}"}}'] for reason in reasons]


def test_keys_are_rotated(tenants: Harness) -> None:
    def keys() -> int:
        context = ssl.create_default_context(cafile=tenants.ready.ca_file)
        url = f"{tenants.ready.urls.control}/.well-known/jwks.json"
        return len(httpx.get(url, verify=context, trust_env=False).json()["keys"])

    before = keys()
    assert "another signing key is published" in planesplit(tenants, "rotate", "keys")
    assert keys() == before + 1
    run = tenants.run(exec="echo still here")
    tenants.assert_delivered(run)
