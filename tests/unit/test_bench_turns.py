"""Turns of the benchmark: who is loaded when, who is left out, and that nothing is left running."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench import measure, turns
from scripts.bench.load import Generator, H2Load, Wrk
from scripts.bench.measure import Contestant, Setup
from scripts.bench.record import Record
from scripts.bench.servers import SERVERS, BenchError, Running, Server, pinned
from scripts.bench.turns import Contest, rotated
from scripts.bench.workloads import WORKLOADS, Workload
from tests.support import kernel

# Turns of no length: a fake generator has nothing to wait for.
SETUP = Setup(Path("python"), seconds=3.0, turn=1.0, warm_up=1.0)


class FakeGenerator:
    """Notes its turns; each answers ten requests. To open and to close it costs its server a whole second."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage, self._name = stage, name
        self.active = 0.0

    def open(self) -> None:
        self._stage.clocks[self._name] += 1

    def turn(self, seconds: float) -> None:
        self._stage.turns.append(self._name)
        self._stage.clocks[self._name] += self._stage.costs[self._name]
        self.active += seconds

    def finish(self) -> int:
        if self._name == self._stage.breaks:
            raise BenchError("it ended; its output:\nTraceback\nOSError: no")
        return int(10 * self.active)

    def close(self) -> None:
        self._stage.clocks[self._name] += 1
        self._stage.closed_generators.append(self._name)


class Stage:
    """Stands in for the servers: `breaks` fails under load, `never` at its first answer."""

    def __init__(self, breaks: str = "", never: str = "") -> None:
        self.breaks, self.never = breaks, never
        self.costs = {"pronghorn": 1e-4, "uvicorn": 2e-4, "granian": 3e-4}
        self.clocks = dict.fromkeys(self.costs, 0.0)
        self.turns: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.closed_generators: list[str] = []
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """All of them use some time, to each its own."""
        self.now += seconds
        for name, cost in self.costs.items():
            self.clocks[name] += seconds * cost

    def contestant(self, server: Server, workload: Workload, setup: Setup) -> FakeContestant:
        self.events.append(("start", server.name))
        return FakeContestant(self, server)


class FakeContestant:
    """A server of the stage."""

    def __init__(self, stage: Stage, server: Server) -> None:
        self._stage = stage
        self.server = server
        self.closed = False

    def check(self) -> None:
        self._stage.events.append(("check", self.server.name))
        if self.server.name == self._stage.never:
            raise ConnectionResetError("it closed a connection")

    def cpu(self) -> dict[int, float]:
        return {1: self._stage.clocks[self.server.name]}

    def generator(self) -> FakeGenerator:
        return FakeGenerator(self._stage, self.server.name)

    def answered(self, requests: int, seconds: float) -> None:
        assert requests / seconds == pytest.approx(10)

    def resident(self) -> int:
        return 2048

    def per_connection(self) -> float:
        return 4.5

    def ask_to_end(self) -> None:
        self._stage.events.append(("ask", self.server.name))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._stage.events.append(("close", self.server.name))


def held(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, workload: str = "get", rounds: int = 2
) -> tuple[Record, Contest]:
    """A contest of three servers on the stage, after it was held."""
    monkeypatch.setattr(turns, "Contestant", stage.contestant)
    monkeypatch.setattr("scripts.bench.turns.time.sleep", lambda _: None)
    servers = tuple(SERVERS[name] for name in stage.costs)
    contest = Contest(1, WORKLOADS[workload], servers, rounds, SETUP)
    record = Record({}, contest.duration())
    contest.hold(record)
    return record, contest


