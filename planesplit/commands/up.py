"""`planesplit up`: a split that runs until it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import trio

from planesplit.commands.outcome import UsageError
from planesplit.commands.output import progress
from planesplit.ready import ClusterAccess, NoSplit, Ready, registered
from planesplit.split.core import Split
from planesplit.split.options import CLUSTER_NAME, SplitOptions


async def up(*, ready_file: Path | None, options: SplitOptions) -> int:
    """Start everything, tell where it is, and wait until cancelled.

    Raises:
        UsageError: the ready file cannot be written, or is that of another split that runs.
        PlaneFailed: a plane did not come up, or ended unasked.
        FileExistsError: the directory to keep is not empty.
    """
    if ready_file:
        _check_free(ready_file)
    progress(f"starting {', '.join(options.planes)} ...")
    async with Split(options) as split:
        with ExitStack() as stack:
            ready = split.ready
            if ready_file:
                ready = _write(ready, ready_file)
                stack.callback(_remove, ready_file)
            stack.enter_context(registered(Path(ready.planesplit_ready)))
            _explain(ready)
            try:
                await trio.sleep_forever()
            finally:
                progress("stopping ...")
    return 0


def with_clusters(options: SplitOptions, names: Sequence[str]) -> SplitOptions:
    """Return the options with further clusters.

    Raises:
        UsageError: a name that is taken, or that no directory and no Kubernetes account can bear.
    """
    taken = {options.place.cluster}
    for name in names:
        if not CLUSTER_NAME.fullmatch(name):
            raise UsageError(f"--cluster '{name}': give 1 to 63 letters, digits and - between them")
        if name in taken:
            raise UsageError(f"--cluster '{name}' is there already; give another name")
        taken.add(name)
    return replace(options, clusters=tuple(names))


def _check_free(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--ready-file '{path}': its directory does not exist; make it first")
    if running := _running(path):
        raise UsageError(
            f"--ready-file '{path}' is that of a split that runs (pid {running}); name another file"
        )


def _running(path: Path) -> int:
    """Return the process id of the split that a ready file is of; 0 if none runs."""
    with suppress(NoSplit):
        return Ready.read(path).pid
    return 0


def _remove(path: Path) -> None:
    if _running(path) in (0, os.getpid()):  # another split may have taken it meanwhile
        path.unlink(missing_ok=True)


def _write(ready: Ready, path: Path) -> Ready:
    try:
        return ready.write(path)
    except OSError as error:
        raise UsageError(f"cannot write --ready-file '{path}': {error.strerror}") from None


def _explain(ready: Ready) -> None:
    progress(f"ready: {ready.planesplit_ready}")
    progress(f"  control plane  {ready.urls.control}")
    progress(f"  relay          {ready.urls.relay}  (metrics: {ready.urls.ops}/metrics)")
    progress(f"  its seal       {ready.seal}")
    progress(f"  kubernetes     {ready.kubernetes}  (its own)")
    for cluster in ready.clusters:
        _explain_cluster(cluster)
    progress(f"  flyte CLI      flyte --config {ready.flyte.config} get project")
    progress("try: planesplit run --workload training, then planesplit tail RUN; Ctrl-C stops")


def _explain_cluster(cluster: ClusterAccess) -> None:
    progress(f"  cluster {cluster.cluster}")
    for name in ("kubernetes", "objects", "registry", "clickhouse", "data"):
        if url := getattr(cluster, name):
            progress(f"    {name:<12} {url}")
