"""Nothing of what was forwarded stays in the relay: its process is scanned for canaries."""

from __future__ import annotations

import h11
import pytest
import trio
from residue import SCOPE, Bench, Canary, answer_with, bench, request_of, scan, tail_of, times
from stage import ANSWER, STREAMING, TAIL, Client, bearer, message, viewer_token

from planesplit.split.options import WIPE_ON_FREE
from tunnel.capabilities import CREATE_DOWNLOAD_LINK, CREATE_SECRET, QUERY, UPDATE_SECRET
from tunnel.errors import Code

pytestmark = pytest.mark.integration
PROTO = "application/proto"
MAX_TOKENS_LEFT = 8
SIZES = [9, 40, 200, 600, 1_500, 20_000, 65_000, 150_000]
MANY = SIZES[:-1] * 12


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def relay(request, tmp_path):
    async with bench(tmp_path, tls=request.param) as theatre:
        with trio.fail_after(60):
            yield theatre


async def assert_clean(relay: Bench, canary: Canary) -> None:
    found = await relay.clean(canary.word)
    assert not found, f"{len(found)} finds\n" + "\n".join(map(str, found[:20]))


async def until_found(relay: Bench, canary: Canary) -> None:
    """The relay holds something now: that a scan finds nothing later means something."""
    while not scan(relay.pid, canary.word):
        await trio.sleep(0.05)


async def test_a_tail_from_beginning_to_end(relay):
    canary = Canary()
    units = [canary(size) for size in MANY]
    relay.play = tail_of(units)
    viewer = await relay.ask(TAIL, message(canary(500)), STREAMING)
    await viewer.response()
    assert await viewer.rest() == b"".join(map(message, units))
    await assert_clean(relay, canary)


async def test_a_quiet_tail_that_goes_on(relay):
    canary = Canary()
    units = [canary(size) for size in MANY]
    relay.play = tail_of(units, end=False)
    viewer = await relay.ask(TAIL, b"", STREAMING)
    await viewer.response()
    await viewer.exactly(sum(map(len, units)) + 5 * len(units))
    await assert_clean(relay, canary)


async def stalled(relay: Bench, canary: Canary, sizes: list[int]) -> Client:
    """A viewer who does not read, of a tail that has filled all buffers."""
    relay.play = tail_of([canary(size) for size in sizes])
    viewer = await relay.ask(TAIL, b"", STREAMING)
    await viewer.response()
    held = -1
    while held <= 0 or held != len(scan(relay.pid, canary.word)):
        held = len(scan(relay.pid, canary.word))
        await trio.sleep(0.2)  # until nothing moves any more
    return viewer


