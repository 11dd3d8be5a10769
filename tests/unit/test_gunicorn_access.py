"""Gunicorn's access log under our worker: every atom of its format, its switches, its loggers, and JSON."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config as GunicornConfig
from gunicorn.glogging import Logger

from pronghorn.observe.atoms import GunicornAccessLog
from tests.support.exchanges import exchange
from tests.support.gunicorn_process import gunicorn
from tests.unit.test_gunicorn_settings import HELLO


class Lines(Logger):  # type: ignore[misc]
    """Gunicorn's own logger, with what it would write kept instead."""

    def __init__(self, fmt: str) -> None:
        cfg = GunicornConfig()
        cfg.set("accesslog", "-")
        cfg.set("access_log_format", fmt)
        super().__init__(cfg)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.access_log = self  # Gunicorn's access() asks for nothing but its info()

    def info(self, fmt: str, atoms: Any) -> None:
        self.lines.append(fmt % atoms)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.errors.append(msg % args)


def line(fmt: str, *arguments: Any, **changes: Any) -> str:
    log = Lines(fmt)
    GunicornAccessLog(log, clock=lambda: 101.002003).response_complete(exchange(*arguments, **changes))
    assert log.errors == []
    [told] = log.lines
    return told


BASIC = b"Basic " + base64.b64encode(b"alice:secret")
HEADERS = [
    (b"user-agent", b"test/1"),
    (b"referer", b"http://from/"),
    (b"authorization", BASIC),
    (b"x-a", b"1"),
]


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        ("h", "127.0.0.1"),
        ("l", "-"),
        ("u", "alice"),
        ("r", "GET /a?b=1 HTTP/1.1"),
        ("m", "GET"),
        ("U", "/a"),
        ("q", "b=1"),
        ("H", "HTTP/1.1"),
        ("s", "404"),
        ("b", "13"),
        ("B", "13"),
        ("f", "http://from/"),
        ("a", "test/1"),
        ("T", "1"),
        ("M", "1002"),
        ("D", "1002003"),
        ("L", "1.002003"),
        ("{x-a}i", "1"),
        ("{X-A}i", "1"),
        ("{x-none}i", "-"),
        ("{x-mine}o", "yes"),
        ("{remote_addr}e", "127.0.0.1"),
        ("{remote_port}e", "5000"),
        ("{http_x_a}e", "1"),
        ("{wsgi.url_scheme}e", ""),
        ("{nothing}e", "-"),
    ],
)
def test_an_atom(atom: str, expected: str) -> None:
    told = line(f"%({atom})s", b"/a?b=1", headers=HEADERS, status=404, response_headers=[(b"X-Mine", b"yes")])
    assert told == expected


def test_time_and_process() -> None:
    assert re.fullmatch(r"\[\d\d/\w{3}/\d{4}(:\d\d){3} [+-]\d{4}\] <\d+>", line("%(t)s %(p)s"))


def test_a_peer_without_an_address_is_a_dash() -> None:
    assert line("%(h)s", client=None) == "-"


def test_no_response_is_a_status_of_0() -> None:
    assert line("%(s)s", status=0) == "0"


@pytest.mark.parametrize(
    ("field", "atom", "expected"),
    [
        ((b"user-agent", b'a" 200 5 "\x1b[31m\\'), "a", r"a\x22 200 5 \x22\x1B[31m\x5C"),
        ((b"authorization", b"Basic " + base64.b64encode(b'eve" \n[x]:p')), "u", r"eve\x22 \x0A[x]"),
        ((b"authorization", b"Basic A"), "u", "-"),
        ((b"authorization", b"Bearer token"), "u", "-"),
    ],
)
def test_what_a_client_sends_can_not_make_a_line_of_its_own(
    field: tuple[bytes, bytes], atom: str, expected: str
) -> None:
    assert line(f"%({atom})s", headers=[field]) == expected


def test_no_variable_has_the_password() -> None:
    told = base64.b64decode(line("%({http_authorization}e)s", headers=HEADERS).removeprefix("Basic "))
    assert told == b"alice:"


def test_a_spoilt_scope_and_a_broken_logger_disturb_nobody() -> None:
    class Broken(Lines):
        def access(self, resp: Any, req: Any, environ: Any, request_time: timedelta) -> None:
            raise ZeroDivisionError

    for log, client in ((Lines("%(r)s"), 1), (Broken("%(r)s"), None)):
        GunicornAccessLog(log).response_complete(exchange(client=client))
        assert log.errors == ["Error logging a request"]


