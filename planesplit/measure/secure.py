"""What is measured of TLS: our relay as it is used, and the cheapest that TLS can be."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from control_stub.issuer import Issuer
from planesplit.measure.lab import Helper, Lab, MeasureError
from planesplit.measure.rig import Rig
from planesplit.measure.subjects import (
    KEEPALIVE,
    POLICY,
    PUSH_S,
    SCOPE,
    Load,
    Start,
    open_rig,
)
from planesplit.pki import Authority, Leaf
from tunnel.capabilities import TAIL_LOGS
from tunnel.peer import file_thumbprint
from tunnel.tls import client_context

ISSUER = "https://control.measured"
VIEWER = "measured"
TOKEN_S = 3_600  # longer than any run
RELAY_LEAF = "relay"
BOTH, AGENT_SIDE = "both", "agent"
HALF_TLS = "planesplit.measure.half_tls"


@dataclass(frozen=True, slots=True)
class Keys:
    """Certificates and tokens of one subject.

    Args:
        directory: where the PEM files are: `ca.pem`, `relay.pem`, `relay.key`.
        relay, agent, control: leaves.
        issuer: of tokens.
    """

    directory: Path
    relay: Leaf
    agent: Leaf
    control: Leaf
    issuer: Issuer

    @classmethod
    def make(cls, directory: Path) -> Keys:
        """Make them all; the directory must not exist."""
        authority = Authority(directory)
        _, key = Issuer.new_key()
        return cls(
            directory,
            authority.server(RELAY_LEAF),
            authority.agent(SCOPE.org, SCOPE.cluster),
            authority.control(),
            Issuer(ISSUER, [key], token_s=TOKEN_S, clock=time.time),
        )

    @property
    def agent_token(self) -> str:
        """Of the agent, bound to its certificate."""
        thumbprint = file_thumbprint(self.agent.cert_file)
        return self.issuer.agent_token(SCOPE.org, SCOPE.cluster, thumbprint)

    @property
    def ca_file(self) -> str:
        """The authority's certificate."""
        return str(self.directory / "ca.pem")

    def files(self, leaf: Leaf) -> dict[str, str]:
        """Return a leaf's files as settings name them."""
        return {
            "ca_file": self.ca_file,
            "cert_file": str(leaf.cert_file),
            "key_file": str(leaf.key_file),
        }

    @property
    def policy(self) -> dict[str, Any]:
        """What admits one viewer and one cluster."""
        binding = {**POLICY["bindings"][0], "subject": VIEWER}
        return {**POLICY, "issuer": ISSUER, "jwks": self.issuer.jwks(), "bindings": [binding]}


async def start_secure_relay(lab: Lab, load: Load, *, sides: str = BOTH) -> Rig:
    """Start our relay with mTLS towards the agent, and TLS towards viewers if `sides` is both."""
    keys = Keys.make(lab.path("pki"))
    config = lab.path("relay.toml")
    lines = [f"{name} = {json.dumps(path)}" for name, path in keys.files(keys.relay).items()]
    config.write_text("\n".join((KEEPALIVE, "[tls]", *lines, "")), encoding="utf-8")
    module = "relay" if sides == BOTH else HALF_TLS
    relay = await lab.start_relay(config, module=module)
    await _push_policy(keys, relay.ready["control_port"])
    agent = await lab.helper("canned_agent")
    await agent.ask(
        "dial",
        port=relay.ready["agent_port"],
        org=SCOPE.org,
        cluster=SCOPE.cluster,
        bearer=keys.agent_token,
        tls=keys.files(keys.agent),
    )
    rig = await open_rig(
        lab,
        load,
        "relay-mtls" if sides == BOTH else "relay-agent-tls",
        relay.pid,
        relay.ready["viewer_port"],
        SCOPE.prefix + TAIL_LOGS,
        agent,
        token=keys.issuer.viewer_token(VIEWER, SCOPE.org),
        ca_file=keys.ca_file if sides == BOTH else "",
    )
    rig.agent_pid = agent.pid
    return rig


async def start_tls_splice(lab: Lab, load: Load, *, sides: str = BOTH) -> Rig:
    """Start the blocking-thread splice of TLS on both sides, or on the source's alone."""
    keys = Keys.make(lab.path("pki"))
    source: Helper = await lab.helper("source")
    leaf = keys.relay
    await source.ask("secure", cert_file=str(leaf.cert_file), key_file=str(leaf.key_file))
    port = (await source.ask("port"))["port"]
    command = ("planesplit.measure.tls_splice", str(port), sides, str(keys.directory))
    splice = await lab.start("tls_splice", *command)
    return await open_rig(
        lab,
        load,
        "floor-tls" if sides == BOTH else "floor-agent-tls",
        splice.pid,
        splice.ready["port"],
        "/",
        source,
        ca_file=keys.ca_file if sides == BOTH else "",
    )


def relay_with(sides: str) -> Start:
    """Return what starts our relay with TLS on these sides."""
    return partial(start_secure_relay, sides=sides)


def splice_with(sides: str) -> Start:
    """Return what starts the splice with TLS on these sides."""
    return partial(start_tls_splice, sides=sides)


async def _push_policy(keys: Keys, control_port: int) -> None:
    files = keys.files(keys.control)
    context = client_context(files["ca_file"], files["cert_file"], files["key_file"])
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=PUSH_S) as http:
        url = f"https://localhost:{control_port}/v1/policy"
        answer = await http.put(url, json=keys.policy)
    if answer.status_code != httpx.codes.NO_CONTENT:
        raise MeasureError(f"the relay answered {answer.status_code} to the policy")
