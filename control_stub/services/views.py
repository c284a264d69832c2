"""Rows as flyteidl2 messages."""

from __future__ import annotations

from collections.abc import Sequence

from flyteidl2.common import identifier_pb2, identity_pb2
from flyteidl2.task import task_definition_pb2
from flyteidl2.workflow import run_definition_pb2 as workflow
from google.protobuf.timestamp_pb2 import Timestamp

from control_stub.phases import FAILED, RUNNING, Report, is_done
from control_stub.runs import REFUSED, ROOT_ACTION, Run, RunKey

TASK_TYPE = "container"


def timestamp(nanoseconds: int) -> Timestamp:
    """Return a time as a message."""
    made = Timestamp()
    made.FromNanoseconds(nanoseconds)
    return made


def identity(subject: str) -> identity_pb2.EnrichedIdentity:
    """Return a subject as a message; every caller here is an application."""
    return identity_pb2.EnrichedIdentity(
        application=identity_pb2.Application(
            id=identifier_pb2.ApplicationIdentifier(subject=subject)
        )
    )


def run_id(key: RunKey) -> identifier_pb2.RunIdentifier:
    """Return a run's name as a message."""
    return identifier_pb2.RunIdentifier(
        org=key.org, project=key.project, domain=key.domain, name=key.run
    )


def action_id(key: RunKey) -> identifier_pb2.ActionIdentifier:
    """Return the name of a run's action."""
    return identifier_pb2.ActionIdentifier(run=run_id(key), name=ROOT_ACTION)


def action(run: Run, ended_at: int = 0) -> workflow.Action:
    """Return a run's action.

    Args:
        ended_at: when it ended, nanoseconds; `updated_at` stands in where phases are not read.
    """
    return workflow.Action(
        id=action_id(run.key), metadata=_metadata(run), status=_status(run, ended_at)
    )


def action_details(
    run: Run, reports: Sequence[Report], spec: task_definition_pb2.TaskSpec
) -> workflow.ActionDetails:
    """Return everything that is known of a run's action."""
    last = reports[-1] if reports else None
    details = workflow.ActionDetails(
        id=action_id(run.key),
        metadata=_metadata(run),
        status=_status(run, last.at_ns if last and last.done else 0),
        task=spec,
        attempts=[
            _attempt(run, [report for report in reports if report.attempt == number])
            for number in sorted({report.attempt for report in reports})
        ],
    )
    if run.abort_at:
        details.abort_info.reason = run.abort_reason
        details.abort_info.aborted_by.CopyFrom(identity(run.abort_by))
    elif run.phase == FAILED and last is not None:
        details.error_info.CopyFrom(_error(last))
    return details


def _metadata(run: Run) -> workflow.ActionMetadata:
    key = run.key
    return workflow.ActionMetadata(
        executed_by=identity(run.created_by),
        action_type=workflow.ACTION_TYPE_TASK,
        source=workflow.RUN_SOURCE_CLI,
        task=workflow.TaskActionMetadata(
            id=task_definition_pb2.TaskIdentifier(
                org=key.org,
                project=key.project,
                domain=key.domain,
                name=run.task_name,
                version=run.task_version,
            ),
            task_type=TASK_TYPE,
            short_name=run.task_name.rpartition(".")[2],
        ),
    )


def _status(run: Run, ended_at: int) -> workflow.ActionStatus:
    status = workflow.ActionStatus(
        phase=run.phase, start_time=timestamp(run.created_at), attempts=run.attempt
    )
    if run.done:
        ended_at = max(ended_at or run.updated_at, run.created_at)
        status.end_time.CopyFrom(timestamp(ended_at))
        status.duration_ms = (ended_at - run.created_at) // 1_000_000
    return status


def _attempt(run: Run, reports: Sequence[Report]) -> workflow.ActionAttempt:
    current = reports[-1]
    attempt = workflow.ActionAttempt(
        attempt=current.attempt,
        phase=current.phase,
        start_time=timestamp(reports[0].at_ns),
        logs_available=any(report.pod or report.phase == RUNNING for report in reports),
        cluster=run.cluster,
        phase_transitions=_transitions(reports),
    )
    if current.done:
        attempt.end_time.CopyFrom(timestamp(current.at_ns))
    if current.phase == FAILED:
        attempt.error_info.CopyFrom(_error(current))
    return attempt


def _transitions(reports: Sequence[Report]) -> list[workflow.PhaseTransition]:
    made = []
    for report, following in zip(reports, [*reports[1:], None], strict=True):
        transition = workflow.PhaseTransition(
            phase=report.phase, start_time=timestamp(report.at_ns)
        )
        end = following.at_ns if following else report.at_ns if is_done(report.phase) else 0
        if end:
            transition.end_time.CopyFrom(timestamp(max(end, report.at_ns)))
        made.append(transition)
    return made


def _error(report: Report) -> workflow.ErrorInfo:
    if report.reason:
        text = "the pod is gone"
        if report.reason.startswith(REFUSED):
            text = f"the cluster refused the task: {report.reason.removeprefix(REFUSED)}"
        return workflow.ErrorInfo(message=text, kind=workflow.ErrorInfo.KIND_SYSTEM)
    if report.exit_code == 0:  # flyte's runtime ends so; the agent found what it left
        return workflow.ErrorInfo(
            message="the task failed; its error is in the customer's object store (error.pb)",
            kind=workflow.ErrorInfo.KIND_USER,
            code="TaskError",
        )
    code = "unknown" if report.exit_code is None else str(report.exit_code)
    return workflow.ErrorInfo(
        message=f"the container ended with exit code {code}",
        kind=workflow.ErrorInfo.KIND_USER,
        code=f"ExitCode:{code}",
    )