# ---- Whole servers --------------------------------------------------------------------------------------------------


def test_the_format_takes_effect(tmp_path: Path) -> None:
    # The handbook's.
    with gunicorn(
        tmp_path,
        HELLO,
        *("--access-logfile", "-", "--access-logformat", '%(h)s "%(r)s" %(s)s %(b)s %({x-mine}o)s %(D)sµs'),
    ) as server:
        body = server.get("/a?b").body
        told = server.stdout.wait_for("/a?b")
        assert server.stop() == 0
    pattern = rf'127\.0\.0\.1 "GET /a\?b HTTP/1\.1" 200 {len(body)} \\x22quoted\\x22 [1-9]\d*µs'
    assert re.fullmatch(pattern, told)


def test_no_access_log_unless_it_is_asked_for(tmp_path: Path) -> None:
    with gunicorn(tmp_path, HELLO) as server:
        assert server.get("/").status == 200
        assert server.stop() == 0
    assert server.stdout.all() == []
    assert not any("GET / " in line for line in server.stderr.all())


def test_probes_that_find_all_well_are_not_logged(tmp_path: Path) -> None:
    environ = {"PRONGHORN_HEALTH_PATH": "/healthz"}
    with gunicorn(tmp_path, HELLO, "--access-logfile", "-", environ=environ) as server:
        assert server.get("/healthz").text == "ok"
        assert server.get("/other").status == 200
        server.stdout.wait_for("/other")
        assert server.stop() == 0
    assert not any("/healthz" in line for line in server.stdout.all())


LOGGERS = """
    from gunicorn.glogging import Logger

    class Counting(Logger):
        def access(self, resp, req, environ, request_time):
            print("counted", resp.status, resp.sent, req.method, req.path, request_time.total_seconds() >= 0, flush=True)
"""


def test_a_logger_class_of_ones_own_is_called_without_an_access_log_too(tmp_path: Path) -> None:
    (tmp_path / "loggers.py").write_text("\n".join(line[4:] for line in LOGGERS.splitlines()))
    with gunicorn(tmp_path, HELLO, "--logger-class", "loggers.Counting") as server:
        size = len(server.get("/path?query").body)
        assert server.stdout.wait_for("counted") == f"counted 200 OK {size} GET /path True"


def test_statsd_is_told(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(20)
        where = f"127.0.0.1:{sink.getsockname()[1]}"
        with gunicorn(tmp_path, HELLO, "--statsd-host", where) as server:
            server.get("/")
            told = b""
            while b"gunicorn.request.status.200" not in told:
                told = sink.recv(1000)


def test_what_the_application_logs_through_uvicorns_names_comes_out(tmp_path: Path) -> None:
    logs = """
        import logging

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            logging.getLogger("uvicorn.error").warning("said by the application")
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
    """
    with gunicorn(tmp_path, logs) as server:
        server.get("/")
        assert "[WARNING] said by the application" in server.stderr.wait_for("said by the application")
        assert server.stop() == 0
    assert sum("said by" in line for line in server.stderr.all()) == 1


@pytest.mark.parametrize("place", ["-", "access.log"])
def test_the_json_logger_writes_our_access_lines(tmp_path: Path, place: str) -> None:
    arguments = ("--logger-class", "pronghorn.workers.JsonLogger", "--access-logfile", place)
    with gunicorn(tmp_path, HELLO, *arguments) as server:
        with server.connect() as client:
            client.request("POST", "/a?b", "X-Request-ID: 7", body=b"12345")
            body = client.response().body
        assert server.stop() == 0
    lines = server.stdout.all() if place == "-" else (tmp_path / place).read_text().splitlines()
    [told] = [json.loads(line) for line in lines]
    assert {name: told[name] for name in ("method", "path", "query", "status", "bytes_in", "bytes_out")} == {
        "method": "POST",
        "path": "/a",
        "query": "b",
        "status": 200,
        "bytes_in": 5,
        "bytes_out": len(body),
    }
    assert (told["request_id"], told["logger"], told["protocol"]) == ("7", "pronghorn.access", "HTTP/1.1")
    for line in server.stderr.all():
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
