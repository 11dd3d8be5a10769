"""Gunicorn with our worker: real processes and real signals. What its settings come to is in test_gunicorn_settings.py."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.support.gunicorn_process import BOOTING, gunicorn, message, workers
from tests.support.kernel import alive
from tests.support.process import PATIENCE, ServerProcess
from tests.support.steady import Load, Steady
from tests.support.waiting import until

HELLO = """
    import os

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": event["type"] + ".complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""
WAITS = """
    import asyncio, time
    from pathlib import Path

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        if scope["path"] == "/block":
            print("blocks", flush=True)
            time.sleep(60)
        if scope["path"] == "/wait":
            print("waits", flush=True)
            while not Path("go").exists():
                await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
"""
#: Few enough for a busy machine, many enough that some are under way at any moment.
LOAD = Load(kept=40, fresh=20, slow=4, uploads=4, slow_for=0.3)


def messages(server: ServerProcess) -> list[str]:
    return [message(line) for line in server.stderr.all()]


@pytest.mark.parametrize(
    "worker", ["PronghornWorker", "PronghornH11Worker", "UvicornWorker", "UvicornH11Worker"]
)
def test_each_worker_class_serves(tmp_path: Path, worker: str) -> None:
    with gunicorn(tmp_path, HELLO, worker=worker) as server:
        response = server.get("/")
        assert response["server"] == "pronghorn"
        assert int(response.text) in workers(server)
        assert server.stop() == 0

    told = messages(server)
    for line in ("Waiting for application startup.", "Application startup complete.", "Shutting down"):
        assert line in told
    assert "Application shutdown complete." in told


def test_the_http_2_worker_serves_both_versions(tmp_path: Path) -> None:
    with gunicorn(tmp_path, HELLO, worker="PronghornH2CWorker") as server:
        assert server.get("/").status == 200
        with httpx.Client(http1=False, http2=True) as client:
            answer = client.get(f"http://127.0.0.1:{server.port}/")
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:app.sock"])
def test_term_finishes_what_has_begun(tmp_path: Path, bind: str) -> None:
    with gunicorn(tmp_path, WAITS, bind=bind) as server, connected(server, bind) as client:
        client.request("GET", "/wait")
        server.stdout.wait_for("waits")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Shutting down")
        (tmp_path / "go").touch()
        response = client.response()

        assert (response.status, response.text) == (200, "done")
        assert response["connection"] == "close"
        assert server.wait() == 0
    assert not (tmp_path / "app.sock").exists()


def connected(server: ServerProcess, bind: str):  # type: ignore[no-untyped-def]
    if not bind.startswith("unix:"):
        return server.connect()
    import socket

    from tests.support.http_client import Client

    server.running_on()
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(server.folder / bind.removeprefix("unix:")))
    return Client(sock)


def test_a_request_after_term_is_answered_on_a_connection_that_was_open(tmp_path: Path) -> None:
    """A worker cannot know whether it is stopped or replaced, so it answers what was on the way, and says that it is the last.

    It waits a second for that, and here longer: this process may not run for as long.
    """
    patient = HELLO + "\n    import pronghorn.workers\n    pronghorn.workers._LINGER = 20.0\n"
    with gunicorn(tmp_path, patient, "--keep-alive", "20") as server, server.connect() as client:
        client.request("GET", "/")
        assert client.response()["connection"] is None
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Shutting down")
        client.request("GET", "/")

        assert client.response()["connection"] == "close"
        assert server.wait() == 0


