"""The customer's operator: fetches the agent's token at the control plane and keeps it fresh.

The agent never talks to the control plane itself; it polls the file that is written here.
"""

from __future__ import annotations

from pathlib import Path

import trio

from planesplit.connect_client import ConnectError
from planesplit.ready import write_atomically
from planesplit.tokens import FRESH_FRACTION, Token, Tokens

TUNNEL_SCOPE = "tunnel"
RETRY_S = 0.2
RETRY_MOST_S = 5.0


async def keep_token(
    tokens: Tokens,
    file: Path,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Write a token to a file, and a new one at half of its life, until cancelled.

    Args:
        tokens: fetches for the agent's client.
        file: replaced as a whole; mode 0600.
        task_status: `started()` when the first token is there.
    """
    while True:
        token = await _fetch(tokens)
        write_atomically(file, token.value + "\n")
        task_status.started()
        task_status = trio.TASK_STATUS_IGNORED
        await trio.sleep(token.life_s * FRESH_FRACTION)


async def _fetch(tokens: Tokens) -> Token:
    """Fetch as often as it takes; a refused secret may be put right, so that is tried again too."""
    pause_s = RETRY_S
    while True:
        try:
            return await tokens.fetch()
        except ConnectError:
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_MOST_S)
