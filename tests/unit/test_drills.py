"""The drills can fail: what the kernel says, what is excused, and a supervisor that kills its workers to restart them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.drills import __main__ as command
from scripts.drills import report
from scripts.drills.memory import Memory
from scripts.drills.report import Drilled, Results
from tests.support import drills, kernel
from tests.support.drill_servers import COMPARED, SERVERS, Server
from tests.support.drills import DRILLS, Drill, Outcome, Run, hold
from tests.support.steady import Counts, Failure, Fate, Load

# ---- What the kernel says -------------------------------------------------------------------------------------------


def test_a_connection_is_its_worker_s_once_it_is_accepted() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        port = client.getsockname()[1]
        # The client's own end has the server's port on the other side.
        assert port not in kernel.clients(os.getpid())
        accepted, _ = server.accept()
        with accepted:
            assert port in kernel.clients(os.getpid())
    assert port not in kernel.clients(os.getpid())


def test_one_that_nobody_waited_for_is_not_alive() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert kernel.alive(process.pid)
    assert kernel.parent(process.pid) == os.getpid()
    assert list(kernel.session(process.pid)) == [process.pid]
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not kernel.alive(process.pid)
    assert kernel.session(process.pid) == {process.pid: "Z"}
    process.wait()
    assert kernel.session(process.pid) == {}
    assert kernel.parent(process.pid) == 0
    assert kernel.clients(process.pid) == set()


def test_a_share_is_at_most_what_is_resident() -> None:
    resident, share = kernel.memory(os.getpid())
    assert 0 < share <= resident


# ---- What is excused ------------------------------------------------------------------------------------------------


def failure(fate: Fate = Fate.UNANSWERED, *, sent: float = 10.0, port: int = 1) -> Failure:
    return Failure(fate, "fresh", sent - 0.1, sent, sent + 0.1, port, 0, "closed")


def run(**fields: Any) -> Run:
    process: Any = subprocess.CompletedProcess([], 0)
    process.pid = 0
    return replace(Run(SERVERS["pronghorn"], process, Path(), ("127.0.0.1", 0)), **fields)


@pytest.mark.parametrize(
    ("drill", "port", "excused"),
    [("kill", 1, True), ("kill", 2, False), ("block", 1, True), ("hup", 1, False)],
)
def test_inside_is_what_a_killed_worker_held(drill: str, port: int, excused: bool) -> None:
    assert drills._excused(failure(port=port), run(inside={1}), DRILLS[drill]) is excused


@pytest.mark.parametrize(
    ("fate", "sent", "excused"),
    [
        (Fate.REFUSED, 11.0, True),
        (Fate.UNANSWERED, 11.0, True),
        (Fate.UNANSWERED, 9.0, False),
        (Fate.RETRIABLE, 11.0, True),
        (Fate.RETRIABLE, 9.0, False),
        (Fate.BROKEN, 11.0, False),
        (Fate.TIMEOUT, 11.0, False),
        (Fate.WRONG, 11.0, False),
    ],
)
def test_after_term_nobody_has_to_be_let_in(fate: Fate, sent: float, excused: bool) -> None:
    assert drills._excused(failure(fate, sent=sent), run(stopped=10.0), DRILLS["term"]) is excused


def test_a_refusal_before_term_is_not_excused() -> None:
    assert not drills._excused(failure(Fate.REFUSED, sent=9.0), run(stopped=10.0), DRILLS["term"])


def outcome(
    drill: str = "hup",
    *,
    server: str = "pronghorn",
    outside: int = 0,
    inside: int = 0,
    gap: float = 0.01,
    answered: int = 100,
    problems: tuple[str, ...] = (),
) -> Outcome:
    failures = tuple(failure() for _ in range(inside + outside))
    fates = Counter({Fate.ANSWERED: answered, Fate.UNANSWERED: len(failures)})
    counts = Counts(answered + len(failures), +fates, failures, gap, (0.5,), 0.004, 0, Counter({7: answered}))
    split = list(failures[:inside]), list(failures[inside:])
    return Outcome(SERVERS[server], DRILLS[drill], counts, *split, {"gone": 1.25}, list(problems), "")


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (outcome(outside=2), "2 failed outside: fresh unanswered (closed)"),
        (outcome(gap=2.5), "no answer for 2.5 s"),
        (outcome(answered=0), "nothing was answered"),
        (outcome(problems=("exit status 1",)), "exit status 1"),
    ],
)
def test_a_broken_contract_is_complained_of(broken: Outcome, complaint: str) -> None:
    assert broken.complaints() == [complaint]


def test_a_kept_one_is_not() -> None:
    assert outcome("kill", inside=3).complaints() == []
    # Nobody answers once it is gone.
    assert outcome("term", gap=9.0).complaints() == []


# ---- A supervisor that does it wrong --------------------------------------------------------------------------------

BRUTAL = """
import asyncio, os, signal, socket, sys
from pathlib import Path

