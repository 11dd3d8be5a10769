"""The health endpoint of a running server, and the command that asks it."""

import signal
from pathlib import Path

import pytest

from tests.support.process import command, running, serving

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("--app-dir", str(SUPPORT), "--health-path", "/healthz")


def probe(folder: Path, *words: str, **environ: str) -> tuple[int, str]:
    """Exit code and the one line of ``pronghorn healthcheck``."""
    with running(folder, command("healthcheck", *words), environ=environ) as process:
        code = process.wait()
        (line,) = process.stdout.all() + process.stderr.all()
        return code, line


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_server_that_is_ready_says_so(tmp_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--loop", loop) as server, server.connect() as client:
        response = client.get("/healthz")
        assert (response.status, response.text, response["cache-control"]) == (200, "ok", "no-store")
        client.request("HEAD", "/healthz")
        assert client.response("HEAD").status == 200
        client.request("POST", "/healthz", body=b"")
        assert client.response().status == 405
        assert client.get("/").text == "hello", "every other path is the application's"
        assert client.get("/healthz/more").status == 404


def test_a_probe_that_found_all_well_is_not_worth_a_line(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server:
        for path in ("/healthz", "/first", "/healthz", "/second"):
            server.get(path)
        server.stop()
        lines = [line for line in server.stdout.all() if '"GET ' in line]
    assert [line.split()[4] for line in lines] == ["/first", "/second"]


def test_without_the_option_the_path_is_the_applications(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED[:2]) as server:
        assert server.get("/healthz").status == 404


def test_a_server_that_drains_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server:
        # A request whose head has begun keeps its connection through the drain.
        asking, working = server.connect(), server.connect()
        asking.send(b"GET /healthz HTTP/1.1\r\n")
        working.request("GET", "/wait?go")
        server.stdout.wait_for("waits for go")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Waiting for connections to close.")
        asking.send(b"Host: x\r\n\r\n")
        response = asking.response()
        assert (response.status, response.text, response["connection"]) == (503, "draining", "close")
        (tmp_path / "go").touch()
        assert working.response().status == 200


def test_healthcheck_over_tcp(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server:
        port = str(server.port)
        code, line = probe(tmp_path, "--port", port, "--health-path", "/healthz")
        assert (code, line) == (0, f"healthy: http://127.0.0.1:{port} answered 200 ok to /healthz")
        code, line = probe(tmp_path, "--port", port, "--health-path", "/nowhere")
        assert code == 1
        assert line.startswith("unhealthy: ")
        server.stop()
        code, line = probe(tmp_path, "--port", port, "--health-path", "/healthz")
        assert code == 1
        assert "refused" in line.lower()


def test_healthcheck_over_a_unix_socket_told_by_the_environment_alone(
    tmp_path: Path, socket_path: Path
) -> None:
    """As the container does it: server and health check read the same environment."""
    told = {
        "PRONGHORN_APP": "served:app",
        "PRONGHORN_UDS": str(socket_path),
        "PRONGHORN_HEALTH_PATH": "/healthz",
    }
    with running(tmp_path, command("--app-dir", str(SUPPORT)), environ=told) as server:
        server.running_on()
        code, line = probe(tmp_path, **told)
        assert (code, line) == (0, f"healthy: unix socket {socket_path} answered 200 ok to /healthz")
        server.stop()
        code, line = probe(tmp_path, **told)
        assert code == 1
        assert line.startswith("unhealthy: ")


def test_healthcheck_gives_up_on_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server:
        port = str(server.port)
        server.send_signal(signal.SIGSTOP)
        words = ("--port", port, "--health-path", "/healthz", "--timeout", "0.2")
        code, line = probe(tmp_path, *words)
        assert code == 1
        assert "did not answer within 0.2 s" in line
