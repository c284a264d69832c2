"""What a client of another org gets to see when it asks for this one's payload: a refusal."""

from __future__ import annotations

import trio
from google.protobuf.message import Message

from planesplit.connect_client import ConnectError
from planesplit.proof.drive.recorder import open_stranger
from planesplit.proof.stage import Stage

ASK_S = 20.0


async def refused(
    stage: Stage, url: str, request: Message, answer: type[Message], *, stream: bool = False
) -> None:
    """Ask as a client of another org; every byte of the answer is kept for `answers`.

    Args:
        url: of the RPC, as the org's own client was told.
        stream: whether it is a server stream.
    """
    async with open_stranger(stage) as stranger:
        if stranger is None:
            return
        try:
            with trio.move_on_after(ASK_S) as patience:
                if stream:
                    async with stranger.client.stream(url, request, answer) as messages:
                        async for _ in messages:
                            break
                else:
                    await stranger.client.unary(url, request, answer)
            what = "neither answered nor refused" if patience.cancelled_caught else "answered"
            stage.failures.append(f"a client of another org was {what}: {_method(url)}")
        except ConnectError:
            return


def _method(url: str) -> str:
    return url.rpartition("/")[2]