async def answer(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            if b"/slow" in head:
                await asyncio.sleep(1)
            body = b"%d %s 0" % (os.getpid(), head.partition(b"n=")[2].partition(b" ")[0])
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def serve():
    server = await asyncio.start_server(answer, sock=listener)
    (Path(os.environ["DRILL_FOLDER"]) / str(os.getpid())).touch()
    await server.serve_forever()

def spawn():
    if pid := os.fork():
        return pid
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
    asyncio.run(serve())

HEARD = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1000)
workers = [spawn(), spawn()]
while True:
    number = signal.sigwait(HEARD)
    old, workers = workers, [spawn(), spawn()] if number == signal.SIGHUP else []
    for pid in old:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not workers:
        sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def brutal(tmp_path: Path) -> Server:
    """Restarts with SIGKILL, waits for nobody in time, and replaces nobody."""
    (tmp_path / "brutal.py").write_text(BRUTAL)
    return Server("brutal", f"{{python}} {tmp_path}/brutal.py {{port}} 0")


async def drilled(server: Server, drill: Drill, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.setattr(drills, "PATIENCE", 3.0)
    return await hold(server, drill, Path(sys.executable), Load(slow=20, uploads=0))


async def test_a_restart_that_loses_requests_is_found_out(
    brutal: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await drilled(brutal, DRILLS["hup"], monkeypatch)
    # All are counted: those that take a second were under way.
    assert found.outside
    assert found.inside == []
    assert [complaint for complaint in found.complaints() if "failed outside" in complaint]


async def test_a_worker_that_is_not_replaced_is_found_out(
    brutal: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await drilled(brutal, DRILLS["kill"], monkeypatch)
    # What it lost was inside; the other one answers the rest.
    assert found.outside == []
    assert found.inside
    assert found.complaints() == [
        "not within 3 s: 2 workers anew",
        "ended processes that nobody waited for: 1",
    ]


async def test_a_wrong_exit_status_is_found_out(brutal: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server = replace(brutal, command=brutal.command.removesuffix("0") + "5")
    found = await drilled(server, DRILLS["term"], monkeypatch)
    assert "exit status 5" in found.complaints()
    assert found.outside


def test_one_that_does_not_start_is_told_with_its_words() -> None:
    server = Server("hopeless", "{python} -c 'print(\"no such luck\")'")
    python = Path(sys.executable)
    with pytest.raises(AssertionError, match=r"hopeless did not start:\nno such luck"):
        asyncio.run(hold(server, DRILLS["kill"], python))
    assert command.attempt(server, DRILLS["kill"], python) == "no such luck"


async def test_nothing_of_a_server_is_left(brutal: Server) -> None:
    with drills.started(brutal, "kill", Path(sys.executable)) as left:
        await left.begin()
        workers = left.workers()
        assert len(kernel.session(left.process.pid)) == 3
        os.kill(left.process.pid, signal.SIGKILL)
        left.process.wait()
        assert kernel.session(left.process.pid)
    assert not any(map(kernel.alive, workers))
    assert not left.folder.exists()


# ---- What is printed ------------------------------------------------------------------------------------------------


@pytest.fixture
def results() -> Results:
    return Results(
        {"python": "3.13.0"},
        [
            Drilled(
                SERVERS["pronghorn"],
                {
                    "hup": outcome(gap=0.0126),
                    "kill": outcome("kill", inside=2),
                    "term": outcome("term", outside=1),
                },
            ),
            Drilled(SERVERS["uvicorn"], {"upgrade": "no SIGUSR2"}),
        ],
        [Memory("pronghorn", True, 44.0, 20.5, 61.25)],
    )


def test_a_table_has_a_row_for_each_drill(results: Results) -> None:
    ours, other = map(report.table, results.drilled)
    assert ours[1] == ["HUP", "100", "0", "0", "0", "13", "4", "gone after 1.2 s"]
    assert ours[2] == [
        "SIGKILL of a worker",
        "102",
        "2",
        "2",
        "0",
        "10",
        "4",
        "gone after 1.2 s; 2 unanswered",
    ]
    assert ours[3] == ["TERM of the whole", "101", "1", "0", "1", "", "4", "gone after 1.2 s; 1 unanswered"]
    assert other[1] == ["USR2", "", "", "", "", "", "", "no SIGUSR2"]
    assert len({len(line) for line in ours + other}) == 1


def test_a_terminal_gets_columns(results: Results) -> None:
    lines = report.as_text(report.memory_table(results.memory)).splitlines()
    assert lines[0].startswith("MiB  ")
    assert lines[1].split() == ["pronghorn,", "preloaded", "44.0", "20.5", "61.2"]
    assert len(set(map(len, lines))) == 1


def test_the_page_and_the_data_say_the_same(results: Results, tmp_path: Path) -> None:
    report.write(tmp_path, results)
    page, data = (tmp_path / "drills.md").read_text(), json.loads((tmp_path / "drills.json").read_text())
    assert "| USR2 |  |  |  |  |  |  | no SIGUSR2 |" in page
    assert "| pronghorn, preloaded | 44.0 | 20.5 | 61.2 |" in page
    by_drill = {row["drill"]: row for row in data["drills"]}
    assert by_drill["kill"]["fates"] == {"answered": 100, "unanswered": 2}
    assert by_drill["term"]["complaints"] == ["1 failed outside: fresh unanswered (closed)"]
    assert by_drill["upgrade"] == {"server": "uvicorn", "drill": "upgrade", "missing": "no SIGUSR2"}


def test_the_contract_is_asked_for_where_it_is_expected(results: Results) -> None:
    ours, other = results.drilled
    assert not ours.kept
    assert other.kept
    assert not Drilled(SERVERS["pronghorn"], {"hup": "ModuleNotFoundError"}).kept
    excepted = Drilled(
        SERVERS["gunicorn+pronghorn"],
        {"hup-broken": outcome("hup-broken", server="gunicorn+pronghorn", outside=9)},
    )
    assert excepted.kept
    assert "Gunicorn" in report.table(excepted)[1][-1]


def test_the_command_knows_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    options = command.parse(["--servers", "granian,pronghorn", "--drills", "kill"])
    assert [server.name for server in options.servers] == ["granian", "pronghorn"]
    assert [drill.name for drill in options.drills] == ["kill"]
    assert [server.name for server in command.parse([]).servers] == list(COMPARED)
    for wrong in (["--servers", "nginx"], ["--drills", "flood"]):
        with pytest.raises(SystemExit):
            command.parse(wrong)
        assert "is not one of" in capsys.readouterr().err


@pytest.mark.parametrize("server", SERVERS.values(), ids=list(SERVERS))
def test_a_server_speaks_of_drills_that_there_are(server: Server) -> None:
    assert {*server.options, *server.lacks, *server.breaks} <= set(DRILLS)
    address = Path("/c d/app.sock") if server.unix else ("127.0.0.1", 4711)
    words = server.words(Path("/a b/python"), address, next(iter(server.options)))
    assert words[0].startswith("/a b/")
    assert any("/c d/app.sock" in word or "4711" in word for word in words)
    assert not any("{" in word for word in words)
