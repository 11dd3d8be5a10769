"""`scripts/smoke`: it finds the shipped stack good, and says of another server what is not."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.stack import Stack

ROOT = Path(__file__).resolve().parents[2]


def smoke(*arguments: str) -> tuple[int, str]:
    """Exit code and all of the output."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/smoke", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_the_shipped_stack_keeps_the_contract(stack: Stack) -> None:
    code, said = smoke(
        stack.url, "--health", "/healthz", "--websocket", "/echo", "--stream", "/stream?gate=smoke"
    )
    assert code == 0, said
    for kept in ("it_is_healthy", "a_websocket_opens_and_closes", "a_stream_comes_while_it_is_made"):
        assert re.search(rf"^PASSED .*::test_{kept}$", said, re.MULTILINE), said


class Careless(BaseHTTPRequestHandler):
    """A server as there are many: it says who it is, and shows its metrics to everybody."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"pronghorn_requests_total 1\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_HEAD = do_GET  # noqa: N815  # as http.server wants it

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def careless() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_not_kept_is_named(careless: str) -> None:
    code, said = smoke(careless, "--health", "/healthz")
    assert code == 1
    failed = set(re.findall(r"^FAILED .*::test_(\w+)", said, re.MULTILINE))
    assert failed >= {
        "every_answer_has_the_security_headers",
        "nobody_tells_versions",
        "every_answer_has_an_id_of_its_own",
        "what_is_for_the_inside_stays_there",
        "what_is_no_request_is_refused",
        "it_is_healthy",
    }
    assert "it_answers" not in failed


@pytest.mark.parametrize("arguments", [["127.0.0.1:8080"], ["http://127.0.0.1", "--version", "1.0"]])
def test_what_cannot_be_asked(arguments: list[str]) -> None:
    code, said = smoke(*arguments)
    assert (code, "scripts/smoke: error:" in said) == (2, True)
