"""The agent as a process, beside the customer's infrastructure as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from fakes import FakeRelay
from test_agent import assign_body

from tunnel.capabilities import ASSIGN
from tunnel.errors import Code
from tunnel.messages.planesplit_v1_pb2 import AssignRequest, Container
from tunnel.websocket import accept_websocket

pytestmark = pytest.mark.integration
SCRIPT = "import sys\nfor i in range(3000): print('line', i)\nprint('é' * 100_000, file=sys.stderr)"


def write_config(path: Path, **values: object) -> Path:
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return path


@asynccontextmanager
async def process(module: str, config: Path):
    """Run a plane until the block ends; yields it and its ready line."""
    command = [sys.executable, "-m", module, "--config", str(config)]
    started = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        ready = b""
        with trio.fail_after(20):
            while not ready.endswith(b"\n"):
                data = await started.stdout.receive_some()
                assert data, "it ended before it was ready"
                ready += data
        yield started, json.loads(ready)
    finally:
        if started.returncode is None:
            started.terminate()
            with trio.CancelScope(shield=True), trio.move_on_after(10):
                await started.wait()
        if started.returncode is None:
            started.kill()
        await started.stdout.aclose()


class SocketRelay(FakeRelay):
    """The relay's end on a real socket."""

    async def listen(self) -> str:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.nursery.start_soon(trio.serve_listeners, self._accept, listeners)
        return f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/tunnel"

    async def _accept(self, stream: trio.SocketStream) -> None:
        await self._serve(await accept_websocket(stream))


@asynccontextmanager
async def split(tmp_path: Path, nursery: trio.Nursery):
    relay = SocketRelay(nursery)
    url = await relay.listen()
    logs, state = tmp_path / "logs", tmp_path / "state"
    logs.mkdir()
    state.mkdir()
    customer = write_config(
        tmp_path / "customer.toml", insecure=True, log_root=str(logs), rotate_bytes=131_072
    )
    async with process("customer_stub", customer) as (_, ready):
        agent = write_config(
            tmp_path / "agent.toml",
            org="acme",
            cluster="c1",
            relay_url=url,
            log_root=str(logs),
            state_dir=str(state),
            kubernetes_url=f"http://127.0.0.1:{ready['port']}",
        )
        async with process("compute_agent", agent) as (running, _):
            with trio.fail_after(60):
                await relay.connected()
                yield relay, running, agent


async def test_real_command_is_assigned_run_tailed_and_reported(tmp_path, nursery):
    async with split(tmp_path, nursery) as (relay, agent, _):
        request = AssignRequest.FromString(assign_body())
        container = Container(image="python", command=[sys.executable, "-c", SCRIPT])
        request.container.CopyFrom(container)
        call = await (await relay.open(ASSIGN, request.SerializeToString())).finish()
        assert call.status == 200
        tail = await (await relay.tail()).finish()
        lines = tail.text.splitlines()
        assert [line for line in lines if "line" in line] == [f"line {n}" for n in range(3000)]
        assert "é" * 100_000 in lines
        assert tail.error == b"{}"
        phases = lambda: {p.phase for r in relay.reports for p in r.phases}  # noqa: E731
        await relay.until(lambda: 5 in phases())
        agent.send_signal(signal.SIGTERM)
        assert await agent.wait() == 0


async def test_killed_agent_comes_back_and_the_tail_goes_on(tmp_path, nursery):
    script = "import time\nfor i in range(300): print(i, flush=True); time.sleep(0.01)"
    async with split(tmp_path, nursery) as (relay, agent, config):
        request = AssignRequest.FromString(assign_body())
        container = Container(image="python", command=[sys.executable, "-c", script])
        request.container.CopyFrom(container)
        await (await relay.open(ASSIGN, request.SerializeToString())).finish()
        call = await (await relay.tail()).until_text("20\n")
        agent.kill()
        await call.finish()
        assert call.code is Code.TUNNEL_LOST
        async with process("compute_agent", config):
            await relay.connected(2)
            rest = await (await relay.tail(cursor=call.marks[-1])).finish()
        assert call.text + rest.text == "".join(f"{n}\n" for n in range(300))


async def test_replaced_agent_exits_with_its_own_code(tmp_path, nursery):
    async with split(tmp_path, nursery) as (relay, agent, _):
        (await relay.connected()).close(Code.REPLACED)
        assert await agent.wait() == 3
