"""The supervisor for real: processes, signals, and what a person sees of them in the log."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kernel import alive, children
from tests.support.process import PATIENCE, ServerProcess, command, running, serving
from tests.support.service_manager import Manager
from tests.support.waiting import until

APP = """\
import os
import time
GENERATION = 1
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/block":
        time.sleep(60)
    elif path == "/grow":
        HELD.append(bytearray(200 * 2**20))
    elif path == "/end":
        os._exit(7)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d %d" % (os.getpid(), GENERATION)})
HELD = []
"""
BROKEN = "nonsense nonsense\n"
WAYS = [("--workers", "2"), ("--workers", "2", "--preload"), ("--workers", "2", "--reuse-port")]
PLAIN = WAYS[0]


def told(server: ServerProcess) -> tuple[int, int]:
    """Who answers, with code of which generation."""
    pid, generation = server.get().text.split()
    return int(pid), int(generation)


def all_of(server: ServerProcess, count: int = 2) -> set[int]:
    """The pids of as many workers, asked until each has answered."""
    seen: set[int] = set()

    def enough() -> bool:
        seen.add(told(server)[0])
        return len(seen) >= count

    until(enough, f"not {count} workers: {seen}")
    return seen


def generation(folder: Path, number: int) -> None:
    """New code. Its size differs too: a .pyc is told by that and by a time in whole seconds."""
    text = APP.replace("GENERATION = 1", f"GENERATION = {number}")
    (folder / "main.py").write_text(text + "#" * number + "\n", "utf-8")


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_several_processes_serve_and_drain(tmp_path: Path, way: tuple[str, ...]) -> None:
    with serving(tmp_path, APP, *way) as server:
        workers = all_of(server)
        assert server.pid not in workers
        assert server.stop() == -signal.SIGTERM
        messages = server.messages()
    assert not any(map(alive, workers))
    assert messages[0] == f"Started parent process [{server.pid}]"
    assert messages[-1] == f"Stopping parent process [{server.pid}]"
    assert sum(message.startswith("Pronghorn running on http://127.0.0.1:") for message in messages) == 1
    for pid in workers:
        assert f"Finished server process [{pid}]" in messages


def test_interrupted_is_a_clean_end(tmp_path: Path) -> None:
    with serving(tmp_path, APP, *PLAIN) as server:
        all_of(server)
        assert server.stop(signal.SIGINT) == 0


def test_quit_is_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, APP, *PLAIN) as server:
        workers = all_of(server)
        with server.connect() as client:
            client.request("GET", "/block")
            assert server.stop(signal.SIGQUIT) == -signal.SIGQUIT
    assert not any(map(alive, workers))


def test_the_third_interrupt_ends_what_the_first_two_could_not(tmp_path: Path) -> None:
    """Each is sent once the one before it has done what it does: two that come together count once."""
    deaf = """
    import os, signal, time
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        for number in (signal.SIGTERM, signal.SIGINT):
            hear(number, signal.getsignal(number))
        os.write(1, b"blocks\\n")
        time.sleep(60)
    def hear(number, before):
        def told(*arguments):
            before(*arguments)
            os.write(1, b"heard %d\\n" % number)
        signal.signal(number, told)
    """
    words = ("--supervise", "--lifespan", "off", "--timeout-worker-healthcheck", "60")
    with serving(tmp_path, deaf, *words) as server, server.connect() as client:
        client.request("GET", "/")
        server.stdout.wait_for("blocks")
        for word in (f"heard {signal.SIGTERM:d}", f"heard {signal.SIGINT:d}"):
            server.send_signal(signal.SIGINT)
            server.stdout.wait_for(word)
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0


@pytest.mark.parametrize(
    ("app", "words", "code", "last"),
    [
        ("nosuch:app", PLAIN, 3, "pronghorn: error: APP: no module named 'nosuch'"),
        (BROKEN, PLAIN, 3, "pronghorn: error: APP: importing 'main' failed: SyntaxError"),
        (BROKEN, WAYS[1], 3, "pronghorn: error: APP: importing 'main' failed: SyntaxError"),
        ("import os\nos._exit(7)\n", PLAIN, 3, "pronghorn: error: worker processes end before they are ready: exit code 7"),
        ("import os\nos._exit(7)\n", WAYS[1], 3, "pronghorn: error: worker processes end before they are ready: exit code 7"),
        (APP.replace('+ ".complete"', '+ ".failed", "message": "no database"'), (*PLAIN, "--lifespan", "on"), 3, "pronghorn: error: application startup failed: no database"),
        (APP, (*PLAIN, "--fd", "99"), 3, "pronghorn: error: --fd: descriptor 99 is not open"),
    ],
)  # fmt: skip
def test_what_cannot_start_is_one_line_and_an_exit_code(
    tmp_path: Path, app: str, words: tuple[str, ...], code: int, last: str
) -> None:
    with serving(tmp_path, app, *words, ready=False, shameful=True) as server:
        assert server.wait() == code
        lines = server.stderr.all()
    assert lines[-1].startswith(last)
    assert sum("pronghorn: error" in line for line in lines) == 1
    assert not any(line.startswith("Traceback") and "pronghorn" in line for line in lines)


def test_a_configuration_that_cannot_be_handed_over(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import pronghorn\npronghorn.run('main:app', workers=2, port=0, ssl_context_factory=lambda *_: None)\n"
    )
    (tmp_path / "main.py").write_text(APP)
    with running(tmp_path, [sys.executable, "run.py"]) as server:
        assert server.wait() == 2
        assert "worker processes cannot be given this configuration" in server.stderr.all()[-1]


def test_a_program_needs_no_main_guard(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import pronghorn\npronghorn.run('main:app', workers=2, port=0)\n")
    (tmp_path / "main.py").write_text(APP)
    with running(tmp_path, [sys.executable, "run.py"]) as server:
        all_of(server)
        assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_worker_that_dies_is_replaced(tmp_path: Path, way: tuple[str, ...]) -> None:
    with serving(tmp_path, APP, *way) as server:
        before = all_of(server)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        server.stderr.wait_for(f"Child process [{victim}] died: killed by SIGKILL")
        until(lambda: victim not in (now := all_of(server)) and now, "no successor")


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_hup_brings_new_code_one_after_the_other(tmp_path: Path, way: tuple[str, ...]) -> None:
    with serving(tmp_path, APP, *way) as server:
        before = all_of(server)
        generation(tmp_path, 2)
        server.send_signal(signal.SIGHUP)
        until(lambda: not before & children_and_theirs(server.pid), "the old ones are still there")
        assert {told(server)[1] for _ in range(8)} == {2}
        assert server.stop() == -signal.SIGTERM
        for pid in before:
            assert f"Retiring child process [{pid}]: restart" in server.messages()


def children_and_theirs(pid: int) -> set[int]:
    """With --preload, workers are the children of a child."""
    mine = children(pid)
    return mine.union(*map(children, mine))


def test_a_signal_has_its_turn_after_what_was_said_before_it(tmp_path: Path) -> None:
    """A worker says that it is ready, and then there is SIGHUP, both while the supervisor is at something else."""
    (tmp_path / "program.py").write_text("""
