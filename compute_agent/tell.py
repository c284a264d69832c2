"""Exchanges that the agent opens: one message to the control plane, one answer back."""

from __future__ import annotations

from dataclasses import dataclass

import trio
from google.protobuf.message import Message

from tunnel.capabilities import CAPABILITIES
from tunnel.errors import Code, TunnelError
from tunnel.events import Data, End, Head, Reset
from tunnel.exchange import NONE, RequestHead, Scope
from tunnel.row_counts import RowCounts
from tunnel.session import Session
from tunnel.stream import Stream

MAX_ANSWER_BYTES = 65_536  # an answer has a few bytes, a Connect error a few hundred
HEADERS = (("connect-protocol-version", "1"), ("content-type", "application/proto"))
VIEWER = "agent"
OK = 200


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells the control plane what the agent of a cluster has to say.

    Args:
        org, cluster: whose agent.
        rows: where bodies are counted.
        answer_s: longest wait for an answer.
    """

    org: str
    cluster: str
    rows: RowCounts
    answer_s: float

    async def tell(self, session: Session, path: str, message: Message) -> bool:
        """Send a message over a tunnel; whether the control plane took it."""
        scope = Scope(self.org, NONE, NONE, self.cluster)
        with trio.move_on_after(self.answer_s):
            try:
                stream = session.open(RequestHead("POST", path, scope, VIEWER, HEADERS))
            except TunnelError:
                return False
            try:
                return await self._call(stream, CAPABILITIES[path].row, message)
            except TunnelError:
                return False
            finally:
                stream.reset(Code.CANCELLED)  # harmless when it is over
        return False

    async def _call(self, stream: Stream, row: str, message: Message) -> bool:
        body = message.SerializeToString()
        await stream.send(body)
        self.rows.add(row, "up", len(body))
        stream.end()
        status, received_bytes = 0, 0
        while received_bytes <= MAX_ANSWER_BYTES:
            await stream.ready()
            for event in stream.take():
                match event:
                    case Head(head=head):
                        status = head.status
                    case Data(view=view):
                        received_bytes += len(view)
                        self.rows.add(row, "down", len(view))
                        stream.release(len(view))
                    case End():
                        return status == OK
                    case Reset():
                        return False
        return False
