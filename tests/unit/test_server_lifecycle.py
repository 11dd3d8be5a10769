"""A server process from its first log line to its exit code."""

import os
import signal
import socket
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from tests.support import kernel
from tests.support.process import PATIENCE, command, running, serving

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("--app-dir", str(SUPPORT))

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
PLAIN = """
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})
    """


# What is logged, and how it ends.


@LOOPS
def test_the_log_tells_the_life_of_the_process_in_order(tmp_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--loop", loop) as server:
        assert server.get("/").text == "hello"
        port = server.port
        server.stop()
        assert server.messages() == [
            f"Started server process [{server.pid}]",
            "Waiting for application startup.",
            "Application startup complete.",
            f"Pronghorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)",
            "Shutting down",
            "Waiting for application shutdown.",
            "Application shutdown complete.",
            f"Finished server process [{server.pid}]",
        ]


def test_the_access_log_goes_to_stdout_one_line_a_request(tmp_path: Path) -> None:
    with serving(tmp_path, PLAIN) as server:
        server.get("/a?b=c")
        server.get("/%1b%5b31m")
        server.stop()
        first, second = server.stdout.all()
    assert first.startswith("INFO:     127.0.0.1:")
    assert '"GET /a?b=c HTTP/1.1" 200 OK 5B ' in first
    assert "\x1b" not in second


def test_without_an_access_log_stdout_stays_empty(tmp_path: Path) -> None:
    with serving(tmp_path, PLAIN, "--no-access-log") as server:
        server.get("/")
        server.stop()
        assert server.stdout.all() == []


def test_the_json_access_log_loses_no_line_at_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, PLAIN, "--log-format", "json") as server, server.connect() as client:
        for _ in range(20):
            client.get("/")
        server.stop()
        lines = server.stdout.all()
        assert len([line for line in lines if '"status":200' in line]) == len(lines) == 20


