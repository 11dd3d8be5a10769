"""`python -m loadtest run|ui|master|worker`: the command line of Locust that fits the settings, which come from LOADTEST_... variables.

`run` is a test without containers: a process of Locust's, and LOADTEST_WORKERS more that have the users. `ui` is the same with the web UI, in which
users and duration can be changed. `master` and `worker` are what the containers run; LOADTEST_UI=1 gives that master the web UI.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from loadtest import settings, thresholds
from loadtest.settings import NO_VERDICT, LoadTestError, Settings
from loadtest.target import Target, require

HERE = Path(__file__).resolve().parent


def arguments(kind: str, given: Settings) -> list[str]:
    """Locust's own."""
    line = ["-f", str(HERE / "locustfile.py"), "--host", given.url]
    load = ["--users", str(given.users), "--spawn-rate", f"{given.spawn_rate:g}"]
    headless = ["--headless", *load, "--run-time", f"{max(1, round(given.duration))}s", "--only-summary"]
    # Tables for other programs are written by verdict.py: Locust's own writer of them may meet its closed files at the end.
    report = ["--html", str(given.reports / "report.html")]
    if kind == "worker":
        master = os.environ.get("LOADTEST_MASTER", "locust-master")
        return [*line[:2], "--worker", "--master-host", master, "--loglevel", "WARNING"]
    if kind == "master":
        spread = ["--master", "--expect-workers", str(given.workers)]
        return (
            [*line, *spread, *load]
            if with_ui()
            else [*line, *spread, *headless, *report, "--loglevel", "WARNING"]
        )
    # Two tests on one machine are not to share workers.
    port = str(free_port())
    local = ["--processes", str(given.workers), "--master-bind-host", "127.0.0.1"]
    local += ["--master-bind-port", port, "--master-port", port]
    if kind == "ui":
        web = os.environ.get("LOADTEST_PORT") or "8089"
        return [*line, *local, *load, "--web-host", "127.0.0.1", "--web-port", web]
    return [*line, *local, *headless, *report, "--loglevel", "WARNING"]


def with_ui() -> bool:
    """Whether the master of the containers has the web UI."""
    return os.environ.get("LOADTEST_UI", "") not in {"", "0"}


def free_port() -> int:
    """One of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(words: list[str]) -> NoReturn:
    """Becomes Locust, or says in one line why not."""
    if len(words) != 1 or words[0] not in {"run", "ui", "master", "worker"}:
        print("usage: python -m loadtest run|ui|master|worker", file=sys.stderr)
        sys.exit(NO_VERDICT)
    try:
        given = settings.read(os.environ)
        thresholds.load(given.thresholds, given.limits)
        # In the web UI somebody may still change where it goes. Workers are told to.
        if words[0] == "run" or (words[0] == "master" and not with_ui()):
            require(Target.of(given), given.scenarios)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NO_VERDICT)
    os.execv(  # noqa: S606 - our own interpreter, with arguments of our own
        sys.executable, [sys.executable, "-m", "locust", *arguments(words[0], given)]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
