"""Many light agents in one process: they dial, authenticate and dial again as the real one does.

`python -m planesplit.measure.light_agents CONTROL_SOCKET` takes commands as JSON lines.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from compute_agent.dial import Dialer
from compute_agent.reconnect import Backoff
from compute_agent.settings import AgentSettings, TlsFiles
from tunnel.errors import Code, TunnelError
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.process import announce
from tunnel.session import Session
from tunnel.stream import Stream
from tunnel.token import NoToken, TokenFile, TokenSource, TokenUnreadable
from tunnel.transport import Transport

LINE_BYTES = 4_194_304  # the start of a thousand agents, in one command
SPREAD_S = 0.001  # between the first dials: a fleet does not start in one instant


class LightAgent(trio.TaskStatus[Session]):
    """One identity: its tunnel, kept up for ever; also the session's task status.

    Args:
        settings: as the real agent reads them.
        failures: raised for every dial that did not open, by code.
    """

    def __init__(self, settings: AgentSettings, failures: Counter[str]) -> None:
        self._settings, self._failures = settings, failures
        self._dialer = Dialer(settings)
        file = settings.token_file
        self._token: TokenSource = TokenFile(file) if file else NoToken()
        self._backoff = Backoff(
            settings.backoff, random=random.SystemRandom().random, now_s=trio.current_time
        )
        self.is_open = False
        self.opened_at_s: list[float] = []
        self.dials = 0

    async def run(self) -> None:
        """Dial, serve, and dial again."""
        while True:
            self.dials += 1
            code = await self._once()
            if self.is_open:
                self.is_open = False
                self._backoff.lost()
            else:
                self._failures[code.name] += 1
            await trio.sleep(self._backoff.delay_s(code))

    def started(self, value: Session | None = None) -> None:
        """The tunnel is up."""
        self.is_open = True
        self.opened_at_s.append(time.monotonic())
        self._backoff.opened()

    async def _once(self) -> Code:
        try:
            session = self._session(await self._dialer(), self._token.current())
        except TunnelError as error:
            return error.code
        except TokenUnreadable:
            return Code.AUTH_REFUSED
        return (await session.serve(_refuse, task_status=self)).code

    def _session(self, transport: Transport, token: Payload) -> Session:
        settings = self._settings
        hello = Hello(settings.org, settings.cluster, "light", epoch=time.time_ns() // 1_000_000)
        return Session(transport, hello=hello, settings=settings.tunnel, token=token)


async def _refuse(stream: Stream) -> None:
    stream.reset(Code.REFUSED)


class LightAgents:
    """The agents of this process, and what may be asked of them.

    Args:
        nursery: where they run.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._agents: list[LightAgent] = []
        self._failures: Counter[str] = Counter()
        self._commands: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "start": self.start,
            "status": self.status,
        }

    async def start(self, relay_url: str, agents: list[dict[str, Any]]) -> dict[str, Any]:
        """Start agents: each has `org`, `cluster`, `token_file` and `tls` (or none)."""
        for agent in agents:
            tls = TlsFiles(**agent.pop("tls")) if agent.get("tls") else None
            fields = {**agent, "tls": tls}
            settings = AgentSettings(relay_url=relay_url, log_root="", state_dir="", **fields)
            light = LightAgent(settings, self._failures)
            self._agents.append(light)
            self._nursery.start_soon(light.run)
            await trio.sleep(SPREAD_S)
        return {}

    async def status(self, since_s: float = 0.0) -> dict[str, Any]:
        """Answer with who is connected, and when each first opened after `since_s`."""
        opened = (next((t for t in a.opened_at_s if t > since_s), None) for a in self._agents)
        return {
            "open": sum(agent.is_open for agent in self._agents),
            "opened_at_s": [at_s for at_s in opened if at_s is not None],
            "dials": sum(agent.dials for agent in self._agents),
            "failures": dict(self._failures),
        }

    async def obey(self, connection: trio.SocketStream) -> None:
        """Carry out commands until the connection ends."""
        pending = b""
        while data := await connection.receive_some(LINE_BYTES):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                arguments = json.loads(line)
                answer = await self._commands[arguments.pop("do")](**arguments)
                await connection.send_all(json.dumps(answer).encode() + b"\n")


async def main(control: str) -> None:
    """Serve one connection on a Unix socket at `control`."""
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(control)
    listening.listen()
    announce()
    connection, _ = await listening.accept()
    async with trio.open_nursery() as nursery:
        await LightAgents(nursery).obey(trio.SocketStream(connection))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