def test_a_drain_delay_is_for_connections_that_are_open(tmp_path: Path) -> None:
    """Instead of the second that they have without it, for which this waits twice."""
    environ = {"PRONGHORN_DRAIN_DELAY": "20"}
    with (
        gunicorn(tmp_path, HELLO, "--keep-alive", "60", environ=environ) as server,
        server.connect() as client,
    ):
        client.request("GET", "/")
        assert client.response()["connection"] is None
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Shutting down")
        time.sleep(2.2)
        client.request("GET", "/")

        assert client.response()["connection"] == "close"
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quit_and_int_wait_for_nothing(tmp_path: Path, number: int) -> None:
    with gunicorn(tmp_path, WAITS) as server, server.connect() as client:
        client.request("GET", "/wait")
        server.stdout.wait_for("waits")
        server.send_signal(number)

        assert client.response().status == 500
        assert server.wait() == 0
    assert not any("was sent SIGKILL" in line for line in server.stderr.all())


def test_quit_gets_through_to_a_blocked_worker(tmp_path: Path) -> None:
    with (
        gunicorn(tmp_path, WAITS, "--graceful-timeout", "25", shameful=True) as server,
        server.connect() as client,
    ):
        client.request("GET", "/block")
        server.stdout.wait_for("blocks")
        server.send_signal(signal.SIGQUIT)
        assert server.wait() == 0
    assert not any("was sent SIGKILL" in line for line in server.stderr.all())


def test_a_blocked_worker_is_replaced_and_says_where_it_stood(tmp_path: Path) -> None:
    with gunicorn(tmp_path, WAITS, "--timeout", "1", shameful=True) as server:
        with server.connect() as client:
            client.request("GET", "/block")
            server.stderr.wait_for("WORKER TIMEOUT")
            server.stderr.wait_for("its event loop was blocked for")
            server.stderr.wait_for("time.sleep(60)")
            server.stderr.wait_for(BOOTING, count=2)
        server.running_on(2)
        assert server.get("/").text == "done"
        assert server.stop() == 0


@pytest.mark.parametrize("path", ["/spin", "/crash"])
def test_a_worker_that_cannot_speak_any_more_leaves_word_of_where_it_stood(tmp_path: Path, path: str) -> None:
    """Blocked in C without letting go of the interpreter, or crashed there: no handler of Python's runs."""
    stuck = """
        import collections, ctypes, itertools

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            if scope["path"] == "/spin":
                collections.deque(itertools.repeat(None), maxlen=0)
            if scope["path"] == "/crash":
                ctypes.string_at(0)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
    """
    with gunicorn(tmp_path, stuck, "--timeout", "1", shameful=True) as server, server.connect() as client:
        [worker] = workers(server)
        client.request("GET", path)
        server.stderr.wait_for(f"Worker (pid:{worker}) has left this:")
        server.stderr.wait_for('main.py", line')
        server.running_on(2)
        assert server.get("/").status == 204
        assert server.stop() == 0


def test_a_slow_start_is_not_taken_for_a_blocked_loop(tmp_path: Path) -> None:
    slow = """
        import asyncio

        async def app(scope, receive, send):
            assert (await receive())["type"] == "lifespan.startup"
            await asyncio.sleep(5)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
    """
    with gunicorn(tmp_path, slow, "--timeout", "3") as server:
        assert len(workers(server)) == 1


def test_a_worker_ends_when_its_arbiter_is_gone(tmp_path: Path) -> None:
    with gunicorn(tmp_path, HELLO) as server:
        [worker] = workers(server)
        server.process.kill()
        until(lambda: not alive(worker), "it stays")
    # Its own last word; what the arbiter's end makes of the streams may come after that.
    assert any("Finished server process" in one for one in messages(server))


@pytest.mark.parametrize("work", ["wait", "block"])
def test_a_worker_with_work_to_do_learns_that_its_arbiter_is_gone(tmp_path: Path, work: str) -> None:
    """At once or, where a thread of the arbiter outlived the one that had forked, a second later; and then nobody else ends it."""
    with gunicorn(tmp_path, WAITS, "--graceful-timeout", "2", shameful=True) as server:
        [worker] = workers(server)
        with server.connect() as client:
            client.request("GET", f"/{work}")
            server.stdout.wait_for(f"{work}s")
            server.process.kill()
            server.stderr.wait_for("Parent changed, shutting down")
            until(lambda: not alive(worker), "it stays")


