"""Any other image: the container's command as a real process in a process group of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import IO

import trio

from customer_stub.pods import guardian
from customer_stub.pods.container import ContainerSpec, Exit, Output, Stop
from customer_stub.produced import Stream

READ_BYTES = 65_536  # the capacity of a pipe
START_ERROR_EXIT = 128  # what containerd reports when there is nothing to execute
GUARDIAN_EXIT_S = 2.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")  # nothing else of our environment reaches a pod
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessRunner:
    """Runs containers as processes of this node.

    Not even SIGKILL of this process leaves one behind: the kernel then kills the command
    (PR_SET_PDEATHSIG) and the guardian what the command had started. The command is forked by the
    thread of the event loop, not by a worker thread (as trio.run_process would), because PDEATHSIG
    fires when the forking *thread* ends.

    Attributes:
        pids: of running commands by their pod's uid; each leads a session of its own.

    Args:
        node: identifies this node's processes; unique among nodes of the machine.
        drain_s: how long to read on after the command's end while somebody holds its pipes.
    """

    def __init__(self, node: str, *, drain_s: float) -> None:
        self._node, self._drain_s = node, drain_s
        self._guardian: subprocess.Popen[bytes] | None = None
        self.pids: dict[str, int] = {}

    async def run(
        self,
        spec: ContainerSpec,
        output: Output,
        stop: Stop,
        started: Callable[[], None],
        *,
        uid: str,
    ) -> Exit:
        """Run the command to its end, or until `stop`.

        As in Kubernetes, SIGTERM goes to the command alone and SIGKILL to all it has started.
        """
        mark = f"{self._node}/{uid}"
        self._watch_over()
        try:
            process = _spawn(spec, mark)
        except (OSError, ValueError, IndexError) as error:
            return Exit(START_ERROR_EXIT, "StartError", _start_error(error))
        self.pids[uid] = process.pid
        started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_copy, process.stdout, "stdout", output)
            nursery.start_soon(_copy, process.stderr, "stderr", output)
            try:
                await _ended(process, stop)
            finally:
                del self.pids[uid]
                code = _reap(process, mark)
            nursery.cancel_scope.deadline = trio.current_time() + self._drain_s
        return Exit(code)

    async def aclose(self) -> None:
        """Let the guardian go; it has nothing to kill when every container has ended."""
        if self._guardian is None or self._guardian.stdin is None:
            return
        self._guardian.stdin.close()
        with trio.move_on_after(GUARDIAN_EXIT_S, shield=True):
            await _exited(self._guardian)
        self._guardian.poll()

    def _watch_over(self) -> None:
        if self._guardian is None or self._guardian.poll() is not None:
            command = [sys.executable, "-I", "-S", guardian.__file__, f"{self._node}/"]
            self._guardian = subprocess.Popen(  # noqa: S603 - our own file
                command, stdin=subprocess.PIPE, start_new_session=True
            )


def _spawn(spec: ContainerSpec, mark: str) -> subprocess.Popen[bytes]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - running what the pod says is the purpose
        [*spec.command, *spec.args],
        env={**inherited, **spec.env, guardian.VARIABLE: mark},
        cwd=spec.working_dir,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=partial(_die_with_parent, os.getpid()),
    )


def _die_with_parent(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _start_error(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else "invalid command"
    return f"failed to start the container: {reason}"


async def _ended(process: subprocess.Popen[bytes], stop: Stop) -> None:
    async with trio.open_nursery() as nursery:

        async def terminate() -> None:
            await stop.requested.wait()
            os.kill(process.pid, signal.SIGTERM)  # Popen would reap, and free the pid for others
            with stop.patience:
                await trio.sleep_forever()
            _kill_group(process)

        nursery.start_soon(terminate)
        await _exited(process)
        nursery.cancel_scope.cancel()


async def _exited(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end without reaping, so that the group's id can't be taken by another."""
    if process.returncode is not None:
        return
    pidfd = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)


def _reap(process: subprocess.Popen[bytes], mark: str) -> int:
    """Kill whatever is left of the container and return its exit code, 128 + n for signal n."""
    if process.returncode is None:
        _kill_group(process)
        process.wait()
    guardian.kill_marked(mark)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _copy(pipe: IO[bytes] | None, stream: Stream, output: Output) -> None:
    assert pipe is not None
    async with trio.lowlevel.FdStream(os.dup(pipe.fileno())) as source:
        pipe.close()
        while data := await source.receive_some(READ_BYTES):
            output.write(stream, data)
