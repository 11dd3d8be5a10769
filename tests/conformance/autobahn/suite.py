"""Runs the suite's fuzzing client against a server and reads what it found.

The client (`wstest -m fuzzingclient`) goes through its cases one after the other, each on a connection of its own, and
writes its report once it is through: index.json with two words for every case, and a file for each with the rest. It
runs in a container of its own on the host's network, because servers are tested on loopback. The container ends by
itself after a time, so that one whose starter was killed does not stay.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

#: Seconds between two lines that say how far a run is.
PULSE = 30

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What the suite thinks of one case: two words of its own (OK, NON-STRICT, FAILED and so on), and all that it noted."""

    behavior: str
    closing: str
    detail: dict[str, Any]

    def __str__(self) -> str:
        """What somebody needs who looks for the reason."""
        noted = {name: self.detail.get(name) for name in NOTED}
        lines = (f"{name}: {json.dumps(value)[:500]}" for name, value in noted.items())
        return "\n".join([f"behavior {self.behavior}, closing {self.closing}", *lines])


NOTED = (
    "description",
    "expectation",
    "expected",
    "received",
    "result",
    "resultClose",
    "remoteCloseCode",
    "wasNotCleanReason",
    "duration",
    "wirelog",
)


@dataclass(frozen=True)
class Report:
    """What came of one run: the cases that have an outcome, seconds of wall time, and the end of what the client said."""

    outcomes: dict[str, Outcome]
    seconds: float
    last_words: str


def prepare_image() -> str:
    """The name of the suite's image, which is made first if it is not there; minutes, told on stderr."""
    done = subprocess.run(
        [ROOT / "scripts/autobahn", "image"], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip()


LIST_CASES = """
from autobahntestsuite import fuzzing
cases = fuzzing.CaseSet(fuzzing.CaseSetname, fuzzing.CaseBasename, fuzzing.Cases, {}, {}).CasesIndices
print "\\n".join(sorted(cases, key=cases.get))
"""


def cases_of(image: str) -> list[str]:
    """The cases that the suite itself knows, in its own order."""
    command = ["docker", "run", "--rm", "--network", "none", image, "python", "-c", LIST_CASES]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


class Run:
    """A run on its way."""

    def __init__(self, image: str, url: str, cases: Sequence[str], folder: Path, limit: float) -> None:
        """`folder` is empty and gets the report; after `limit` seconds the client is ended."""
        self.container = f"pronghorn-autobahn-{secrets.token_hex(6)}"
        self._folder = folder
        self._log = folder / "client.log"
        self._total = len(cases)
        self._began = time.monotonic()
        self._limit = limit
        server = {"agent": "server", "url": url}
        spec = {"outdir": "/run/autobahn/report", "servers": [server], "cases": list(cases)}
        (folder / "spec.json").write_text(json.dumps(spec), "utf-8")
        create = [
            *("docker", "create", "--rm", "--name", self.container, "--network", "host", "--init"),
            *("--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{folder}:/run/autobahn"),
            *(image, "timeout", str(int(limit))),
            *("wstest", "--mode", "fuzzingclient", "--spec", "/run/autobahn/spec.json"),
        ]
        # By itself: an engine goes on creating for a client that has ended meanwhile, and nobody would remove what comes of it.
        subprocess.run(create, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["docker", "start", "--attach", self.container],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __repr__(self) -> str:
        return f"<Run {self._at()} of {self._total}>"

    def _at(self) -> int:
        """How many cases were begun."""
        return self._log.read_bytes().count(b"Running test case ID")

    def report(self, say: Say) -> Report:
        """Waits for the end of it; says from time to time how far it is. What was not finished in time has no outcome."""
        # The engine starts and ends a container within seconds; on a busy machine, within some more.
        until = self._began + self._limit + 60
        while time.monotonic() < until:
            try:
                self._process.wait(PULSE)
                break
            except subprocess.TimeoutExpired:
                say(f"{self._at()} of {self._total} cases after {time.monotonic() - self._began:.0f} s")
        self.end()
        seconds = time.monotonic() - self._began
        words = self._log.read_text("utf-8", "replace").splitlines()
        status = f"(the client's status is {self._process.returncode})"
        return Report(read(self._folder / "report"), seconds, "\n".join([*words[-8:], status]))

    def end(self) -> None:
        """Ends the client if it still runs."""
        if self._process.poll() is None:
            # Docker's own client first, which passes the signal on: after it, nobody starts the container any more.
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            docker_rm = ["docker", "rm", "--force", self.container]
            subprocess.run(docker_rm, capture_output=True, check=False)
            self._process.kill()
            self._process.wait()


@contextmanager
def started(image: str, url: str, cases: Sequence[str], folder: Path, limit: float) -> Iterator[Run]:
    """A run that ends with the block at the latest."""
    run = Run(image, url, cases, folder, limit)
    try:
        yield run
    finally:
        run.end()


def read(folder: Path) -> dict[str, Outcome]:
    """What a report says, case by case; nothing if there is no report."""
    index = folder / "index.json"
    if not index.exists():
        return {}
    (cases,) = json.loads(index.read_text("utf-8")).values()
    return {
        case: Outcome(
            words["behavior"],
            words["behaviorClose"],
            json.loads((folder / words["reportfile"]).read_text("utf-8")),
        )
        for case, words in cases.items()
    }
