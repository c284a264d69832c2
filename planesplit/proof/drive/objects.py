"""Rows A4 to A6 and B: inputs, outputs, bundles, reports, and the URLs that lead to them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.task import common_pb2
from flyteidl2.workflow import run_service_pb2

from planesplit.objects import action_data, open_store, presigned_data, report, upload_bundle
from planesplit.proof import claims
from planesplit.proof.stage import Stage
from planesplit.viewer import Viewer

UPLOAD_INPUTS = "/flyteidl2.dataproxy.DataProxyService/UploadInputs"
OBJECT_BYTES = 65_536
# The pod's program: what flyte's runtime does at the end of a task.
POD = """
import os, sys, boto3
bucket, key = sys.argv[1].removeprefix("s3://").split("/", 1)
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
for name in ("outputs.pb", "report.html"):
    with open(f"{sys.argv[2]}/{name}", "rb") as file:
        s3.put_object(Bucket=bucket, Key=f"{key}/{name}", Body=file.read())
"""


async def objects(stage: Stage, viewer: Viewer) -> None:
    """Move one of each kind of object by the ways of the white paper."""
    async with _watched_store(stage) as store:
        await _bundle(stage, viewer, store)
        run = await _run(stage, viewer)
        data = await action_data(viewer, run)
        stage.delivered_to(claims.INPUT, data.inputs.SerializeToString())
        stage.delivered_to(claims.OUTPUT, data.outputs.SerializeToString())
        signed = await presigned_data(viewer, store, run)
        if signed.outputs != data.outputs:
            stage.failures.append("outputs by signed URL differ from the data endpoint's")
        stage.delivered_to(claims.REPORT, await report(viewer, store, run))


@asynccontextmanager
async def _watched_store(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    """Be a client of the store; the signature of every URL it is given becomes a canary."""

    async def note(request: httpx.Request) -> None:
        for value in parse_qs(urlsplit(str(request.url)).query).get("X-Amz-Signature", ()):
            stage.watch(value, claims.SIGNATURE)
            stage.delivered_to(claims.SIGNATURE)

    async with open_store(stage.split.ready) as store:
        store.event_hooks = {"request": [note]}
        yield store


async def _bundle(stage: Stage, viewer: Viewer, store: httpx.AsyncClient) -> None:
    file = stage.workshop / f"{stage.name(claims.BUNDLE_NAME)}.tgz"
    file.write_bytes(stage.canaries.block(claims.BUNDLE.row, claims.BUNDLE.name, OBJECT_BYTES))
    await upload_bundle(viewer, store, file)
    stage.delivered_to(claims.BUNDLE)
    stage.delivered_to(claims.BUNDLE_NAME)


async def _run(stage: Stage, viewer: Viewer) -> str:
    """Upload inputs, run a task on them that leaves outputs and a report; return its name."""
    place = viewer.place
    upload = dataproxy.UploadInputsRequest(inputs=_inputs(stage))
    upload.project_id.organization, upload.project_id.name = place.org, place.project
    upload.project_id.domain = place.domain
    url = await viewer.endpoint(SelectClusterRequest.OPERATION_UPLOAD_INPUTS) + UPLOAD_INPUTS
    given = await viewer.client.unary(url, upload, dataproxy.UploadInputsResponse)
    request = run_service_pb2.CreateRunRequest()
    of = request.project_id
    of.organization, of.name, of.domain = place.org, place.project, place.domain
    request.offloaded_input_data.CopyFrom(given.offloaded_input_data)
    template = request.task_spec.task_template
    template.id.name, template.type = "producing", "container"
    template.container.image = "any"
    template.container.command.extend([sys.executable, "-c", POD])
    template.container.args.extend(["{{.outputPrefix}}", _results(stage)])
    if packages := os.environ.get("PYTHONPATH"):  # pods inherit next to nothing
        template.container.env.add(key="PYTHONPATH", value=packages)
    answer = await viewer.call("CreateRun", request, run_service_pb2.CreateRunResponse)
    run = str(answer.run.action.id.run.name)
    if (await viewer.wait(run)).phase != "SUCCEEDED":
        stage.failures.append("the run that writes outputs and a report failed")
    return run


def _inputs(stage: Stage) -> common_pb2.Inputs:
    made = common_pb2.Inputs()
    literal = made.literals.add()
    literal.name = "given"
    literal.value.scalar.primitive.string_value = stage.canaries.block(
        claims.INPUT.row, claims.INPUT.name, OBJECT_BYTES
    ).decode()
    return made


def _results(stage: Stage) -> str:
    """Write what the pod is to produce; return the directory."""
    outputs = common_pb2.Outputs()
    literal = outputs.literals.add()
    literal.name = "o0"
    literal.value.scalar.primitive.string_value = stage.canaries.block(
        claims.OUTPUT.row, claims.OUTPUT.name, OBJECT_BYTES
    ).decode()
    directory = stage.workshop / "results"
    directory.mkdir(exist_ok=True)
    (directory / "outputs.pb").write_bytes(outputs.SerializeToString())
    html = stage.canaries.block(claims.REPORT.row, claims.REPORT.name, OBJECT_BYTES).decode()
    (directory / "report.html").write_text(f"<h1>{html}</h1>", encoding="utf-8")
    return str(directory)