BROKEN = {
    "import": ("import nowhere_to_be_found\napp = 1\n", "nowhere_to_be_found"),
    "startup": (
        """
        async def app(scope, receive, send):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
        """,
        "no database",
    ),
    "no application": (
        """
        def app(environ, start_response):
            return []
        """,
        "as a WSGI application is",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_start_ends_gunicorn_with_3(tmp_path: Path, case: str) -> None:
    source, reason = BROKEN[case]
    with gunicorn(tmp_path, source, ready=0, shameful=True) as server:
        assert server.wait() == 3
    told = messages(server)
    assert any(reason in line for line in told)
    assert "Reason: Worker failed to boot." in told
    assert sum(BOOTING in line for line in server.stderr.all()) == 1
    if case != "import":
        assert not any("Traceback" in line for line in told)


def test_hup_loads_the_application_anew_and_loses_nothing(tmp_path: Path) -> None:
    environ = {"DRILL_FOLDER": str(tmp_path)}
    with gunicorn(
        tmp_path, "tests.support.drill_app:app", "--workers", "2", ready=2, environ=environ
    ) as server:
        before = set(workers(server))

        async def replaced() -> Steady:
            async with Steady(("127.0.0.1", server.port), LOAD) as steady:

                def all_answer() -> bool:
                    return steady.counts().workers.keys() == set(workers(server))

                await asyncio.to_thread(until, all_answer, "not both answer")
                server.send_signal(signal.SIGHUP)
                await asyncio.to_thread(until, lambda: not any(map(alive, before)), "old ones stay")
                await asyncio.to_thread(until, all_answer, "not both new ones answer")
            return steady

        counts = asyncio.run(replaced()).counts()
        assert counts.failed == 0, (str(counts), counts.failures)
        assert len(counts.workers) == 4
        assert server.stop() == 0


def test_max_requests_replaces_workers_and_loses_nothing(tmp_path: Path) -> None:
    arguments = ("--workers", "2", "--max-requests", "30", "--max-requests-jitter", "9")
    environ = {"DRILL_FOLDER": str(tmp_path)}
    with gunicorn(tmp_path, "tests.support.drill_app:app", *arguments, ready=2, environ=environ) as server:

        async def recycled() -> Steady:
            async with Steady(("127.0.0.1", server.port), LOAD) as steady:
                await asyncio.to_thread(server.stderr.wait_for, BOOTING, count=5)
                await asyncio.sleep(0.2)
            return steady

        counts = asyncio.run(recycled()).counts()
        assert counts.failed == 0, (str(counts), counts.failures)
        assert server.stop() == 0
    assert any("Maximum request limit of 3" in line for line in server.stderr.all())


def test_ttin_and_ttou_change_the_number_of_workers(tmp_path: Path) -> None:
    with gunicorn(tmp_path, HELLO) as server:
        server.send_signal(signal.SIGTTIN)
        server.running_on(2)
        first, second = workers(server)
        assert alive(first)
        server.send_signal(signal.SIGTTOU)
        until(lambda: not alive(first), "it stays")
        assert server.get("/").text == str(second)
        assert server.stop() == 0


def test_usr2_starts_a_new_gunicorn_on_the_same_socket(tmp_path: Path) -> None:
    pidfile = tmp_path / "gunicorn.pid"
    with gunicorn(tmp_path, HELLO, "--pid", str(pidfile)) as server:
        [old] = workers(server)
        server.send_signal(signal.SIGUSR2)
        server.running_on(2)
        successor = int((tmp_path / "gunicorn.pid.2").read_text())
        [new] = [pid for pid in workers(server) if pid != old]
        port = server.port
        assert server.stop() == 0
        until(lambda: not alive(old), "it stays")
        assert server.get("/", port=port).text == str(new)
        os.kill(successor, signal.SIGTERM)
        until(lambda: not alive(successor), "it stays")


def test_usr1_reopens_the_logs(tmp_path: Path) -> None:
    arguments = ("--access-logfile", "access.log", "--error-logfile", "error.log", "--log-level", "info")
    with gunicorn(tmp_path, HELLO, *arguments, ready=0, bind="unix:app.sock") as server:
        access, error = tmp_path / "access.log", tmp_path / "error.log"
        until(lambda: error.exists() and "Pronghorn running on" in error.read_text(), "no start")
        get_over(tmp_path / "app.sock", "/first")
        until(lambda: "/first" in access.read_text(), "no line")
        for log in (access, error):
            log.rename(log.with_suffix(".old"))
        server.send_signal(signal.SIGUSR1)
        until(lambda: access.exists() and error.exists(), "not reopened")
        until(lambda: moved_on(tmp_path, access), "no line in the new file")
        assert server.stop() == 0
        assert "Shutting down" in error.read_text()
        assert "/first" not in access.read_text()


def get_over(path: Path, target: str) -> None:
    import socket

    from tests.support.http_client import Client

    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    with Client(sock) as client:
        client.request("GET", target)
        assert client.response().status == 200


def moved_on(folder: Path, access: Path) -> bool:
    get_over(folder / "app.sock", "/second")
    return "/second" in access.read_text()


def test_reload_serves_what_was_saved_and_shows_what_cannot_be_read(tmp_path: Path) -> None:
    with gunicorn(tmp_path, HELLO, "--reload", shameful=True) as server:
        source = tmp_path / "main.py"
        whole = source.read_text()
        save(server, source, whole + "\nthis is no Python\n", 2)
        broken = server.get("/")
        assert broken.status == 500
        assert "this is no Python" in broken.text
        save(server, source, whole.replace("%d", "again %d"), 3)
        assert re.fullmatch(r"again \d+", server.get("/").text)
        assert server.stop() == 0


def save(server: ServerProcess, path: Path, text: str, starts: int) -> None:
    """Write until the server has started so many times: Gunicorn does not notice what changes before its first look."""
    path.write_text(text)
    for _ in range(20):
        # Another time than before even where files keep whole seconds.
        later = path.stat().st_mtime + 2
        os.utime(path, (later, later))
        # Once it has noticed, another time than that would be another reason to start.
        if server.stderr.has("Worker reloading: ", count=starts - 1, within=3):
            break
    server.running_on(starts)


def test_preloading_imports_the_application_once(tmp_path: Path) -> None:
    with gunicorn(
        tmp_path,
        "print('imported', flush=True)\n" + "\n".join(line[4:] for line in HELLO.splitlines()),
        "--preload",
        "--workers",
        "2",
        ready=2,
    ) as server:
        assert server.get("/").status == 200
        assert server.stop() == 0
    assert server.stdout.all().count("imported") == 1


HOOKS = """
    def told(name):
        return lambda *_: print("hook", name, flush=True)

    for name, arity in {"on_starting": 1, "when_ready": 1, "pre_fork": 2, "post_fork": 2, "post_worker_init": 1, "worker_exit": 2, "child_exit": 2, "on_exit": 1}.items():
        globals()[name] = eval(f"lambda {', '.join('abc'[:arity])}: print('hook', {name!r}, flush=True)")

    def worker_int(worker):
        print("hook worker_int", flush=True)
"""


def test_hooks_are_called(tmp_path: Path) -> None:
    import textwrap

    (tmp_path / "conf.py").write_text(textwrap.dedent(HOOKS))
    with gunicorn(tmp_path, HELLO, "--config", "conf.py") as server:
        assert server.stop(signal.SIGQUIT) == 0
    called = [line.removeprefix("hook ") for line in server.stdout.all()]
    assert called == [
        *("on_starting", "when_ready", "pre_fork", "post_fork", "post_worker_init"),
        *("worker_int", "worker_exit", "child_exit", "on_exit"),
    ]