@pytest.mark.parametrize("size", [200, 60_000])
async def test_a_stalled_viewer_who_leaves(relay, size):
    canary = Canary()
    viewer = await stalled(relay, canary, [size] * (12_000_000 // (size + 500)))
    await trio.aclose_forcefully(viewer.stream)
    await assert_clean(relay, canary)


async def test_a_stalled_viewer_whose_agent_is_lost(relay):
    canary = Canary()
    viewer = await stalled(relay, canary, [60_000] * 200)
    await trio.aclose_forcefully(relay.wire)
    await until_found(relay, canary)  # what was whole is still the viewer's
    await trio.aclose_forcefully(viewer.stream)
    await assert_clean(relay, canary)


async def test_a_tunnel_that_is_cut_in_a_frame(relay):
    canary = Canary()

    async def play(stream):
        await request_of(stream)
        stream.head(ANSWER)
        await stream.send(message(canary(30_000)))  # no MARK: a unit that is never whole
        await trio.sleep_forever()

    relay.play = play
    viewer = await relay.ask(TAIL, b"", STREAMING)
    await until_found(relay, canary)
    # The beginning of a frame whose mask is zero, so that it is legible also where it is masked.
    begun = b"\x82\xfe\xff\xff" + bytes(4) + b"\x05\0\0\0\0\0\0\x02" + canary(65_000)
    await relay.wire.send_all(begun[:40_000])
    await trio.sleep(0.1)
    await trio.aclose_forcefully(relay.wire)
    await relay.dial()
    await trio.aclose_forcefully(viewer.stream)
    await assert_clean(relay, canary)


async def test_a_unit_that_is_reset(relay):
    canary = Canary()

    async def play(stream):
        await request_of(stream)
        stream.head(ANSWER)
        await stream.send(message(canary(100_000)))
        await stream.flushed()
        await until_found(relay, canary)
        stream.reset(Code.INTERNAL)

    relay.play = play
    viewer = await relay.ask(TAIL, b"", STREAMING)
    await viewer.response()
    with pytest.raises((h11.RemoteProtocolError, AssertionError)):
        assert b"internal" not in await viewer.rest()
    await assert_clean(relay, canary)


async def test_secrets_on_their_way_up(relay):
    for size in SIZES:
        canary, asked = Canary(), []
        body = canary(min(size, 120_000))
        relay.play = answer_with(b"done", asked)
        for method in (CREATE_SECRET, UPDATE_SECRET):
            viewer = await relay.ask(SCOPE + method, body, PROTO)
            assert (await viewer.response()).status_code == 200
            await viewer.rest()
        assert asked == [body, body]
        await assert_clean(relay, canary)


async def test_a_secret_for_every_cluster(relay):
    canary, asked = Canary(), []
    relay.play = answer_with(canary(3_000), asked)
    viewer = await relay.ask("/r/acme/p/d/-" + CREATE_SECRET, canary(90_000), PROTO)
    assert (await viewer.response()).status_code == 200
    assert await viewer.rest() == canary(3_000)
    assert asked == [canary(90_000)]
    await assert_clean(relay, canary)


async def test_a_secret_that_the_agent_does_not_want(relay):
    canary, seen = Canary(), trio.Event()

    async def play(stream):
        await seen.wait()
        stream.reset(Code.INTERNAL)

    relay.play = play
    head = f"POST {SCOPE}{UPDATE_SECRET} HTTP/1.1\r\nhost: relay\r\ncontent-length: 8000000\r\n"
    stream = await relay.connect("viewer_port")
    with trio.move_on_after(1):
        await stream.send_all((head + fields() + "\r\n\r\n").encode() + canary(8_000_000))
    await until_found(relay, canary)
    seen.set()
    await trio.aclose_forcefully(stream)
    await assert_clean(relay, canary)


def fields() -> str:
    headers = bearer(content_type=PROTO, **times())
    return "\r\n".join(f"{name}: {value}" for name, value in headers.items())


async def test_a_body_that_nobody_wants(relay):
    canary = Canary()
    viewer = await relay.ask(SCOPE + "/no.such.Service/Call", canary(100_000), PROTO)
    assert (await viewer.response()).status_code >= 400
    await assert_clean(relay, canary)


async def test_answers(relay):
    for method in (CREATE_DOWNLOAD_LINK, QUERY):
        for size in SIZES:
            canary, asked = Canary(), []
            relay.play = answer_with(canary(size), asked)
            viewer = await relay.ask(SCOPE + method, b"?", PROTO)
            await viewer.response()
            assert await viewer.rest() == canary(size)
            await assert_clean(relay, canary)


async def test_a_chunked_request(relay):
    canary, asked = Canary(), []
    relay.play = answer_with(b"done", asked)
    chunks = [canary(size) for size in SIZES]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    head = f"POST {SCOPE}{UPDATE_SECRET} HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n"
    client = Client(await relay.connect("viewer_port"))
    client.http.send(h11.Request(method="POST", target="/", headers=[("host", "relay")]))
    await client.stream.send_all((head + fields() + "\r\n\r\n").encode() + body)
    await client.response()
    await client.rest()
    assert asked == [b"".join(chunks)]
    await assert_clean(relay, canary)


@pytest.mark.parametrize(
    ("environment", "stays"), [((), True), (WIPE_ON_FREE, False)], ids=["default", "wipe_on_free"]
)
async def test_tokens_are_what_wiping_on_free_is_for(tmp_path, environment, stays):
    async with bench(tmp_path, tls=True, environment=environment) as relay:
        relay.play = tail_of([b"line"])
        token = viewer_token(**times())
        client = await relay.ask(TAIL, b"", STREAMING, authorization=f"Bearer {token}")
        assert (await client.response()).status_code == 200
        await client.rest()
        await client.stream.aclose()
        found = await relay.clean(token[-40:].encode())
        assert bool(found) is stays


async def test_tokens_do_not_pile_up(tmp_path):
    """What is left of them is overwritten by the next ones: 2 of 100 were found, measured."""
    async with bench(tmp_path, tls=True) as relay:
        relay.play = tail_of([b"line"])
        ages = {**times()}
        tokens = [viewer_token(**{**ages, "exp": ages["exp"] + n}) for n in range(40)]
        for token in tokens:
            client = await relay.ask(TAIL, b"", STREAMING, authorization=f"Bearer {token}")
            assert (await client.response()).status_code == 200
            await client.rest()
            await client.stream.aclose()
        left = [token for token in tokens if scan(relay.pid, token[-40:].encode())]
        assert 0 < len(left) <= MAX_TOKENS_LEFT


MUTANTS = {
    "keeps_the_last_unit": """
from relay import downlink
last, written = [], downlink.Downlink._written
def keep(self, stream, batch):
    last[:] = [bytes(part) for part in batch.parts]
    written(self, stream, batch)
downlink.Downlink._written = keep
""",
    "does_not_wipe": """
from tunnel import wipe
wipe._whole = None
""",
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_mutant_is_found(name, tmp_path):
    program = MUTANTS[name] + "import sys\nfrom relay.__main__ import *\n"
    program += "sys.exit(main('relay', PURPOSE, start))\n"
    canary = Canary()
    async with bench(tmp_path, tls=False, program=("-c", program)) as relay:
        relay.play = tail_of([canary(size) for size in MANY])
        viewer = await relay.ask(TAIL, b"", STREAMING)
        await viewer.response()
        await viewer.rest()
        await trio.sleep(0.3)
        assert scan(relay.pid, canary.word)
