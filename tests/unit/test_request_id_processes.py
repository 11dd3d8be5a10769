"""Request ids in real processes: every line of an application's own, from wherever it logs, and under Gunicorn as well."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.gunicorn_process import gunicorn
from tests.support.process import serving

APP = """
    import asyncio
    import json
    import logging
    import sys
    import threading

    from pronghorn.observe.json_formatter import JsonFormatter

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("app")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.info("imported")
    background = set()


    async def later():
        await asyncio.sleep(0)
        logger.info("in a background task")


    async def app(scope, receive, send):
        assert scope["type"] == "http"
        logger.info("in the handler")
        await asyncio.to_thread(logger.info, "in a thread")
        logger.info("with its own", extra={"request_id": "own"})
        task = asyncio.create_task(later())
        background.add(task)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        logger.info("after the response")
        await task
"""
PLACES = ("in the handler", "in a thread", "after the response", "in a background task")


def by_message(lines: list[str], logger: str) -> list[tuple[str, str | None]]:
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return [(line["message"], line.get("request_id")) for line in told if line["logger"] == logger]


@pytest.mark.parametrize(("http", "loop"), [("httptools", "uvloop"), ("h11", "asyncio")])
def test_every_line_of_a_request_has_its_id(tmp_path: Path, http: str, loop: str) -> None:
    with serving(tmp_path, APP, "--log-format", "json", "--http", http, "--loop", loop) as server:
        with server.connect() as client:
            made = client.get("/")["x-request-id"]
            given = client.get("/", "X-Request-ID: 7f")["x-request-id"]
        server.stop()
    lines = server.stdout.all()

    assert made is not None
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert given == "7f"
    said = by_message(lines, "app")
    assert said[0] == ("imported", None)
    expected = [(place, name) for place in PLACES for name in (made, given)] + 2 * [("with its own", "own")]
    assert sorted(said[1:]) == sorted(expected)
    assert [name for _, name in by_message(lines, "pronghorn.access")] == [made, given]


def test_an_id_of_a_stranger_is_nowhere(tmp_path: Path) -> None:
    arguments = ("--log-format", "json", "--forwarded-allow-ips", "192.0.2.1")
    with serving(tmp_path, APP, *arguments) as server:
        with server.connect() as client:
            answer = client.get("/", "X-Request-ID: stranger")
        server.stop()
    assert "stranger" not in "".join([*server.stdout.all(), *server.stderr.all(), str(answer.headers)])


def test_no_request_id(tmp_path: Path) -> None:
    with serving(tmp_path, APP, "--log-format", "json", "--no-request-id") as server:
        with server.connect() as client:
            assert client.get("/", "X-Request-ID: 7f")["x-request-id"] is None
        server.stop()
    lines = server.stdout.all()
    assert {name for _, name in by_message(lines, "app")} == {None, "own"}
    assert by_message(lines, "pronghorn.access")[0][1] is None


def test_a_format_that_asks_for_it_works_everywhere(tmp_path: Path) -> None:
    """In a logging configuration as written for Uvicorn; in the supervisor too, which has no requests."""
    config: dict[str, Any] = {
        "version": 1,
        "formatters": {
            "own": {"format": "%(name)s [%(request_id)s] %(message)s"},
            "access": {
                "()": "uvicorn.logging.AccessFormatter",
                "fmt": "access [%(request_id)s] %(status_code)s",
                "use_colors": False,
            },
        },
        "handlers": {
            "own": {"class": "logging.StreamHandler", "formatter": "own", "stream": "ext://sys.stderr"},
            "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
        },
        "loggers": {
            "uvicorn": {"handlers": ["own"], "level": "INFO", "propagate": False},
            "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        },
    }
    (tmp_path / "logging.json").write_text(json.dumps(config))
    app = """
        async def app(scope, receive, send):
            assert scope["type"] == "http"
            raise ValueError
    """
    arguments = ("--log-config", "logging.json", "--workers", "2")
    with serving(tmp_path, app, *arguments, shameful=True) as server:
        with server.connect() as client:
            client.get("/", "X-Request-ID: 7f")
        server.stdout.wait_for("access [7f] 500 Internal Server Error")
        server.stderr.wait_for("pronghorn.error [7f] Exception in ASGI application")
        server.stop()
    assert [line for line in server.stderr.all() if "Logging error" in line] == []
    assert any(line.startswith("pronghorn.error [-] ") for line in server.stderr.so_far())


def test_under_gunicorn(tmp_path: Path) -> None:
    atoms = "%({x-request-id}i)s %({x-request-id}o)s %({request_id}e)s"
    arguments = ("--access-logfile", "-", "--access-logformat", f"atoms {atoms}")
    with gunicorn(tmp_path, APP, *arguments) as server:
        with server.connect() as client:
            made = client.get("/")["x-request-id"]
            assert client.get("/", "X-Request-ID: 7f")["x-request-id"] == "7f"
        server.stdout.wait_for("atoms 7f 7f 7f")
        assert server.stop() == 0
    lines = server.stdout.all()
    assert f"atoms {made} {made} {made}" in lines
    expected = [(place, name) for place in PLACES for name in (made, "7f")] + 2 * [("with its own", "own")]
    assert sorted(by_message(lines, "app")[1:]) == sorted(expected)


def test_the_arbiter_of_gunicorn_knows_the_name_too(tmp_path: Path) -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"own": {"format": "[%(request_id)s] %(message)s"}},
        "handlers": {
            "own": {"class": "logging.StreamHandler", "formatter": "own", "stream": "ext://sys.stderr"}
        },
        "root": {"handlers": ["own"], "level": "INFO"},
        "loggers": {"gunicorn.error": {"handlers": ["own"], "level": "INFO", "propagate": False}},
    }
    (tmp_path / "logging.json").write_text(json.dumps(config))
    with gunicorn(tmp_path, APP, "--log-config-json", "logging.json") as server:
        assert server.stop() == 0
    lines = server.stderr.all()
    assert any(line.startswith("[-] Starting gunicorn") for line in lines)
    assert [line for line in lines if "Logging error" in line] == []


WSGI = """
    import logging
    import sys

    logging.basicConfig(stream=sys.stdout, format="said [%(request_id)s] %(message)s")


    def app(environ, start_response):
        logging.warning("%s", environ["HTTP_X_REQUEST_ID"])
        start_response("200 OK", [])
        return [b""]
"""


def test_a_wsgi_application_on_its_thread(tmp_path: Path) -> None:
    with serving(tmp_path, WSGI, "--interface", "wsgi") as server:
        with server.connect() as client:
            client.get("/", "X-Request-ID: 7f", "X_Request_ID: forged")
        server.stdout.wait_for("said [7f] 7f")
