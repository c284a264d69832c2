"""What every plane's process does: configuration, the ready line, signals, exit codes."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunnel.process import SIGNALS, announce, load_config, main
from tunnel.settings import SettingError

PLANE = """
import sys, trio
from tunnel.process import announce, main, until_signalled

async def run():
    announce(port=7)
    number = await until_signalled()
    sys.stdout.write(f"signal {number}\\n")
    sys.stdout.flush()
    if LINGER:
        await trio.sleep_forever()

def start(config):
    trio.run(run)
    return 0

sys.exit(main("plane", "a test", start))
"""


@pytest.fixture
def thawed() -> Iterator[None]:
    """Leave this process's own garbage collection as it was."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_start_up_has_made_is_not_walked_by_a_collection_any_more() -> None:
    made: list[object] = [[]]
    assert any(each is made for each in gc.get_objects())
    announce(port=7)
    assert not any(each is made for each in gc.get_objects())


@pytest.mark.usefixtures("thawed")
def test_the_ready_line(capsys: pytest.CaptureFixture[str]) -> None:
    announce(port=7, host="127.0.0.1")
    out = capsys.readouterr().out
    assert out.endswith("\n")
    ready = json.loads(out)
    assert ready.pop("pid") > 1
    assert ready == {"event": "ready", "port": 7, "host": "127.0.0.1"}


def test_configuration_is_toml(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('host = "127.0.0.1"\n[tls]\ncert_file = "c"\n')
    assert load_config(file) == {"host": "127.0.0.1", "tls": {"cert_file": "c"}}


@pytest.mark.parametrize("content", [b"host = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_configuration_that_is_none(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    with pytest.raises(SettingError, match="is not valid TOML"):
        load_config(file)
    with pytest.raises(SettingError, match="No such file"):
        load_config(tmp_path / "absent.toml")


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    """Put back what `main` changes."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_main(argv: list[str], start: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["relay", *argv])
    return main("relay", "forwards", start)


def test_main_passes_the_configuration_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text("port = 0")
    seen: list[Any] = []
    assert run_main(["--config", str(file)], lambda c: seen.append(c) or 5, monkeypatch) == 5
    assert seen == [{"port": 0}]


def test_errors_of_configuration_are_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["--config", "absent.toml"], lambda _config: 0, monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith("relay: cannot read configuration 'absent.toml'")
    assert error.count("\n") == 1
    with pytest.raises(SystemExit) as leaving:
        run_main([], lambda _config: 0, monkeypatch)
    assert leaving.value.code == 2


def test_help_explains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_main(["--help"], lambda _config: 0, monkeypatch)
    assert leaving.value.code == 0
    assert "forwards" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_is_graceful_and_a_second_is_at_once(
    number: signal.Signals, tmp_path: Path
) -> None:
    """A real process, because signals belong to one: 0.4 s of start-up."""
    config = tmp_path / "c.toml"
    config.write_text("")
    for linger in (False, True):
        code = PLANE.replace("LINGER", str(linger))
        process = subprocess.Popen(
            [sys.executable, "-c", code, "--config", str(config)], stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["port"] == 7
            process.send_signal(number)
            assert process.stdout.readline() == b"signal %d\n" % number
            if linger:
                process.send_signal(number)
            assert process.wait(5) == (128 + number if linger else 0)


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 128 + signal.SIGTERM)])
def test_a_signal_before_anybody_waits_counts(times: int, code: int, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("")
    early = f"import os, signal; [os.kill(os.getpid(), signal.SIGTERM) for _ in range({times})]"
    plane = PLANE.replace("LINGER", "False").replace("announce(port=7)", early)
    command = [sys.executable, "-c", plane, "--config", str(config)]
    assert subprocess.run(command, check=False, timeout=10).returncode == code