import os, select, signal
from pathlib import Path
from pronghorn.cli import main
from pronghorn.supervise.family import Family

hear = Family.hear

def hear_slowly(self, process):
    ready = hear(self, process)
    if ready and not Path("go").exists():
        Path("go").touch()
        select.select([one.channel for one in self.workers.values() if one is not process], [], [])
        os.kill(os.getpid(), signal.SIGHUP)
    return ready

Family.hear = hear_slowly
main()
""")
    (tmp_path / "main.py").write_text("""
import asyncio, os
from pathlib import Path

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    try:
        os.mkdir("first")
    except FileExistsError:
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})
""")
    arguments = ["main:app", "--port", "0", *PLAIN]
    with running(tmp_path, [sys.executable, "-W", "error", "program.py", *arguments]) as server:
        until(lambda: said(server, "Child process [") == 2, "not both are replaced")
        assert said(server, "Retiring child process") == 2
        assert said(server, "Stopping child process") == 0
        assert server.stop() == -signal.SIGTERM


def said(server: ServerProcess, what: str) -> int:
    """How many lines there are so far with this in it."""
    return sum(what in line for line in server.stderr.so_far())


@pytest.mark.parametrize("way", WAYS[:2], ids=" ".join)
def test_new_code_that_does_not_start_leaves_the_old_serving(tmp_path: Path, way: tuple[str, ...]) -> None:
    with serving(tmp_path, APP, *way, shameful=True) as server:
        before = all_of(server)
        (tmp_path / "main.py").write_text(BROKEN)
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for("The restart is given up, and the old child processes go on.")
        assert all_of(server) == before
        generation(tmp_path, 3)
        server.send_signal(signal.SIGHUP)
        until(lambda: told(server)[1] == 3, "no new code")


def test_more_and_fewer(tmp_path: Path) -> None:
    with serving(tmp_path, APP, *PLAIN) as server:
        all_of(server)
        server.send_signal(signal.SIGTTIN)
        all_of(server, 3)
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for("2 child processes are wanted")  # signals that are pending count once
        server.send_signal(signal.SIGTTOU)
        until(lambda: len(children(server.pid)) == 1, "still more than one")
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for("1 child processes are wanted", count=2)
        assert told(server)[0] in children(server.pid)


def test_a_blocked_loop_is_killed_and_its_stack_is_in_the_log(tmp_path: Path) -> None:
    words = (*PLAIN, "--timeout-worker-healthcheck", "1")
    with serving(tmp_path, APP, *words, shameful=True) as server:
        all_of(server)
        with server.connect() as client:
            client.request("GET", "/block")
            line = server.stderr.wait_for("Killing child process")
            assert "silent for" in line
            server.stderr.wait_for('main.py", line 13 in app')
            assert not client.rest()
        all_of(server)


def test_nobody_is_to_blame_for_a_pause_of_all(tmp_path: Path) -> None:
    """Be it longer than silence is allowed, or not much shorter."""
    with serving(tmp_path, APP, *PLAIN, "--timeout-worker-healthcheck", "2") as server:
        everybody = [server.pid, *all_of(server)]
        for pause in (1.9, 4):
            for pid in everybody:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(pause)
            # Last the supervisor, which stands for all: how long this takes is a pause as well.
            for pid in reversed(everybody):
                os.kill(pid, signal.SIGCONT)
            time.sleep(1)
            assert {server.pid, *all_of(server)} == set(everybody)
        assert not any("Killing" in line for line in server.stderr.so_far())


def test_a_worker_that_has_served_enough_is_replaced_before_it_goes(tmp_path: Path) -> None:
    with serving(tmp_path, APP, "--supervise", "--limit-max-requests", "3") as server:
        all_of(server, 3)
        assert "Retiring child process" in server.stderr.wait_for("limit of 3 requests")


def test_a_worker_that_has_grown_is_replaced(tmp_path: Path) -> None:
    # It is silent while it grows, for how long depends on the machine.
    silence = ("--timeout-notify", "0.5", "--timeout-worker-healthcheck", "20")
    words = ("--supervise", "--limit-worker-memory", "150M", *silence)
    with serving(tmp_path, APP, *words) as server:
        before, _ = told(server)
        server.get("/grow")
        server.stderr.wait_for(f"Retiring child process [{before}]: memory of 2")
        until(lambda: told(server)[0] != before, "no successor")


def test_a_worker_that_is_old_enough_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, APP, "--supervise", "--limit-worker-lifetime", "1") as server:
        before, _ = told(server)
        server.stderr.wait_for(f"Retiring child process [{before}]: age of")
        until(lambda: told(server)[0] != before, "no successor")


def test_who_has_a_connection_open_may_use_it_once_more(tmp_path: Path) -> None:
    with serving(tmp_path, APP, "--supervise", "--timeout-keep-alive", "20") as server:
        with server.connect() as client:
            pid = client.get().text.split()[0]
            server.send_signal(signal.SIGHUP)
            server.stderr.wait_for(f"Retiring child process [{pid}]: restart")
            server.stderr.wait_for("Shutting down")
            response = client.get()
            assert response.text.split()[0] == pid
            assert response["connection"] == "close"
        server.stderr.wait_for(f"Child process [{pid}] ended")


@pytest.mark.parametrize("way", WAYS[:2], ids=" ".join)
def test_workers_do_not_outlive_their_supervisor(tmp_path: Path, way: tuple[str, ...]) -> None:
    with serving(tmp_path, APP, *way) as server:
        workers = all_of(server)
        server.process.kill()
        server.wait()
        until(lambda: not any(map(alive, workers)), "still there")


def test_a_worker_may_end_when_what_imported_the_application_is_at_its_own_end(tmp_path: Path) -> None:
    """Which is told to go by the end of its channel, before the kernel's signal says the same."""
    late = """
import atexit, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
atexit.register(signal.raise_signal, signal.SIGCHLD)
"""
    with serving(tmp_path, late + APP, *WAYS[1]) as server:
        server.process.kill()


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_another_supervisor_takes_over(tmp_path: Path, way: tuple[str, ...]) -> None:
    with serving(tmp_path, APP, *way) as server:
        before = all_of(server)
        port = server.port
        generation(tmp_path, 2)
        server.send_signal(signal.SIGUSR2)
        assert server.wait() == 0
        line = server.stderr.wait_for("serves; this one goes")
        successor = int(line.split("[")[1].split("]")[0])
        try:
            assert not any(map(alive, before))
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert sock.makefile("rb").read().endswith(b" 2")
        finally:
            os.kill(successor, signal.SIGTERM)
        until(lambda: not alive(successor), "the successor does not end")


