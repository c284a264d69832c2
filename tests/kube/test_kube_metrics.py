"""What an API server tells of itself: numbers by verb, kind and status, and nobody's words."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
from kube_cast import MASTER, Api, named, pod

from kube.server.metrics import ServerMetrics
from policy.roles import PLANES, Plane, accounts
from policy.rules import Request

PROMETHEUS = "union-operator-prometheus"
PODS = "/api/v1/namespaces/default/pods"
LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? ([0-9.e+]+)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by name and sorted labels; text that Prometheus wouldn't read is an error."""
    found: dict[tuple[str, ...], float] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge))", line)
            continue
        match = LINE.fullmatch(line)
        assert match, line
        labels = sorted(f"{key}={value}" for key, value in LABEL.findall(match[2] or ""))
        assert (match[1], *labels) not in found, "a sample twice"
        found[match[1], *labels] = float(match[3])
    assert text.endswith("\n")
    return found


async def scraped(api: Api, path: str = "/metrics", account: str = MASTER) -> dict[Any, float]:
    """The samples that an account gets."""
    answer = await api(account, "GET", path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.text)


def requests(verb: str, resource: str, code: int) -> tuple[str, ...]:
    return ("apiserver_request_total", f"code={code}", f"resource={resource}", f"verb={verb}")


async def test_answers_are_counted_by_verb_kind_and_status(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    for name in ("a", "b", "a"):
        await api(MASTER, "POST", PODS, pod(name))
    await api("proxy-system", "GET", PODS)
    await api("fluentbit", "GET", f"{PODS}/a/log")
    await api("nobody", "GET", PODS)
    await api(MASTER, "GET", PODS, params={"watch": "1", "timeoutSeconds": "x"})
    found = await scraped(api, account=PROMETHEUS)
    assert found[requests("POST", "pods", 201)] == 2
    assert found[requests("POST", "pods", 409)] == 1
    assert found[requests("LIST", "pods", 200)] == 1
    assert found[requests("GET", "pods/log", 403)] == 1
    assert found[requests("LIST", "pods", 401)] == 1
    assert found[requests("WATCH", "pods", 400)] == 1
    again = await scraped(api, account=PROMETHEUS)
    assert again[requests("GET", "/metrics", 200)] == 1


async def test_watches_are_counted_while_they_are_open(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    gauge = ("apiserver_longrunning_requests", "resource=pods", "verb=WATCH")
    async with trio.open_nursery() as watching:
        for _ in range(2):
            watching.start_soon(lambda: api(MASTER, "GET", f"{PODS}?watch=1"))
        with trio.fail_after(10):
            while (await scraped(api)).get(gauge) != 2:
                await trio.lowlevel.checkpoint()
        watching.cancel_scope.cancel()
    with trio.fail_after(10):
        while (await scraped(api))[gauge] != 0:
            await trio.lowlevel.checkpoint()


async def test_no_word_of_a_caller_is_kept(nursery: trio.Nursery) -> None:
    """Names of objects, paths, methods and users that somebody thinks up."""
    api, word = Api("compute", nursery), "patient4711"
    await api(MASTER, "POST", "/api/v1/namespaces", named("Namespace", word))
    secret = named("Secret", word, stringData={word: word})
    await api(MASTER, "POST", f"/api/v1/namespaces/{word}/secrets", secret)
    await api(MASTER, "POST", f"/api/v1/namespaces/{word}/pods", pod(word))
    await api(MASTER, "GET", f"/api/v1/namespaces/{word}/pods/{word}/{word}")
    await api(MASTER, "GET", f"/apis/{word}/v1/{word}")
    await api(MASTER, "GET", f"/{word}")
    await api(MASTER, word.upper(), PODS)
    await api(MASTER, word.upper(), "/livez")
    await api(MASTER, "GET", f"{PODS}?fieldSelector={word}&watch=%ff{word}")
    await api(word, "GET", PODS)
    await api(MASTER, "GET", PODS, headers={"impersonate-user": word + '"} 1'})
    text = (await api(MASTER, "GET", "/metrics")).text
    assert samples(text)
    assert word not in text.lower()
    assert word not in (await api(MASTER, "GET", "/_planesplit/access")).text.lower()


@pytest.mark.parametrize("plane", PLANES)
async def test_only_who_may_scrapes(plane: Plane, nursery: trio.Nursery) -> None:
    api = Api(plane, nursery)
    for path in ("/metrics", "/metrics/cadvisor"):
        codes = {name: (await api(name, "GET", path)).status_code for name in accounts(plane)}
        assert {name for name, code in codes.items() if code != 403} == (
            {PROMETHEUS} if plane == "compute" else set()
        )
        assert (await api(MASTER, "POST", path)).status_code == 405


async def test_the_machine_is_told_where_there_is_a_node(nursery: trio.Nursery) -> None:
    """The compute plane's API alone has none: its kubelet registers one."""
    found = await scraped(Api("control", nursery), "/metrics/cadvisor")
    assert {name for name, *_ in found} == {"machine_cpu_cores", "machine_memory_bytes"}
    assert min(found.values()) >= 1
    api = Api("compute", nursery)
    assert (await api(MASTER, "GET", "/metrics/cadvisor")).status_code == 404


def test_what_is_asked_with_a_strange_verb_is_other() -> None:
    metrics = ServerMetrics()
    metrics.answered(Request("u", 'x"} 1'), 200)
    assert samples("".join(metrics.lines())) == {requests("OTHER", "other", 200): 1}