def test_nobody_always_runs_first() -> None:
    assert [rotated("abc", by) for by in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rotated([], 3) == []


def test_all_start_before_the_first_is_loaded_and_turns_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    record, _ = held(stage, monkeypatch)
    names = ["pronghorn", "uvicorn", "granian"]
    assert stage.events[:6] == [*(("start", name) for name in names), *(("check", name) for name in names)]
    # One turn each to warm up, then two rounds of two turns each, begun by another server every time.
    assert stage.turns == [
        *rotated(names, 0),
        *rotated(names, 1),
        *rotated(names, 2),
        *rotated(names, 2),
        *names,
    ]
    assert [(s.round, s.server) for s in record.samples] == [
        (number, name) for number in (1, 2) for name in names
    ]
    # Two turns of 100 microseconds for twenty requests.
    assert [s.value for s in record.samples] == [10.0, 20.0, 30.0] * 2
    assert {s.rate for s in record.samples} == {10.0}


def test_all_are_asked_to_end_before_the_end_of_one_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    held(stage, monkeypatch)
    assert [word for word, _ in stage.events[6:]] == ["ask"] * 3 + ["close"] * 3
    assert len(stage.closed_generators) == 3 * 3


def test_who_fails_is_closed_and_gets_no_other_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(breaks="uvicorn", never="granian")
    record, contest = held(stage, monkeypatch)
    assert {sample.server for sample in record.samples} == {"pronghorn"}
    assert record.failures == 2
    assert record.missing == {
        ("uvicorn", "get"): "it ended; its output: … OSError: no",
        ("granian", "get"): "it closed a connection",
    }
    assert stage.turns.count("uvicorn") == 1
    assert "granian" not in stage.turns
    assert stage.events.index(("close", "granian")) < stage.events.index(("ask", "pronghorn"))
    assert "OSError: no" in capsys.readouterr().out
    stage.events.clear()
    contest.hold(record)  # In the next run.
    assert {name for _, name in stage.events} == {"pronghorn"}


@pytest.mark.parametrize(("workload", "value"), [("rss", 2.0), ("connections", 4.5)])
def test_memory_is_that_of_servers_started_anew_in_each_round(
    monkeypatch: pytest.MonkeyPatch, workload: str, value: float
) -> None:
    stage = Stage()
    record, _ = held(stage, monkeypatch, workload)
    assert [sample.value for sample in record.samples] == [value] * 6
    assert [name for word, name in stage.events if word == "start"] == [*stage.costs] * 2


def test_to_end_is_no_turn_of_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    record, _ = held(stage, monkeypatch, "ws")
    assert len(stage.turns) == 3 * (1 + 3 + 3)
    assert [s.value for s in record.samples] == [10.0, 20.0, 30.0] * 2


def test_what_idle_connections_cost_is_that_of_all_pings_of_an_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(breaks="granian")
    monkeypatch.setattr("scripts.bench.turns.time.monotonic", lambda: stage.now)
    monkeypatch.setattr("scripts.bench.turns.time.sleep", stage.sleep)
    monkeypatch.setattr(turns, "Contestant", stage.contestant)
    servers = tuple(SERVERS[name] for name in stage.costs)
    record = Record({}, 1.0)
    Contest(1, WORKLOADS["ws-idle"], servers, 1, SETUP).hold(record)
    # Milliseconds in a second, of twenty; nothing of the opening, nor of the time until the first pings.
    assert [(s.server, s.value) for s in record.samples] == [("pronghorn", 0.1), ("uvicorn", 0.2)]
    assert stage.now == 2 * turns.PINGS
    assert sorted(stage.closed_generators) == sorted(stage.costs)
    assert ("granian", "ws-idle") in record.missing


def test_starts_are_in_turns_too(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def fake(server: Server, workload: Workload, setup: Setup) -> float:
        started.append(server.name)
        return 120.0

    monkeypatch.setattr(turns, "time_to_first_answer", fake)
    record, _ = held(Stage(), monkeypatch, "start")
    names = ["pronghorn", "uvicorn", "granian"]
    assert started == [*rotated(names, 1), *rotated(names, 2)]
    assert len(record.samples) == 6


def test_the_time_left_shrinks_to_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held(Stage(), monkeypatch)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split("  ")[-2:] != []
    assert last.endswith("GET 13 B, µs, round 2: pronghorn 10.0, uvicorn 20.0, granian 30.0")
    assert last.lstrip().startswith("0:00 left")


def test_a_lost_log_line_spoils_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.touch()

    @contextlib.contextmanager
    def fake(*_: object) -> Iterator[Running]:
        yield Running(None, 1, tmp_path / "socket", log)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "running", fake)
    with contextlib.closing(Contestant(SERVERS["uvicorn"], WORKLOADS["access"], SETUP)) as contestant:
        log.write_text("line\n" * 95)
        contestant.answered(100, 1.0)
        with log.open("a") as more:
            more.write("line\n" * 100)
        contestant.answered(100, 1.0)
        with pytest.raises(BenchError, match="195 log lines for 300 requests"):
            contestant.answered(100, 1.0)


def test_a_server_is_asked_over_http2_what_it_answered_in_the_time_of_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.touch()

    @contextlib.contextmanager
    def fake(*_: object) -> Iterator[Running]:
        yield Running(None, 1, tmp_path / "socket", log)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "running", fake)
    workload = WORKLOADS["h2-post100k-100"]

    def asked() -> int:
        command = contestant.generator()._command
        assert command[-1] == "http://127.0.0.1:1/"
        assert Path(command[command.index("--data") + 1]).read_bytes() == workload.body
        return int(command[command.index("--requests") + 1])

    with contextlib.closing(Contestant(SERVERS["granian"], workload, SETUP)) as contestant:
        assert asked() == measure.WARMING
        contestant.answered(1000, 0.5)
        assert asked() == 2000 * SETUP.seconds
        contestant.answered(1000, 50)
        assert asked() == 2 * 4 * 100  # Each connection has to be full for a while.


