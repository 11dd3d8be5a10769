"""Starts the real `gunicorn` with our worker in a process of its own, and never leaves a worker behind.

    with gunicorn(tmp_path, APP, "--timeout", "2") as server:
        server.get("/")
        server.send_signal(signal.SIGHUP)

What `tests.support.process` says of a server holds here too; its port is the one that the workers tell.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support import kernel
from tests.support.process import ServerProcess, running

ROOT = Path(__file__).resolve().parents[2]
BOOTING = "Booting worker with pid: "


def workers(server: ServerProcess) -> list[int]:
    """The ids of all workers that were ever started, oldest first."""
    return [int(pid) for line in server.stderr.so_far() for pid in re.findall(rf"{BOOTING}(\d+)", line)]


def message(line: str) -> str:
    """A line without Gunicorn's time, process id and level."""
    return re.sub(r"^\[[^\]]*\] \[\d+\] \[[A-Z]+\] ", "", line)


@contextlib.contextmanager
def gunicorn(
    folder: Path,
    app: str,
    *arguments: str,
    worker: str = "PronghornWorker",
    bind: str | None = "127.0.0.1:0",
    ready: int = 1,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[ServerProcess]:
    """`app`, source text or module:attribute, under Gunicorn; waits until so many workers serve.

    Without `bind` and without `worker` the arguments, or the configuration file that they name, say both.
    """
    words = [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore::ResourceWarning",
        str(Path(sys.executable).with_name("gunicorn")),
    ]
    if "\n" in app:
        (folder / "main.py").write_text(textwrap.dedent(app), "utf-8")
        app = "main:app"
    words += [app] if app else []
    words += ["--worker-class", f"pronghorn.workers.{worker}"] if worker else []
    words += ["--bind", bind] if bind else []
    path = os.pathsep.join([str(folder), str(ROOT)])
    found = {"PYTHONPATH": path, "XDG_RUNTIME_DIR": str(folder), **(environ or {})}
    with running(folder, [*words, *arguments], environ=found, **options) as server:
        try:
            if ready:
                server.running_on(ready)
            yield server
        finally:
            # Its workers notice within a second that it has gone, unless a test blocks them.
            for pid in workers(server):
                # An id may have been given to somebody else.
                if kernel.parent(pid) == server.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
