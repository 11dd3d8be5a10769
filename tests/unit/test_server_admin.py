"""The admin listener of a server that is one process, for real."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pronghorn import Config, Server
from tests.support.admin import FREE, AdminListener
from tests.support.process import command, environment, serving

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("--app-dir", str(SUPPORT))
SLOW = """\
    import asyncio
    from pathlib import Path

    async def appears(name):
        while not Path(name).exists():
            await asyncio.sleep(0.01)

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        await appears("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await appears("ended")
        await send({"type": "lifespan.shutdown.complete"})
"""


def healthcheck(folder: Path, *words: str, **environ: str) -> tuple[int, str]:
    """Exit code and the one line of ``pronghorn healthcheck``."""
    done = subprocess.run(
        command("healthcheck", *words),
        env=environment(**environ),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = (done.stdout + done.stderr).splitlines()
    return done.returncode, line


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_it_tells_of_the_server_and_is_no_part_of_it(tmp_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *SERVED, *FREE, "--loop", loop) as server:
        admin = AdminListener(server)
        assert admin.until("/readyz", 200) == "ok\n"
        assert admin.ask("/livez?verbose").text == "[+] process: it answers\nok\n"
        for path in ("/livez", "/readyz", "/metrics", "/workers", "/status.json"):
            assert server.get(path).status == 404, "the application's own"
        assert admin.ask("/missing").status == 404
        (row,) = admin.workers()
        assert (row["pid"], row["state"], row["worker"]) == (server.pid, "ready", -1)
        answered = [line for line in admin.ask("/metrics").text.splitlines() if "requests_total{" in line]
        assert answered == ['pronghorn_requests_total{method="GET",route="",status="4xx"} 5.0']
        page = admin.ask("/")
        assert page["content-type"] == "text/html; charset=utf-8"
        assert page["server"] is None
        assert admin.ask("/", method="HEAD").status == 200
        server.stop()
        assert not any("readyz" in line for line in server.stdout.all() if "404" not in line), "no access log"


def test_the_tables_of_the_application_s_lifespan(tmp_path: Path) -> None:
    """Alive all the time; ready from the end of the application's start-up to the beginning of the end."""
    with serving(tmp_path, SLOW, *FREE, "--lifespan", "on", ready=False) as server:
        admin = AdminListener(server)
        assert admin.ask("/livez").status == 200
        assert admin.ask("/readyz").text == "no worker serves (1 starting)\n"
        (tmp_path / "started").touch()
        admin.until("/readyz", 200)
        server.send_signal(signal.SIGTERM)
        admin.until("/readyz", 503, "draining")
        assert admin.ask("/livez").status == 200
        (tmp_path / "ended").touch()
        assert server.wait() == -signal.SIGTERM


def test_over_the_limit_it_is_alive_and_answers_that_it_is_full(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, *FREE, "--limit-concurrency", "1") as server:
        admin = AdminListener(server)
        with server.connect() as client:
            client.request("GET", "/wait?go")
            server.stdout.wait_for("waits for go")
            admin.until("/readyz", 503, "every worker is at its limit")
            assert admin.ask("/livez").status == 200
            assert healthcheck(tmp_path, "--admin", admin.address)[0] == 0
            code, line = healthcheck(tmp_path, "--ready", PRONGHORN_ADMIN=admin.address)
            assert code == 1
            assert line.endswith(" answered 503 every worker is at its limit to /readyz")
            (tmp_path / "go").touch()
            assert client.response().status == 200
        admin.until("/readyz", 200)


def test_hundreds_of_idle_connections_do_not_keep_it_from_answering(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, *FREE) as server, contextlib.ExitStack() as crowd:
        admin = AdminListener(server)
        for _ in range(300):
            crowd.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        admin.until("/readyz", 200)
        idle = [crowd.enter_context(admin.connect()) for _ in range(100)]
        assert admin.ask("/livez").status == 200
        for client in idle:
            assert client.get("/livez").status == 200


def test_what_is_no_question_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, *FREE) as server:
        admin = AdminListener(server)
        assert admin.ask("/" + "x" * 3000).status == 414
        assert admin.ask("/livez", f"X-Long: {'x' * 40_000}").status == 431
        assert admin.ask("/livez", "X-Forwarded-For: 1.2.3.4").status == 200
        with admin.connect() as client:
            client.request("POST", "/livez", body=b"x")
            assert client.response().status == 413
        with admin.connect() as client:
            client.send(b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            assert client.response().status == 421
        with admin.connect() as client:
            client.send(b"GET /livez HTTP/1.0\r\n\r\n")
            assert client.response().status == 200


def test_on_a_unix_socket_of_our_own(tmp_path: Path, socket_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--admin", f"unix:{socket_path}") as server:
        admin = AdminListener(server)
        assert socket_path.stat().st_mode & 0o777 == 0o660
        admin.until("/readyz", 200)
        told = (0, f"healthy: unix socket {socket_path} answered 200 ok to /livez")
        assert healthcheck(tmp_path, "--live", PRONGHORN_ADMIN=f"unix:{socket_path}") == told
        server.stop()
    assert not socket_path.exists()


def test_the_admin_listener_is_asked_unless_the_public_one_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, *FREE, "--health-path", "/healthz") as server:
        admin = AdminListener(server)
        admin.until("/readyz", 200)
        told = {"PRONGHORN_ADMIN": admin.address, "PRONGHORN_HEALTH_PATH": "/healthz"}
        code, line = healthcheck(tmp_path, **told)
        assert (code, line) == (
            0,
            f"healthy: http://{admin.address} answered 200 ok to /readyz?exclude=limit",
        )
        code, line = healthcheck(tmp_path, "--port", str(server.port), **told)
        assert (code, line) == (0, f"healthy: http://127.0.0.1:{server.port} answered 200 ok to /healthz")
        server.stop()
        assert healthcheck(tmp_path, **told)[0] == 1


@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_a_port_in_use_is_one_line_that_names_the_option(tmp_path: Path, more: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = (*SERVED, "--admin", f":{port}", *more)
        with serving(tmp_path, "served:app", *words, ready=False) as server:
            assert server.wait() == 3
            errors = [line for line in server.stderr.all() if "error" in line]
    assert errors == [
        f"pronghorn: error: --admin: 127.0.0.1:{port} is already in use. Give it another address, or stop what is there"
    ]


def test_no_counts_no_metrics(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, *FREE, "--no-metrics") as server:
        admin = AdminListener(server)
        admin.until("/readyz", 200)
        assert admin.ask("/metrics").text == "nothing is counted, --metrics switches it on\n"


def test_a_program_has_it_in_its_own_loop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("nobody asks it")

    async def ask(server: Server) -> bytes:
        (told,) = [record.message for record in caplog.records if "Admin listener" in record.message]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(re.sub(r".*:", "", told)))
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def main() -> bytes:
        admin: Any = "127.0.0.1:0"  # text is read as the flag's is
        config = Config(app, port=0, admin=admin, lifespan="off", log_config=None, metrics_dir=str(tmp_path))
        server = Server(config)
        serving = asyncio.ensure_future(server.serve())
        while not server.started:  # noqa: ASYNC110  # it says so in no other way
            await asyncio.sleep(0.01)
        answer = await ask(server)
        server.should_exit = True
        await serving
        return answer

    caplog.set_level("INFO", "pronghorn.error")
    assert asyncio.run(main()).startswith(b"HTTP/1.1 200 ")
