"""flyte's templates in a container's command, and the environment of flyte's runtime in a pod.

Source: the `flyte` SDK 2.12: what its tasks are serialised with, and what its `a0` reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from compute_agent.attempts import Attempt
from compute_agent.objects.keys import Layout

_TEMPLATE = re.compile(r"\{\{\s*\.([A-Za-z]+)\s*\}\}")
_NEED_STORE = frozenset(
    {
        "input",
        "inputs",
        "inputprefix",
        "outputprefix",
        "outputs",
        "rawoutputdataprefix",
        "checkpointoutputprefix",
        "prevcheckpointprefix",
    }
)
_INPUTS = frozenset({"input", "inputs", "inputprefix"})


def names(words: tuple[str, ...]) -> set[str]:
    """Return the templates that a command uses, in lower case."""
    return {match.lower() for word in words for match in _TEMPLATE.findall(word)}


def needs_store(words: tuple[str, ...]) -> bool:
    """Whether a command names objects."""
    return not _NEED_STORE.isdisjoint(names(words))


def needs_inputs(words: tuple[str, ...]) -> bool:
    """Whether a command reads inputs."""
    return not _INPUTS.isdisjoint(names(words))


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Replace every template that has a value; others stay as they are."""
    return _TEMPLATE.sub(lambda match: values.get(match[1].lower(), match[0]), text)


def identity(attempt: Attempt, created_s: float | None) -> dict[str, str]:
    """Return values of templates that need no store.

    Args:
        created_s: when the run was made, seconds since the epoch; None leaves the template, which
            the runtime takes for the epoch.
    """
    values = {"runname": attempt.run, "actionname": attempt.action, "podname": attempt.pod}
    if created_s is not None:
        start = datetime.fromtimestamp(created_s, UTC)
        values["runstarttime"] = start.isoformat().replace("+00:00", "Z")
    return values


def places(layout: Layout, attempt: Attempt, inputs_uri: str) -> dict[str, str]:
    """Return values of templates that name objects."""
    earlier = attempt.attempt - 1
    before = layout.of(attempt.numbered(earlier), "checkpoint").uri if earlier else ""
    outputs = layout.of(attempt, "").uri.rstrip("/")
    return {
        "input": inputs_uri,
        "inputs": inputs_uri,
        "inputprefix": inputs_uri.rpartition("/")[0],
        "outputprefix": outputs,
        "outputs": f"{outputs}/outputs.pb",
        "rawoutputdataprefix": layout.of(attempt, "raw").uri,
        "checkpointoutputprefix": layout.of(attempt, "checkpoint").uri,
        "prevcheckpointprefix": before,
    }


# There is no queue for further actions: a task that starts some fails at once, not after hours.
DEFAULTS = {"_F_MAX_RETRIES": "0"}


def environment(attempt: Attempt, layout: Layout | None, control_endpoint: str) -> dict[str, str]:
    """Return what flyte's runtime learns from its environment: who it is and where it belongs."""
    env = {
        "ACTION_NAME": attempt.action,
        "RUN_NAME": attempt.run,
        "FLYTE_ATTEMPT_NUMBER": str(attempt.attempt - 1),  # flyte counts from 0
        "FLYTE_INTERNAL_EXECUTION_PROJECT": attempt.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": attempt.domain,
        "_U_ORG_NAME": attempt.org,
        "_U_EP_OVERRIDE": control_endpoint,
    }
    return env if layout is None else {**env, "_U_RUN_BASE": layout.run(attempt).uri}