def test_the_socket_file_belongs_to_who_takes_over(tmp_path: Path, short_path: Path) -> None:
    path = short_path / "s"
    with serving(tmp_path, APP, *PLAIN, "--uds", str(path)) as server:
        all_of(server)
        server.send_signal(signal.SIGUSR2)
        line = server.stderr.wait_for("serves; this one goes")
        successor = int(line.split("[")[1].split("]")[0])
        assert server.wait() == 0
        assert path.exists()
        os.kill(successor, signal.SIGTERM)
        until(lambda: not path.exists(), "the file stays behind")
        until(lambda: not alive(successor), "the successor does not end")


def test_a_successor_that_does_not_start_is_none(tmp_path: Path) -> None:
    with serving(tmp_path, APP, *PLAIN, shameful=True) as server:
        before = all_of(server)
        (tmp_path / "main.py").write_text(BROKEN)
        server.send_signal(signal.SIGUSR2)
        server.stderr.wait_for("did not get ready; this one goes on.")
        assert all_of(server) == before
        generation(tmp_path, 2)
        server.send_signal(signal.SIGHUP)
        until(lambda: told(server)[1] == 2, "no restart any more")


def test_logs_are_reopened_everywhere(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(
        '{"version": 1, "handlers": {"f": {"class": "logging.FileHandler", "filename": "a.log"}},'
        ' "root": {"handlers": ["f"], "level": "INFO"}}'
    )
    words = ("--supervise", "--log-config", "log.json")
    with serving(tmp_path, APP, *words, ready=False) as server:
        log = tmp_path / "a.log"
        until(lambda: log.exists() and "Pronghorn running on" in log.read_text(), "no start")
        log.rename(tmp_path / "b.log")
        server.send_signal(signal.SIGUSR1)
        until(
            lambda: log.exists() and log.read_text().count("Log files were reopened: 1") == 2, "not reopened"
        )
        server.stop()
        assert "Stopping parent process" in log.read_text()


def test_a_worker_that_is_still_starting_reopens_its_logs_when_it_is_ready(tmp_path: Path) -> None:
    """It has opened them already, and what it says goes on going where they were moved to."""
    (tmp_path / "log.json").write_text(
        '{"version": 1, "handlers": {"f": {"class": "logging.FileHandler", "filename": "a.log"}},'
        ' "root": {"handlers": ["f"], "level": "INFO"}}'
    )
    second = """
    import os, time
    try:
        os.close(os.open("first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        open("second", "x").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    async def app(scope, receive, send): ...
    """
    words = ("--workers", "2", "--lifespan", "off", "--log-config", "log.json")
    with serving(tmp_path, second, *words, ready=False) as server:
        log, moved = tmp_path / "a.log", tmp_path / "b.log"
        until(lambda: log.exists() and "Pronghorn running on" in log.read_text(), "no start")
        until((tmp_path / "second").exists, "nobody else starts")
        log.rename(moved)
        server.send_signal(signal.SIGUSR1)
        until(lambda: log.exists() and log.read_text().count("were reopened: 1") == 2, "not reopened")
        (tmp_path / "go").touch()
        until(lambda: log.read_text().count("were reopened: 1") == 3, "not reopened by the last one")
        server.stop()
        assert log.read_text().count("Finished server process") == 2


@pytest.fixture
def reloading(tmp_path: Path) -> Iterator[ServerProcess]:
    with serving(tmp_path, APP, "--reload", "--reload-delay", "0.1", shameful=True) as server:
        yield server


def test_a_change_brings_new_code(reloading: ServerProcess) -> None:
    assert told(reloading)[1] == 1
    generation(reloading.folder, 2)
    until(lambda: told(reloading)[1] == 2, "no new code")
    assert "main.py'. Reloading..." in reloading.stderr.wait_for("detected changes in")


def test_who_asks_while_the_code_is_broken_is_answered_when_it_is_mended(reloading: ServerProcess) -> None:
    old, _ = told(reloading)
    (reloading.folder / "main.py").write_text(BROKEN)
    line = reloading.stderr.wait_for("Waiting for a change.")
    assert "The application cannot be started: APP: importing 'main' failed: SyntaxError" in line
    until(lambda: not alive(old), "the old one, which takes in who waits for it, is still there")
    with reloading.connect() as client:
        client.request("GET", "/")
        assert client.silent()
        generation(reloading.folder, 2)
        assert client.response().text.endswith(" 2")


def test_a_start_that_dies_without_a_word_is_said_too(reloading: ServerProcess) -> None:
    told(reloading)
    (reloading.folder / "main.py").write_text("import os\nos._exit(7)\n")
    line = reloading.stderr.wait_for("Waiting for a change.")
    assert "The application cannot be started: exit code 7." in line
    generation(reloading.folder, 2)
    assert told(reloading)[1] == 2


def test_a_worker_that_dies_while_one_develops_comes_back(reloading: ServerProcess) -> None:
    before, _ = told(reloading)
    with reloading.connect() as client:
        client.request("GET", "/end")
        client.rest()
    reloading.stderr.wait_for(f"Child process [{before}] died: exit code 7")
    assert told(reloading)[0] != before


@pytest.fixture
def manager(short_path: Path) -> Iterator[Manager]:
    found = Manager(f"{short_path}/notify")
    yield found
    found.sock.close()


@pytest.mark.parametrize("way", WAYS[:2], ids=" ".join)
def test_what_a_service_manager_hears(tmp_path: Path, manager: Manager, way: tuple[str, ...]) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"}
    with serving(tmp_path, APP, *way, environ=environ) as server:
        assert "READY" in manager.heard_until("READY")[-1]
        all_of(server)
        generation(tmp_path, 2)
        server.send_signal(signal.SIGHUP)
        manager.heard_until("RELOADING")
        manager.heard_until("READY")
        # The last of the old ones has been told to go, and may not have heard it yet.
        until(lambda: {told(server)[1] for _ in range(8)} == {2}, "ready before the restart was done")
        assert "WATCHDOG" in manager.heard_until("WATCHDOG")[-1]
        (tmp_path / "main.py").write_text(APP + "#" * 9)
        server.send_signal(signal.SIGUSR2)
        manager.heard_until("RELOADING")
        successor = int(manager.heard_until("MAINPID")[-1]["MAINPID"])
        manager.heard_until("READY")
        assert server.wait() == 0
        os.kill(successor, signal.SIGTERM)
        manager.heard_until("STOPPING")
        until(lambda: not alive(successor), "the successor does not end")


def test_workers_outlive_the_process_that_they_were_forked_from(tmp_path: Path) -> None:
    with serving(tmp_path, APP, *WAYS[1]) as server:
        before = all_of(server)
        (preloader,) = children(server.pid)
        os.kill(preloader, signal.SIGKILL)
        server.stderr.wait_for("The application is imported in process", count=2)
        assert all_of(server) == before
        os.kill(min(before), signal.SIGKILL)
        server.stderr.wait_for(f"Child process [{min(before)}] died: killed by SIGKILL")
        until(lambda: min(before) not in all_of(server), "no successor")


def test_a_worker_whose_end_nobody_could_tell_of_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, APP, *WAYS[1]) as server:
        victim = min(all_of(server))
        (preloader,) = children(server.pid)
        os.kill(server.pid, signal.SIGSTOP)  # so that it sees both ends at once, and neither as it happens
        os.kill(victim, signal.SIGKILL)
        until(lambda: not alive(victim) and victim not in children(preloader), "not reaped")
        os.kill(preloader, signal.SIGKILL)
        os.kill(server.pid, signal.SIGCONT)
        server.stderr.wait_for(f"Child process [{victim}] died: ")
        until(lambda: victim not in all_of(server), "no successor")


def test_as_pid_1_it_reaps_orphans_and_ends_when_told(tmp_path: Path) -> None:
    app = APP.replace(
        'elif path == "/end":',
        'elif path == "/orphan":\n        os.system("sleep 0.2 & sleep 0.2 & exit 0")\n    elif path == "/end":',
    )
    (tmp_path / "main.py").write_text(app)
    alone = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]  # needs root, as the engine of the stack does
    with running(tmp_path, [*alone, *command("main:app", *PLAIN, "--port", "0")]) as server:
        all_of(server)
        (supervisor,) = children(server.pid)
        for _ in range(3):
            server.get("/orphan")
        workers = children(supervisor)
        until(lambda: len(children(supervisor)) == 2, f"orphans: {workers}")
        assert all(map(alive, children(supervisor))), "zombies"
        os.kill(supervisor, signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM
