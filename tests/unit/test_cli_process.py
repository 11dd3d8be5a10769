"""The command as a process: its exit codes, and that what goes wrong is one line on stderr."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours but those that a test sets."""
    for name in os.environ:
        if name.startswith(("PRONGHORN_", "UVICORN_")) or name in {"WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"}:
            monkeypatch.delenv(name)


APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m pronghorn`, in tmp_path, without any of our variables; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **environ: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "pronghorn", *words],
                cwd=tmp_path,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    (tmp_path / "main.py").write_text(APP)
    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def until_running(process: subprocess.Popen[str]) -> str:
    """The line that tells where the server listens."""
    assert process.stderr is not None
    for line in process.stderr:
        if "Pronghorn running on" in line:
            return line
    raise AssertionError("the server ended before it was running")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize(
    ("words", "environ", "code", "message"),
    [
        (["--prot"], {}, 2, "there is no option --prot. Did you mean --port?"),
        (["main:app"], {"PRONGHORN_PORT": "x"}, 2, "--port: 'x' is not a whole number (from PRONGHORN_PORT)"),
        (["main"], {}, 2, "APP: 'main' has no colon. Write module:attribute, such as main:app"),
        (["mian:app"], {}, 3, "APP: no module named 'mian'. Did you mean main?"),
        (["main:ap"], {}, 3, "APP: module 'main' has no attribute 'ap'. Did you mean app?"),
        ([], {"UVICORN_APP": "main:ap"}, 3, "APP: module 'main' has no attribute 'ap' (from UVICORN_APP). Did you mean app?"),
        (["main:app", "--ssl-certfile", "no.pem"], {}, 2, "--ssl-certfile: no such file: 'no.pem'"),
        (["main:app", "--forwarded-allow-ips", "10.0.0.300"], {}, 2, "--forwarded-allow-ips: "),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_without_a_traceback(
    command: Start, words: list[str], environ: dict[str, str], code: int, message: str
) -> None:
    returned, out, err = ended(command(*words, **environ))
    assert (returned, out) == (code, "")
    assert err.startswith(f"pronghorn: error: {message}")
    assert err.count("\n") == 1


def test_a_certificate_that_is_none(command: Start) -> None:
    code, _, err = ended(command("main:app", "--port", "0", "--ssl-certfile", "main.py"))
    assert code == 2
    assert err.startswith("pronghorn: error: --ssl-certfile: ")
    assert err.count("\n") == 1


def test_an_application_that_fails_to_import_shows_its_own_traceback_and_then_one_line(
    command: Start, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(
        "import main\n\n\ndef connect():\n    raise OSError('no database')\n\n\nconnect()\n"
    )
    code, out, err = ended(command("broken:app"))
    assert (code, out) == (3, "")
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{tmp_path / "broken.py"}", line 8, in <module>'
    assert lines[-1] == "pronghorn: error: APP: importing 'broken' failed: OSError: no database"
    assert "importlib" not in err


def test_a_port_that_is_taken(command: Start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, err = ended(command("main:app", "--port", str(port)))
    assert code == 3
    (line,) = [line for line in err.splitlines() if line.startswith("pronghorn: error: ")]
    assert "--port" in line
    assert str(port) in line
    assert "Traceback" not in err


def test_a_socket_folder_that_is_not_there(command: Start, short_path: Path) -> None:
    code, _, err = ended(command("main:app", "--uds", str(short_path / "no" / "app.sock")))
    assert code == 3
    (line,) = [line for line in err.splitlines() if line.startswith("pronghorn: error: ")]
    assert line.startswith("pronghorn: error: --uds: ")
    assert "Traceback" not in err


def test_a_lifespan_startup_that_fails(command: Start, tmp_path: Path) -> None:
    (tmp_path / "refuses.py").write_text(
        textwrap.dedent("""
            async def app(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})
        """)
    )
    code, _, err = ended(command("refuses:app", "--port", "0"))
    assert code == 3
    (line,) = [line for line in err.splitlines() if line.startswith("pronghorn: error: ")]
    assert "application startup failed" in line
    assert "no database" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_the_exit_code_after_a_signal(command: Start, number: signal.Signals, code: int) -> None:
    process = command("main:app", "--port", "0")
    until_running(process)
    process.send_signal(number)
    returned, _, err = ended(process)
    assert returned == code
    assert "Finished server process" in err
    assert "Traceback" not in err


def test_healthcheck_over_tcp_and_over_a_unix_socket(
    command: Start, socket_path: Path, tmp_path: Path
) -> None:
    tcp = {
        "PRONGHORN_PORT": str(free_port()),
        "PRONGHORN_HEALTH_PATH": "/healthz",
        "PRONGHORN_HOST": "0.0.0.0",
    }
    unix = {"PRONGHORN_UDS": str(socket_path), "PRONGHORN_HEALTH_PATH": "/healthz"}
    for environ in (tcp, unix):
        code, out, err = ended(command("healthcheck", **environ))
        assert (code, out, err.count("\n")) == (1, "", 1)
        server = command("main:app", **environ)
        until_running(server)
        code, out, err = ended(command("healthcheck", **environ))
        assert (code, err) == (0, "")
        assert out.count("\n") == 1
        server.terminate()
        ended(server)
        code, out, err = ended(command("healthcheck", **environ))
        assert (code, out, err.count("\n")) == (1, "", 1)


def test_healthcheck_does_not_import_the_server() -> None:
    code = "import sys, pronghorn.cli; print(*sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pronghorn.cli" in modules
    assert not {"asyncio", "uvloop", "httptools", "h11", "ssl", "pronghorn.worker.server"} & set(modules)
