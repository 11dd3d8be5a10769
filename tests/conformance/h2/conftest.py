"""One server in clear text and one over TLS for the whole session, and how many cases of each section have passed."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conformance.h2.table import order
from tests.support.h2_raw_client import Client
from tests.support.process import ServerProcess, serving

ROOT = Path(__file__).resolve().parents[3]
SERVED = ("tests.conformance.h2.app:app", "--app-dir", str(ROOT))
FILES = ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")

COUNTS = pytest.StashKey[Counter[tuple[str, str]]]()
COSTS = pytest.StashKey[list[tuple[str, str]]]()
CASE = re.compile(r"conformance/h2/test_cases\.py::.*\[\w+-([\w.-]+?)/")


@dataclass
class Subject:
    """A running server, and how it is asked: in clear text with prior knowledge, or over TLS."""

    server: ServerProcess
    tls: ssl.SSLContext | None = None

    def socket(self) -> socket.socket:
        sock = self.server.connect(self.tls).sock
        if isinstance(sock, ssl.SSLSocket):
            assert sock.selected_alpn_protocol() == "h2"
        return sock

    def connect(self, *values: tuple[int, int], **options: Any) -> Client:
        """A connection with these settings of the client."""
        return Client(self.socket(), *values, **options)

    def seen(self) -> list[dict[str, Any]]:
        """The requests that reached the application since this was last asked."""
        with self.connect() as client:
            requests: list[dict[str, Any]] = json.loads(client.get(b"/seen").body)
        return requests


@contextlib.contextmanager
def started(
    *flags: str, tls: trustme.CA | None = None, http2: bool = True, shameful: bool = False
) -> Iterator[Subject]:
    """A server of its own, told to speak HTTP/2 if `http2`; `shameful` where an application fails on purpose."""
    context = None
    # Short enough for a socket's path.
    with tempfile.TemporaryDirectory(prefix="ph-", dir="/tmp") as name:
        if tls is not None:
            issued = tls.issue_cert("localhost")
            issued.cert_chain_pems[0].write_to_path(Path(name, "cert.pem"))
            issued.private_key_pem.write_to_path(Path(name, "key.pem"))
            context = ssl.create_default_context()
            context.set_alpn_protocols(["h2"])
            tls.configure_trust(context)
            flags = (*FILES, *flags)
        if http2:
            flags = ("--http2", *flags)
        with serving(Path(name), *SERVED, *flags, shameful=shameful) as server:
            yield Subject(server, context)


@pytest.fixture(scope="session")
def clear() -> Iterator[Subject]:
    with started("--loop", "uvloop") as subject:
        yield subject


@pytest.fixture(scope="session")
def over_tls() -> Iterator[Subject]:
    with started("--loop", "asyncio", tls=trustme.CA()) as subject:
        yield subject


@pytest.fixture(params=["clear", "tls"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each of both."""
    found: Subject = request.getfixturevalue({"clear": "clear", "tls": "over_tls"}[request.param])
    return found


# ---- The summary ----------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = Counter()
    config.pluginmanager.register(_Counting(config.stash[COUNTS]), "h2-cases")


class _Counting:
    """Counts outcomes by section."""

    def __init__(self, counts: Counter[tuple[str, str]]) -> None:
        self.counts = counts

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        match = CASE.search(report.nodeid)
        if match is not None and report.when == "call":
            self.counts[match[1], report.outcome] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What attacks have cost; then the cases passed, of all that were played, by section."""
    costs = config.stash.get(COSTS, [])
    if costs:
        terminalreporter.section("HTTP/2: what attacks have cost the server")
    for name, cost in costs:
        terminalreporter.write_line(f"{cost}  {name}")
    counts = config.stash[COUNTS]
    if not counts:
        return
    passed, failed = (
        Counter({section: count for (section, outcome), count in counts.items() if outcome == wanted})
        for wanted in ("passed", "failed")
    )
    total = passed + failed
    terminalreporter.section(f"HTTP/2: {passed.total()} of {total.total()} cases passed")
    sections = [f"{section} {passed[section]}/{total[section]}" for section in sorted(total, key=order)]
    for at in range(0, len(sections), 8):
        terminalreporter.write_line("   ".join(sections[at : at + 8]))