# ---- Processes ------------------------------------------------------------------------------------------------------

WRK = """#!{python}
import signal, sys
def end(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the next one would find the interpreter without this handler, and end it
    print("7 requests in 1.00s, 1 MB read")
    sys.exit()
signal.signal(signal.SIGINT, end)
open({began!r}, "w").close()
while True:
    signal.pause()
"""


@pytest.fixture
def generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generator]:
    """With something on the path that behaves like wrk."""
    wrk = tmp_path / "wrk"
    wrk.write_text(WRK.format(python=sys.executable, began=str(tmp_path / "began")))
    wrk.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with contextlib.closing(Wrk(1, WORKLOADS["post"], tmp_path, None)) as found:
        yield found


H2LOAD = """#!{python}
import sys
print("requests: 800 total, 800 started, 800 done, 800 succeeded, 0 failed, 0 errored, 0 timeout")
print("status codes: 800 2xx, 0 3xx, 0 4xx, 0 5xx")
"""


def test_a_turn_ends_with_the_last_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h2load = tmp_path / "h2load"
    h2load.write_text(H2LOAD.format(python=sys.executable))
    h2load.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with contextlib.closing(H2Load(1, WORKLOADS["h2-get-100"], tmp_path, None, 0)) as generator:
        generator.turn(600)
        generator.turn(600)
        assert generator.finish() == 800
        assert 0 < generator.active < 600


def test_a_generator_is_still_between_its_turns(generator: Generator, tmp_path: Path) -> None:
    while not (tmp_path / "began").exists():
        generator.turn(0.05)
    assert generator._process is not None
    os.waitid(os.P_PID, generator._process.pid, os.WSTOPPED | os.WNOWAIT)
    assert kernel.state(generator._process.pid) == "T"
    assert generator.finish() == 7
    assert generator._process.returncode == 0


def test_a_generator_that_was_never_finished_is_gone(generator: Generator) -> None:
    generator.turn(0)
    assert generator._process is not None
    generator.close()
    assert generator._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("farewell", "held"), [("TERM", False), ("KILL", True)])
def test_what_we_started_ends_with_us_even_if_we_are_killed(farewell: str, held: bool) -> None:
    """A process of ours holds a pipe open, whose end tells that it is gone."""
    read, write = os.pipe()
    words = pinned(None, [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"], farewell)
    code = f"""
import subprocess, signal
child = subprocess.Popen({words!r}, start_new_session=True, pass_fds=[{write}], stdout=subprocess.PIPE)
child.stdout.readline()
if {held}:
    child.send_signal(signal.SIGSTOP)
print(flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[write]
    ) as middle:
        os.close(write)
        assert middle.stdout is not None
        middle.stdout.readline()
        middle.kill()
    ended, _, _ = select.select([read], [], [], 20)
    os.close(read)
    assert ended
