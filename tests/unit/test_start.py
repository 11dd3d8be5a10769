"""What a start costs: nothing is imported for an option that was not given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# It stops the server as soon as it has started, and tells what had been imported by then.
APP = """
import os, signal, sys

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    os.kill(os.getpid(), signal.SIGINT)
    await receive()
    print(*sorted(sys.modules))
    await send({"type": "lifespan.shutdown.complete"})
"""

# What each of these brings along takes several milliseconds and up to a megabyte, in every worker.
IDLE = {
    "a2wsgi",
    "click",
    "difflib",
    "dotenv",
    "email",
    "encodings.idna",
    "http.client",
    "importlib.metadata",
    "logging.config",
    "multiprocessing",
    "platform",
    "pythonjsonlogger",
    "random",
    "shutil",
    "tomllib",
    "websockets",
    "wsproto",
    "yaml",
    "pronghorn.env_file",
    "pronghorn.middleware.wsgi",
    "prometheus_client",
    "pronghorn.net.activation",
    "pronghorn.net.unix_socket",
    "pronghorn.net.ws_connection",
    "pronghorn.observe.admin",
    "pronghorn.observe.counts",
    "pronghorn.observe.history",
    "pronghorn.observe.json_formatter",
    "pronghorn.observe.log_config",
    "pronghorn.observe.probe",
    "pronghorn.supervise",
    "pronghorn.usage",
    "pronghorn.wire.ws_handshake",
    "pronghorn.worker.admin",
}


def imported(folder: Path, *words: str) -> set[str]:
    """The modules of a server that was started with these words."""
    (folder / "main.py").write_text(APP)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PRONGHORN_", "UVICORN_"))}
    command = [sys.executable, "-m", "pronghorn", "main:app", "--port", "0", *words]
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def before(folder: Path) -> set[str]:
    """What the interpreter has imported by itself, .pth files of the environment included."""
    code = "import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_plain_start_imports_nothing_in_vain(tmp_path: Path) -> None:
    modules = imported(tmp_path, "--http", "httptools", "--loop", "uvloop")
    assert {"pronghorn.worker.server", "pronghorn.observe.access"} <= modules
    assert (modules & IDLE) - before(tmp_path) == set()
    assert not {"h11", "pronghorn.wire.h1_h11"} & modules


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        (["--no-access-log"], {"pronghorn.observe.access", "json"}),
        (["--loop", "asyncio"], {"uvloop"}),
        (["--http", "h11"], {"httptools"}),
    ],
)
def test_what_an_option_switches_off_is_not_imported(
    tmp_path: Path, words: list[str], idle: set[str]
) -> None:
    assert not (imported(tmp_path, *words) & idle) - before(tmp_path)
