"""The scripts that make calls: which Python is found, how tests are counted, what jitter does to a command."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
import textwrap
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """A script without a suffix, as a module."""
    loader = SourceFileLoader(f"script_{name}", str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    # Nothing may be written beside the script: its bytecode would be a file of the repository.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


# ---- scripts/python -------------------------------------------------------------------------------------------------


class Machine:
    """A PATH of our own making: the few tools the script needs, an ordinary user, and the Pythons a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for tool in ("bash", "dirname"):
            found = shutil.which(tool)
            assert found is not None
            (folder / tool).symlink_to(found)
        self.command("id", "echo 1000")

    def command(self, name: str, body: str) -> None:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def python(self, name: str) -> None:
        self.command(name, f'exec "{sys.executable}" "$@"')

    def find(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts" / "python"],
            env={"PATH": str(self.folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'
OLD = "exit 1  # what the question for the version comes to on Python 3.10"


def test_a_shim_that_fails_does_not_count(machine: Machine) -> None:
    machine.command("python3.14", SHIM)
    machine.command("python3.13", SHIM)
    machine.python("python3.12")
    found = machine.find()
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{sys.executable}\n", "")


def test_the_newest_one_that_runs_wins(machine: Machine) -> None:
    newest = machine.folder / "newest"
    machine.command("newest", "exit 0")
    machine.command("python3.13", f'case "$2" in *executable*) echo {newest};; esac')
    machine.python("python3.12")
    assert machine.find().stdout == f"{newest}\n"


def test_no_python_is_one_clear_message(machine: Machine) -> None:
    machine.command("python3", OLD)
    found = machine.find()
    assert found.returncode == 1
    assert found.stdout == ""
    assert "no Python from 3.11 on that runs" in found.stderr
    assert "apt-get install python3 python3-venv" in found.stderr


def test_a_python_without_ensurepip_is_named_with_its_package(machine: Machine) -> None:
    bare = machine.folder / "bare"
    machine.command("bare", 'case "$2" in *ensurepip*) exit 1;; *"%d.%d"*) echo 3.11;; esac')
    machine.command("python3", f'case "$2" in *executable*) echo {bare};; *) exec {bare} "$@";; esac')
    found = machine.find()
    assert found.returncode == 1
    assert f"{bare} cannot make a virtual environment" in found.stderr
    assert "apt-get install python3.11-venv" in found.stderr


def test_the_python_asked_for_is_the_only_one_considered(machine: Machine) -> None:
    machine.python("python3.12")
    machine.command("mine", OLD)
    found = machine.find(PYTHON="mine")
    assert found.returncode == 1
    assert "PYTHON=mine is not usable" in found.stderr
    assert machine.find(PYTHON="python3.12").stdout == f"{sys.executable}\n"


# ---- scripts/test ---------------------------------------------------------------------------------------------------

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase name="a"/><testcase name="b"/>
<testcase name="c"><failure message="x"/></testcase>
<testcase name="d"><error message="fixture"/></testcase>
<testcase name="e"><skipped message="elsewhere"/></testcase>
</testsuite></testsuites>"""


def test_the_report_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert load("test").count(report) == (2, 2, 1)


@pytest.mark.parametrize("words", [["unit", "conformance"], ["unit+conformance"]])
@pytest.mark.parametrize(("failed", "status"), [(0, 0), (3, 1)])
def test_the_closing_line_stands_alone_at_the_end(
    words: list[str],
    failed: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load("test")
    outcomes = {
        "unit": script.Outcome("unit", 5, 0, 1.0),
        "conformance": script.Outcome("conformance", 7, failed, 2.0),
    }
    monkeypatch.setattr(script, "run", lambda kinds, arguments: [outcomes[kind] for kind in kinds])
    assert script.main(words) == status
    assert capsys.readouterr().out.endswith(f"\n\n12 passed, {failed} failed\n")


def test_an_unknown_kind_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("test").main(["unitt"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_kind_that_breaks_counts_as_failed(capfd: pytest.CaptureFixture[str]) -> None:
    (outcome,) = load("test").run(["unit"], ["--no-such-option"])
    assert (outcome.passed, outcome.failed) == (0, 1)
    assert "status 4" in outcome.remark
    assert "--no-such-option" in capfd.readouterr().err


def test_a_kind_that_overruns_its_time_is_stopped_and_counts_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The fixture's tear-down still runs: containers would be removed."""
    script = load("test")
    reached = tmp_path / "reached"
    kind = tmp_path / "tests" / "unit"
    kind.mkdir(parents=True)
    (kind / "test_endless.py").write_text(
        "import pathlib, pytest, threading\n"
        "@pytest.fixture\ndef stack():\n    yield\n    print('torn down')\n"
        f"def test_endless(stack):\n    pathlib.Path({str(reached)!r}).touch()\n    threading.Event().wait()\n"
    )

    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script.Run, "overdue", property(lambda _: reached.exists()))
    (outcome,) = script.run(["unit"], ["-s", "-p", "no:cacheprovider"])
    assert outcome.failed == 1
    assert outcome.remark == f"stopped after {script.LIMITS['unit']} minutes"
    assert "torn down" in capfd.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_takes_everything_down(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "test", tmp_path / "scripts")
    (folder / "test_endless.py").write_text(
        "import pytest, threading\n"
        "@pytest.fixture\ndef stack():\n    yield\n    print('torn down')\n"
        "def test_endless(stack):\n    print('set up', flush=True)\n    threading.Event().wait()\n"
    )
    command = [sys.executable, script, "unit", "--", "-s", "-p", "no:cacheprovider"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        shown = ""
        for line in running.stdout:
            shown += line
            if "set up" in line:
                break
        running.send_signal(number)
        shown += running.stdout.read()
    assert "torn down" in shown
    assert running.returncode == 130


def test_kinds_side_by_side_are_shown_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each waits for the other to be there; the second one breaks."""
    script = load("test")
    for ours, other, ending in (("unit", "conformance", "pass"), ("conformance", "unit", "assert False")):
        folder = tmp_path / "tests" / ours
        folder.mkdir(parents=True)
        (folder / f"test_{ours}.py").write_text(
            "import pathlib, time\ndef test_it():\n"
            f"    pathlib.Path({str(tmp_path / ours)!r}).touch()\n"
            f"    while not pathlib.Path({str(tmp_path / other)!r}).exists():\n        time.sleep(0.01)\n    {ending}\n"
        )

    monkeypatch.setattr(script, "ROOT", tmp_path)
    outcomes = script.run(["unit", "conformance"], ["-p", "no:cacheprovider"])

    assert [(each.kind, each.passed, each.failed) for each in outcomes] == [
        ("unit", 1, 0),
        ("conformance", 0, 1),
    ]
    shown = capfd.readouterr().out
    places = [
        shown.index(text)
        for text in ("conformance beside it", "test_unit.py .", "==> conformance", "test_conformance.py F")
    ]
    assert places == sorted(places)


# ---- scripts/jitter -------------------------------------------------------------------------------------------------


def jittered(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts/jitter", *arguments], capture_output=True, text=True, check=False
    )


def test_jitter_stops_processes_and_nobody_is_told(tmp_path: Path) -> None:
    """Neither a parent, of a child that stops; nor a child that was stopped before, and would go on at a signal."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import os, signal, subprocess, sys, time

        rests = subprocess.Popen([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"])
        os.waitid(os.P_PID, rests.pid, os.WSTOPPED)
        works = subprocess.Popen([sys.executable, "-c", "import time\\nwhile True: time.sleep(0.01)"])
        stops = 0
        while stops < 3:
            before = time.monotonic()
            time.sleep(0.001)
            stops += time.monotonic() - before > 0.05
        print(os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WCONTINUED | os.WEXITED | os.WNOHANG))
        for child in (rests, works):
            child.kill()
            print(child.wait())
        sys.exit(3)
        """)
    )
    found = jittered("--longest", "0.4", sys.executable, str(program))
    assert found.stdout.split() == ["None", "-9", "-9"]
    assert found.returncode == 3
    assert "stops of up to 0.4 s" in found.stderr


def test_jitter_ends_as_what_is_killed() -> None:
    assert jittered("sh", "-c", "kill -9 $$").returncode == 128 + 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "no command to run"), (("nowhere-to-be-found",), "nowhere-to-be-found: No such file")],
)
def test_jitter_needs_a_command(arguments: tuple[str, ...], said: str) -> None:
    found = jittered(*arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert said in found.stderr
