"""Every command of README.md is run: here, in the integration suite, or by .ci/run."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme import KINDS, Block, blocks, commands, python_block, python_blocks
from tests.support.ports import free_port
from tests.support.process import serving

ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """That of a reader who has activated the environment: no settings of ours, nothing of a make around us."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PRONGHORN_", "UVICORN_", "MAKE"))
    }
    return {**clean, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **more}


def test_every_block_says_what_runs_it() -> None:
    assert [block for block in blocks() if block.kind not in KINDS] == []


def test_every_kind_is_used_and_its_place_runs_it() -> None:
    assert {block.kind for block in blocks()} == set(KINDS)
    for kind, place in KINDS.items():
        text = (ROOT / place).read_text()
        run_here = f'commands("{kind}")' in text
        assert run_here or all(command in text for command in commands(kind)), f"{place} does not run {kind}"


def test_a_block_without_a_kind_is_noticed() -> None:
    page = "<!-- run: once -->\n```sh\nmake\n```\n\n```sh\nmake up\n```\n"
    assert blocks(page) == [Block("once", ("make",)), Block(None, ("make up",))]


@pytest.mark.parametrize("command", commands("once"))
def test_a_command_that_ends_by_itself(command: str) -> None:
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", commands("serve"))
def test_a_command_that_serves(command: str, short_path: Path) -> None:
    (short_path / "main.py").write_text(python_block())
    port = free_port()
    # The page's own ports may be taken on this machine; everything else is as printed.
    command = command.replace("9000", str(port)).replace("9464", str(free_port()))
    with subprocess.Popen(
        f"exec env {command}",
        shell=True,
        cwd=short_path,
        env=environment(PRONGHORN_PORT=str(port)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if "running on" in line:
                    assert ask(port, short_path / "app.sock") == (200, b"Hello, world!\n")
                    break
            else:
                pytest.fail(f"{command} ended: {''.join(lines)}")
        finally:
            process.send_signal(signal.SIGINT)
            lines += process.stderr.readlines()
    assert process.returncode == 0, "".join(lines)


def ask(port: int, uds: Path) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if uds.exists():
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(uds))
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_lines_of_a_fastapi_application(tmp_path: Path) -> None:
    fastapi, _, _ = python_blocks()
    with serving(tmp_path, fastapi) as server:
        assert server.get("/").json() == {"hello": "world"}


def test_the_lines_of_djangos_settings_are_those_of_the_example() -> None:
    """Which is built and served, static files and all, in tests/integration/test_applications.py."""
    _, settings, _ = python_blocks()
    example = (ROOT / "examples/django/project/settings.py").read_text()
    lines = re.findall(r"^STATIC_.*$", settings, re.MULTILINE)
    assert len(lines) == 2
    for part in (*lines, '"django.contrib.staticfiles"', "ManifestStaticFilesStorage"):
        assert part in settings
        assert part in example


def test_what_the_first_server_prints_is_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(python_block())
    port = str(free_port())
    (shown,) = re.findall(
        r"^```text\n(INFO: +Started server process.*?)^```$",
        (ROOT / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    with subprocess.Popen(
        commands("serve")[0].split(),
        cwd=tmp_path,
        env=environment(PRONGHORN_PORT=port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        printed = [process.stderr.readline() for _ in shown.splitlines()]
        process.send_signal(signal.SIGINT)
        process.stderr.read()

    def without_numbers(text: str) -> str:
        return re.sub(r"\d+", "N", text.replace(port, "8000"))

    assert without_numbers("".join(printed)) == without_numbers(shown)


@pytest.mark.parametrize("command", commands("install"))
def test_a_command_that_installs(command: str, tmp_path: Path) -> None:
    """Into an empty environment; dependencies and the build backend come from ours, so that no index is needed."""
    new = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", new], check=True)
    ours = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
    (site,) = (new / "lib").glob("python3*/site-packages")
    # A plain line of a .pth file: what is in our folder can be imported, but our own .pth files (the checkout in place)
    # are not read, so that the package that answers below is the one just installed.
    (site / "dependencies.pth").write_text(f"{ours}\n")
    pip = new / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{new}/bin/python" -m pip "$@"\n')
    pip.chmod(0o755)
    settings = {
        "PATH": f"{new / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one inside out: 0 means no isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_IGNORE_INSTALLED": "1",
        "PIP_NO_DEPS": "1",
    }
    done = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        env={**environment(), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    version = subprocess.run(
        [new / "bin" / "pronghorn", "--version"], capture_output=True, text=True, check=False
    )
    assert version.returncode == 0, version.stderr
    assert (site / "pronghorn" / "py.typed").exists()
