"""A sealed relay at work: everything that it meets, and nothing that it has to import for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import httpx
import pytest
import trio

from planesplit.split.core import Split
from planesplit.split.options import SplitOptions
from planesplit.split.plane import PlaneFailed

pytestmark = pytest.mark.integration
LATE = "imported after sealing:"
# In every Python process of the split: a process that cannot grow a file has sealed itself.
SITE = f"""
import resource, sys
def hook(event, arguments):
    if event == "import" and resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 0:
        sys.stderr.write(f"{LATE} {{arguments[0]}}\\n")
sys.addaudithook(hook)
"""
SECRETS = "/flyteidl2.secret.SecretService/CreateSecret"
GARBAGE = (
    b"\x16\x03\x01\x00\x05hello",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"\x00" * 64,
)


@pytest.fixture
def watched(tmp_path, monkeypatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def late(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(LATE)]


@pytest.mark.usefixtures("watched")
def test_the_watch_can_see() -> None:
    program = "from relay.seal.apply import seal_process; seal_process(); import colorsys"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert late(done.stderr) == [f"{LATE} colorsys"]


@pytest.mark.usefixtures("watched")
async def test_a_relay_that_does_everything_imports_nothing() -> None:
    options = SplitOptions(clickhouse=False, require_seal="full", provable=True)
    async with Split(options) as split:
        await _tail_over_a_cut(split)
        await _everything_wrong(split)
        await _every_page(split)
        assert split.memory("relay") is not None
        run = await split.run(exec="echo one; sleep 30")
        async with split.tail(run) as lines:  # something to drain
            assert (await anext(lines)).text == "one\n"
            assert await split.stop("relay") == 0
        told = split.journal("relay").lines
        assert late("\n".join(told)) == []
        assert not [line for line in told if "internal_error" in line]
        sealed = next(json.loads(line) for line in told if '"sealed"' in line)
        assert sealed["level"] == "full"


async def _tail_over_a_cut(split: Split) -> None:
    run = await split.run(exec="for i in 1 2 3 4 5; do echo $i; sleep 0.2; done")
    async with split.tail(run) as lines:
        first = await anext(lines)
        split.cut()
        rest = [line async for line in lines]
    assert [line.text for line in (first, *rest)] == ["1\n", "2\n", "3\n", "4\n", "5\n"]


async def _everything_wrong(split: Split) -> None:
    """Wrong tokens, bodies, paths, heads, TLS: each gets an answer or a closed connection."""
    relay, place = httpx.URL(split.ready.urls.relay), split.options.place
    token = await split.viewer.client._token()
    good = {"content-type": "application/proto", "authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(verify=False, timeout=20, trust_env=False) as http:
        for cluster in (place.cluster, "-", "nowhere"):
            base = f"{relay}/r/{place.org}/{place.project}/{place.domain}/{cluster}{SECRETS}"
            for headers in (good, {**good, "authorization": "Bearer a.b.c"}, {}):
                answer = await http.post(base, headers=headers, content=b"\xff" * 4_000)
                assert answer.status_code >= 400
        assert (await http.get(f"{relay}/nothing")).status_code >= 400
    for data in GARBAGE:
        with trio.fail_after(20):
            async with await trio.open_tcp_stream("127.0.0.1", int(relay.port or 0)) as stream:
                await stream.send_all(data)
                await stream.send_eof()
                try:
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass


async def _every_page(split: Split) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for path in ("livez", "readyz", "metrics", "version", "nothing"):
            answer = await http.get(f"{split.ready.urls.ops}/{path}")
            assert answer.status_code == (404 if path == "nothing" else 200)
            if path == "livez":
                assert "seal: full landlock=" in answer.text
    assert (await split.metrics())['relay_seal_level{level="full"}'] == 1.0
    assert (await split.metrics())['relay_seal_level{level="none"}'] == 0.0


async def test_a_seal_that_is_off_is_said_and_required_in_vain() -> None:
    with pytest.raises(PlaneFailed, match="drop one of the two"):
        async with Split(SplitOptions(clickhouse=False, seal=False, require_seal="full")):
            pass
    async with Split(SplitOptions(clickhouse=False, seal=False)) as split:
        assert (await split.metrics())['relay_seal_level{level="none"}'] == 1.0
        assert split.memory("relay") is None


def test_planes_in_one_process_cannot_require_a_seal() -> None:
    with pytest.raises(ValueError, match="never sealed"):
        SplitOptions(mode="inprocess", require_seal="limits")
