"""`make smoke` and `make doctor`: they find the shipped stack good, and say of another one what is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.conftest import Built
from tests.integration.stack import Stack, new_name, project

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


KNOWN = ("--health", "/healthz", "--websocket", "/echo", "--stream", "/stream?gate=smoke")


def kept(said: str) -> set[str]:
    """The names of the tests that passed."""
    return set(re.findall(r"^PASSED .*::test_(\w+)", said, re.MULTILINE))


def make(stack: Stack, *arguments: str) -> tuple[int, str]:
    """A target of the Makefile, on a stack of the tests."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={**environment, "COMPOSE_PROJECT_NAME": stack.project},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_the_shipped_stack_keeps_the_contract(stack: Stack) -> None:
    code, said = make(stack, "smoke", f"SMOKE_ARGS={' '.join(KNOWN)}")
    assert code == 0, said
    named = {"it_is_healthy", "a_websocket_opens_and_closes", "a_stream_comes_while_it_is_made"}
    assert named <= kept(said), said


def test_it_keeps_the_contract_in_tls_too(stack: Stack) -> None:
    code, said = smoke(stack.tls_url, "--insecure", *KNOWN)
    assert code == 0, said
    assert {
        "a_websocket_opens_and_closes",
        "the_version_of_http_is_chosen_in_the_handshake",
        "no_version_of_tls_that_is_not",
    } <= kept(said), said


def test_the_doctor_finds_the_shipped_stack_well(stack: Stack) -> None:
    code, said = make(stack, "doctor")
    assert code == 0, said
    assert re.search(r"\b0 bad\b", said.splitlines()[-1]), said
    for well in (
        r"socket +/run/pronghorn/\S+ is listened on",
        r"health +healthy: http://127\.0\.0\.1:9464 answered 200",
        r"timeouts +an idle connection is kept for 75 s, longer than the 60 s of nginx",
        r"timeouts +requests get 30 s at a stop.*, the server is killed after 40 s",
        r"metrics +/dev/shm/pronghorn-\w+ has \d+ count files, [1-9]\d* of processes that live",
        r"sizes +the server takes what nginx lets through",
    ):
        assert re.search(rf"^ok +{well}", said, re.MULTILINE), said


def test_what_was_opted_into_is_kept_and_what_was_broken_is_found(images: Built, stack: Stack) -> None:
    """A second stack, of the images that `stack` has built."""
    settings = {"HTTPS_REDIRECT": "on", "HSTS": "max-age=63072000", "HTTP3": "off"}
    broken = ["tests/integration/short_keep_alive.yml"]
    with project(new_name(), {**images.variables, **settings}, build=False, more=broken) as second:
        code, said = smoke(second.tls_url, "--insecure", "--hsts", "--plain", second.url)
        assert code == 0, said
        assert {"clear_text_is_told_the_way", "browsers_are_told_to_come_by_tls_alone"} <= kept(said), said
        code, said = make(second, "doctor")
        assert code != 0
        found = re.findall(r"^bad +(.*)\n +-> (.*)$", said, re.MULTILINE)
        assert len(found) == 1, said
        assert "kept for 5 s, not longer than the 60 s of nginx" in found[0][0]
        assert found[0][1] == "Give --timeout-keep-alive 75"


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


@pytest.mark.parametrize(
    "arguments",
    [["127.0.0.1:8080"], ["http://127.0.0.1", "--version", "1.0"], ["http://127.0.0.1", "--hsts"]],
)
def test_what_cannot_be_asked(arguments: list[str]) -> None:
    code, said = smoke(*arguments)
    assert (code, "scripts/smoke: error:" in said) == (2, True)
