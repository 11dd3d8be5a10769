"""logrotate(8) with the configuration of docs/logging.md, while requests go on: no line is lost, and none is cut."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.files_logged import APP, LOG_CONFIG
from tests.support.gunicorn_process import gunicorn, workers
from tests.support.process import PATIENCE, ServerProcess, running, serving
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 600


@pytest.fixture(scope="module")
def logrotate() -> str:
    """Debian's, unpacked if it is not installed."""
    done = subprocess.run(
        [ROOT / "scripts/logrotate-binary", ROOT / ".bench/logrotate"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def shipped(folder: Path, command: str) -> str:
    """The configuration in the docs, for files in `folder`, with another command to send the signal with."""
    page = (ROOT / "docs/logging.md").read_text("utf-8")
    block = re.search(r"# /etc/logrotate\.d/my-app\n(.+?)```", page, re.DOTALL)
    assert block is not None
    text, count = re.subn(r"systemctl kill .+", command, block[1].replace("/var/log/my-app", str(folder)))
    assert count == 1
    return text


def rotate_under_load(
    logrotate: str, folder: Path, server: ServerProcess, reopened: Callable[[int], None], config: str
) -> list[str]:
    """Every line of all files, after requests from four connections and three rotations meanwhile."""
    (folder / "rotate.conf").write_text(config)
    os.chmod(folder, 0o755)  # noqa: PTH101  # logrotate refuses what everybody may write to
    asked = threading.Semaphore(0)

    def ask(name: int) -> None:
        with server.connect() as client:
            for number in range(REQUESTS // 4):
                assert client.get(f"/{name}-{number}").text == "hello"
                asked.release()

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(1, 4):
        for _ in range(REQUESTS // 4):
            assert asked.acquire(timeout=PATIENCE)
        words = [logrotate, "--force", "--state", str(folder / "state"), str(folder / "rotate.conf")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        reopened(turn)
    for thread in threads:
        thread.join(PATIENCE)
    server.stop()
    for packed in folder.glob("*.gz"):
        subprocess.run(["gunzip", packed], check=True)
    return [line for file in folder.glob("access.log*") for line in file.read_text().splitlines()]


def all_of_them(lines: list[str]) -> None:
    targets = sorted(re.findall(r'"GET (/\S+) HTTP/1\.1" 200', "\n".join(lines)))
    assert targets == sorted(f"/{name}-{number}" for name in range(4) for number in range(REQUESTS // 4))
    assert len(lines) == REQUESTS


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_no_line_is_lost(tmp_path: Path, logrotate: str, flags: tuple[str, ...]) -> None:
    (tmp_path / "log.json").write_text(json.dumps(LOG_CONFIG))
    with serving(tmp_path, APP, "--log-config", "log.json", "--lifespan", "off", *flags) as server:
        processes = 3 if flags else 1

        def reopened(turn: int) -> None:
            server.stderr.wait_for("Log files were reopened", count=turn * processes)

        config = shipped(tmp_path, f"kill -USR1 {server.pid}")
        all_of_them(rotate_under_load(logrotate, tmp_path, server, reopened, config))


def test_no_line_is_lost_under_gunicorn(tmp_path: Path, logrotate: str) -> None:
    arguments = (
        "--workers",
        "2",
        "--access-logfile",
        "access.log",
        "--access-logformat",
        '%(h)s "%(r)s" %(s)s',
    )
    with gunicorn(tmp_path, APP, *arguments, ready=2) as server:
        processes = [server.pid, *workers(server)]

        def reopened(_: int) -> None:
            # Gunicorn does not say so. A line that went to a file two rotations back would be compressed under its writer.
            until(lambda: all(open_logs(pid) == ["access.log"] for pid in processes), "not reopened")

        config = shipped(tmp_path, f"kill -USR1 {server.pid}")
        all_of_them(rotate_under_load(logrotate, tmp_path, server, reopened, config))


def open_logs(pid: int) -> list[str]:
    """The names that the access logs of a process have now."""
    names = [Path(leads_to).name for leads_to in kernel.descriptors(pid)]
    return [name for name in names if name.startswith("access.log")]


def test_copytruncate_keeps_a_redirected_stdout_in_use(tmp_path: Path, logrotate: str) -> None:
    """Opened for appending, as the docs say, a writer goes on at the file's new end. What falls into the gap is lost, say the docs."""
    (tmp_path / "main.py").write_text("".join(line[4:] for line in APP.splitlines(keepends=True)))
    words = [
        "sh",
        "-c",
        'exec "$0" -m pronghorn main:app --port 0 --lifespan off >>access.log',
        sys.executable,
    ]
    with running(tmp_path, words) as server:
        for target in ("/before", "/after"):
            assert server.get(target).text == "hello"
            until(lambda target=target: target in (tmp_path / "access.log").read_text(), "no line")  # type: ignore[misc]
            if target == "/before":
                (tmp_path / "rotate.conf").write_text(
                    f"{tmp_path}/access.log {{\n copytruncate\n rotate 2\n}}\n"
                )
                command = [logrotate, "--force", "--state", f"{tmp_path}/state", f"{tmp_path}/rotate.conf"]
                subprocess.run(command, check=True)
        assert server.stop(signal.SIGTERM) == -signal.SIGTERM
    assert "/before" in (tmp_path / "access.log.1").read_text()
    assert (tmp_path / "access.log").read_text().startswith("INFO:"), "no hole before it"