@LOOPS
def test_sigterm_drains_and_is_then_what_the_process_dies_of(tmp_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--loop", loop) as server:
        assert server.stop(signal.SIGTERM) == -signal.SIGTERM
        assert "app: lifespan.shutdown" in server.stdout.all()


@LOOPS
def test_sigint_drains_and_is_a_success(tmp_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--loop", loop) as server:
        assert server.stop(signal.SIGINT) == 0
        assert "app: lifespan.shutdown" in server.stdout.all()


def test_a_second_sigint_forces_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server, server.connect() as client:
        client.request("GET", "/hang")
        server.stdout.wait_for("hangs")
        server.send_signal(signal.SIGINT)
        server.stderr.wait_for("Waiting for connections to close. (CTRL+C to force quit)")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
        assert "Waiting for application shutdown." not in server.messages()
        assert any("cancelled:" in line for line in server.stdout.all())


@pytest.mark.parametrize("step", ["startup", "shutdown"])
def test_a_second_sigint_forces_the_end_of_a_lifespan_that_hangs(tmp_path: Path, step: str) -> None:
    hanging = f"""
        import asyncio, sys
        async def app(scope, receive, send):
            while True:
                event = await receive()
                if event["type"] == "lifespan.{step}":
                    print("hangs", flush=True)
                    await asyncio.sleep(3600)
                await send({{"type": event["type"] + ".complete"}})
        """
    with serving(tmp_path, hanging, ready=False) as server:
        if step == "shutdown":
            server.running_on()
            server.send_signal(signal.SIGINT)
        server.stdout.wait_for("hangs")
        if step == "startup":
            server.send_signal(signal.SIGINT)
            server.stderr.wait_for("Waiting for application startup to finish. (CTRL+C to force quit)")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0


def test_a_second_sigterm_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server, server.connect() as client:
        client.request("GET", "/wait?go")
        server.stdout.wait_for("waits for")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Waiting for connections to close.")
        server.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert client.response().text == "go"
        assert server.wait() == -signal.SIGTERM


@LOOPS
def test_a_request_that_hangs_is_cut_at_the_graceful_timeout(tmp_path: Path, loop: str) -> None:
    flags = ("--loop", loop, "--timeout-graceful-shutdown", "1")
    with serving(tmp_path, "served:app", *SERVED, *flags) as server, server.connect() as client:
        client.request("GET", "/hang")
        server.stdout.wait_for("hangs")
        assert server.stop() == -signal.SIGTERM
        # Nobody answered, so the server does: the peer gets to know that it was not its request that was wrong.
        assert client.response().status in (500, 503)
        messages = server.messages()
        assert "Cancel 1 running task(s), timeout graceful shutdown exceeded" in messages
        assert messages[-2:] == [
            "Application shutdown complete.",
            f"Finished server process [{server.pid}]",
        ]
        assert "app: cancelled: Task cancelled, timeout graceful shutdown exceeded" in server.stdout.all()


def test_pid_1_ends_with_143_although_the_kernel_shields_it_from_sigterm(tmp_path: Path) -> None:
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    words = [*unshare, *command("served:app", *SERVED, "--port", "0", "--lifespan", "on")]
    with running(tmp_path, words) as shell:
        assert "[1]" in shell.stderr.wait_for("Started server process")
        shell.running_on()
        (child,) = kernel.children(shell.pid)
        with socket.create_connection(("127.0.0.1", shell.port), PATIENCE):
            os.kill(child, signal.SIGTERM)
            assert shell.wait() == 128 + signal.SIGTERM
        assert shell.messages()[-1] == "Finished server process [1]"


# Errors provoked on purpose: one line that names the option and the way out.


def failing(
    folder: Path, *words: str, source: str = PLAIN, prefix: Sequence[str] = ()
) -> tuple[int, list[str]]:
    """The exit code and the stderr of a command that cannot serve."""
    (folder / "main.py").write_text(textwrap.dedent(source), "utf-8")
    with running(folder, [*prefix, *command(*words)], shameful=True) as process:
        code = process.wait()
        assert process.stdout.all() == []
        return code, process.stderr.all()


def test_an_unknown_flag_is_a_usage_error(tmp_path: Path) -> None:
    code, lines = failing(tmp_path, "main:app", "--prot", "8000")
    assert code == 2
    assert len(lines) == 1
    assert "--prot" in lines[0]
    assert "--port" in lines[0], "the way out"


def test_a_bad_value_is_a_usage_error(tmp_path: Path) -> None:
    code, lines = failing(tmp_path, "main:app", "--port", "http")
    assert code == 2
    assert len(lines) == 1
    assert "--port" in lines[0]


def test_a_module_that_does_not_exist(tmp_path: Path) -> None:
    code, lines = failing(tmp_path, "mian:app")
    assert code == 3
    assert len(lines) == 1
    assert "mian" in lines[0]


def test_an_attribute_that_does_not_exist(tmp_path: Path) -> None:
    code, lines = failing(tmp_path, "main:application")
    assert code == 3
    assert len(lines) == 1
    assert "application" in lines[0]
    assert "main" in lines[0]


def test_a_module_that_fails_to_import_shows_its_own_traceback_and_then_one_line(tmp_path: Path) -> None:
    code, lines = failing(tmp_path, "main:app", source="import json\n\njson.loads('{')\n")
    assert code == 3
    assert any("main.py" in line and "line 3" in line for line in lines)
    assert not any("importer.py" in line for line in lines)
    assert lines[-1].startswith("pronghorn: error:")
    assert "main" in lines[-1]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, lines = failing(tmp_path, "main:app", "--port", str(port))
    assert code == 3
    assert len(lines) == 1
    assert f"--port: 127.0.0.1:{port} is already in use" in lines[0]
    assert "--port 0" in lines[0], "the way out"


def test_a_port_that_is_taken_is_found_before_the_application_starts(tmp_path: Path) -> None:
    source = "async def app(scope, receive, send):\n    print('started')\n"
    with socket.create_server(("127.0.0.1", 0)) as other:
        failing(tmp_path, "main:app", "--port", str(other.getsockname()[1]), source=source)


def test_a_socket_folder_that_is_not_writable(tmp_path: Path, short_path: Path) -> None:
    folder = short_path / "closed"
    folder.mkdir(mode=0o555)
    # Root may write everywhere, by a capability that it can be started without.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words = ("main:app", "--uds", str(folder / "app.sock"))
    code, lines = failing(tmp_path, *words, prefix=drop)
    assert code == 3
    assert len(lines) == 1
    assert f"--uds: not allowed to create a socket in {folder} as user {os.geteuid()}" in lines[0]
    assert "write permission" in lines[0], "the way out"


LIFESPAN_RAISES = """
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            raise ConnectionError("the database is away")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"up"})
    """

LIFESPAN_FAILS = """
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is away"})
    """


def test_a_lifespan_that_raises_at_startup_ends_with_one_clear_line(tmp_path: Path) -> None:
    words = ("main:app", "--lifespan", "on", "--port", "0")
    code, lines = failing(tmp_path, *words, source=LIFESPAN_RAISES)
    assert code == 3
    assert lines[-1].startswith(
        "pronghorn: error: application startup failed: ConnectionError: the database is away"
    )
    assert "main.py:5" in lines[-1]
    assert not any("running on" in line for line in lines)


def test_a_lifespan_that_raises_is_none_unless_it_has_to_be_one(tmp_path: Path) -> None:
    with serving(tmp_path, LIFESPAN_RAISES) as server:
        assert server.get("/").text == "up"
        assert "--lifespan on" in server.stderr.wait_for("the database is away")


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_startup_that_the_application_calls_failed(tmp_path: Path, mode: str) -> None:
    words = ("main:app", "--lifespan", mode, "--port", "0")
    code, lines = failing(tmp_path, *words, source=LIFESPAN_FAILS)
    assert code == 3
    assert lines[-1].startswith("pronghorn: error: application startup failed: the database is away")
    assert not any("Traceback" in line for line in lines)


def test_a_failed_startup_leaves_no_socket_file(tmp_path: Path, socket_path: Path) -> None:
    code, _ = failing(tmp_path, "main:app", "--uds", str(socket_path), source=LIFESPAN_FAILS)
    assert code == 3
    assert not socket_path.exists()


def test_lifespan_off_is_not_called(tmp_path: Path) -> None:
    with serving(
        tmp_path,
        LIFESPAN_FAILS.replace("await receive()", "assert scope['type'] == 'http'"),
        "--lifespan",
        "off",
    ) as server:
        assert "Waiting for application startup." not in "\n".join(server.stderr.so_far())


def test_a_certificate_file_that_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "cert.pem"
    broken.write_text("not a certificate", "ascii")
    code, lines = failing(tmp_path, "main:app", "--ssl-certfile", str(broken))
    assert code == 2
    assert len(lines) == 1
    assert "--ssl-certfile" in lines[0]
    assert str(broken) in lines[0]


def test_a_key_that_belongs_to_another_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "key.pem")
    words = ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")
    code, lines = failing(tmp_path, "main:app", *words)
    assert code == 2
    assert len(lines) == 1
    assert "--ssl-keyfile" in lines[0]
    assert "key.pem" in lines[0]


def test_a_certificate_file_that_is_missing(tmp_path: Path) -> None:
    code, lines = failing(tmp_path, "main:app", "--ssl-certfile", "nowhere.pem")
    assert code == 2
    assert len(lines) == 1
    assert "--ssl-certfile" in lines[0]
    assert "nowhere.pem" in lines[0]


def test_the_interpreter_that_runs_the_tests_is_the_one_that_serves(tmp_path: Path) -> None:
    source = "import sys\nasync def app(scope, receive, send):\n    raise SystemExit\nprint(sys.version, flush=True)\n"
    with serving(tmp_path, source, "--lifespan", "off") as server:
        server.stdout.wait_for(sys.version.splitlines()[0])
