"""`planesplit rotate certs`, `rotate keys`: other certificates and signing keys, while all work."""

from __future__ import annotations

from pathlib import Path

from planesplit.commands.outcome import OK
from planesplit.commands.output import progress
from planesplit.ready import find
from planesplit.split.steering import steer

DONE = {
    "control": "the control plane has another certificate; the relay refuses the one before",
    "certs": "relay and agents have other certificates; tunnels were handed over",
    "keys": "another signing key is published; it signs in key_publish_s, the old one verifies on",
}


async def revoke_control(*, ready_file: Path | None) -> int:
    """Shut the certificate out that the control plane shows the relay.

    Raises:
        SteeringFailed: it could not be done.
    """
    await steer(Path(find(ready_file).directory), "revoke control")
    progress(DONE["control"])
    return OK


async def rotate(what: str, *, ready_file: Path | None) -> int:
    """Rotate certificates or keys of a running split.

    Raises:
        SteeringFailed: it could not.
    """
    await steer(Path(find(ready_file).directory), f"rotate {what}")
    progress(DONE[what])
    return OK
