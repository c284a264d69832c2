"""What agents open: it waits for the control plane, bounded in number and time."""

from __future__ import annotations

import trio
from stage import report_head, stage

from tunnel.errors import Code


async def answered(stream) -> tuple[int, bytes]:
    status, body = 0, b""
    while True:
        await stream.ready()
        for event in stream.take():
            match type(event).__name__:
                case "Head":
                    status = event.head.status
                case "Data":
                    body += bytes(event.view)
                    stream.release(len(event.view))
                case "End":
                    return status, body
                case "Reset":
                    return int(event.code), b"reset"


async def fetch(s, wait_s: int = 25) -> tuple[dict[bytes, bytes], bytes]:
    control = s.control()
    response = await control.ask("GET", f"/v1/exchanges/next?wait_s={wait_s}")
    return {**dict(response.headers), b"status": b"%d" % response.status_code}, await control.rest()


async def test_an_agents_exchange_reaches_the_control_plane_and_back(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        stream = agent.session.open(report_head())
        await stream.send(b"phases")
        stream.end()
        headers, body = await fetch(s)
        assert body == b"phases"
        assert headers[b"planesplit-org"] == b"acme"
        assert headers[b"planesplit-cluster"] == b"c1"
        assert headers[b"planesplit-path"] == b"/planesplit.v1.ReportService/Report"
        assert headers[b"content-type"] == b"application/proto"
        path = "/v1/exchanges/" + headers[b"planesplit-exchange"].decode()
        fields = {"content-type": "application/proto", "planesplit-status": "202"}
        response = await s.control().ask("POST", path, b"accepted", fields)
        assert response.status_code == 204
        assert await answered(stream) == (202, b"accepted")
        # It is answered once.
        assert (await s.control().ask("POST", path, b"accepted", fields)).status_code == 404


async def test_the_control_plane_waits_for_an_exchange(autojump_clock):
    async with stage() as s:
        headers, _ = await fetch(s)
        assert headers[b"status"] == b"204"
        assert trio.current_time() == 25


async def test_a_poller_that_left_takes_nothing_with_it(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        control = s.control()
        await control.send("GET", "/v1/exchanges/next?wait_s=25")
        await s.settled()
        await control.stream.aclose()
        await s.settled()
        stream = agent.session.open(report_head())
        stream.end()
        headers, _ = await fetch(s)
        assert headers[b"status"] == b"200"


async def test_an_exchange_that_nobody_fetches_runs_into_its_deadline(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        stream = agent.session.open(report_head())
        stream.end()
        assert await answered(stream) == (Code.TIMEOUT, b"reset")
        assert trio.current_time() == 30
        assert s.count("control_absent") == 1
        headers, _ = await fetch(s, wait_s=0)
        assert headers[b"status"] == b"204"


async def test_an_exchange_that_is_fetched_and_not_answered(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        stream = agent.session.open(report_head())
        stream.end()
        headers, _ = await fetch(s)
        assert await answered(stream) == (Code.TIMEOUT, b"reset")
        path = "/v1/exchanges/" + headers[b"planesplit-exchange"].decode()
        assert (await s.control().ask("POST", path, b"late")).status_code == 404


async def test_an_agent_that_left_is_not_answered(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        agent.session.open(report_head()).end()
        headers, _ = await fetch(s)
        agent.link.cut()
        await agent.ended.wait()
        await s.settled()
        path = "/v1/exchanges/" + headers[b"planesplit-exchange"].decode()
        assert (await s.control().ask("POST", path, b"late")).status_code == 404


async def test_an_agent_that_leaves_inside_the_answer(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        agent.session.open(report_head()).end()
        headers, _ = await fetch(s)
        path = "/v1/exchanges/" + headers[b"planesplit-exchange"].decode()
        control = s.control()
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
        await control.stream.send_all(head.encode())
        await s.settled()
        agent.link.cut()
        await agent.ended.wait()
        await control.stream.send_all(b"other")
        assert b"aborted" in await control.stream.receive_some()


async def test_a_control_plane_that_leaves_inside_its_answer(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        stream = agent.session.open(report_head())
        stream.end()
        headers, _ = await fetch(s)
        path = "/v1/exchanges/" + headers[b"planesplit-exchange"].decode()
        control = s.control()
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
        await control.stream.send_all(head.encode())
        await s.settled()
        await control.stream.aclose()
        assert await answered(stream) == (Code.INTERNAL, b"reset")


async def test_too_many_waiting_exchanges(autojump_clock):
    async with stage(max_waiting=2) as s:
        agent = await s.agent()
        for _ in range(2):
            agent.session.open(report_head()).end()
        await s.settled()
        stream = agent.session.open(report_head())
        assert await answered(stream) == (Code.NOT_READY, b"reset")


async def test_an_agent_reports_for_itself_only(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        stream = agent.session.open(report_head("globex", "c1"))
        assert await answered(stream) == (Code.REFUSED, b"reset")
