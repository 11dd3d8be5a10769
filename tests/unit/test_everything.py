"""--log-format json: every line of the output is JSON, whatever the application does about logging."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.gunicorn_process import gunicorn
from tests.support.process import running, serving

ANSWER = """
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            startup()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        request()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
    """
TALKATIVE = """
    import logging, threading, warnings

    log = logging.getLogger("shop")

    def startup():
        pass

    def request():
        log.debug("hidden")
        log.info("An order\\nof two lines", extra={"order": 7})
        warnings.simplefilter("always")
        warnings.warn("That is old", DeprecationWarning, stacklevel=2)
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception("It went wrong")
        def fail():
            raise KeyError("in a thread")
        thread = threading.Thread(target=fail, name="worker-7")
        thread.start()
        thread.join()
        log.info("%d", "no number")
        class Bad:
            def __del__(self):
                raise ValueError("in __del__")
        Bad()
        raise RuntimeError("let through")
    """


def talks(*lines: str, at: str = "import") -> str:
    """An application that sets up logging, when it is imported or in its lifespan, and logs."""
    setup = "\n".join(f"    {line}" for line in lines)
    call = "setup()" if at == "import" else ""
    return textwrap.dedent(
        f"""
import logging, logging.config, sys

def setup():
    pass
{setup}

{call}
log = logging.getLogger("shop")

def startup():
    {"setup()" if at == "lifespan" else "pass"}

def request():
    log.info("An order", extra={{"order": 7}})
    logging.getLogger("other").warning("Another")
"""
    ) + textwrap.dedent(ANSWER)


def told(tmp_path: Path, app: str, *flags: str) -> tuple[list[str], list[str]]:
    """What the server prints to stdout and stderr while it answers one request."""
    with serving(tmp_path, app, "--log-format", "json", *flags, shameful=True) as server:
        server.get("/")
        server.stdout.wait_for('"path"')
        server.stop()
    return server.stdout.all(), server.stderr.all()


def records(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def of(name: str, lines: list[str]) -> list[dict[str, Any]]:
    return [record for record in records(lines) if record["logger"] == name]


@pytest.mark.parametrize("flags", [(), ("--workers", "1", "--supervise"), ("--workers", "2", "--preload")])
def test_an_application_that_does_nothing_about_logging(tmp_path: Path, flags: tuple[str, ...]) -> None:
    out, err = told(tmp_path, textwrap.dedent(TALKATIVE) + textwrap.dedent(ANSWER), *flags)
    assert len(records(out)) == 1
    first, wrong, bad = of("shop", err)
    assert (first["level"], first["message"], first["order"]) == ("INFO", "An order\nof two lines", 7)
    assert wrong["message"] == "It went wrong"
    assert wrong["exception"].startswith("Traceback")
    assert wrong["exception"].endswith("ZeroDivisionError: division by zero")
    assert bad["message"].startswith("A log record cannot be formatted: '%d' with ('no number',), made in ")
    assert "TypeError" in bad["exception"]
    [warning] = of("py.warnings", err)
    assert "DeprecationWarning: That is old" in warning["message"]
    server = {record["message"]: record for record in of("pronghorn.error", err)}
    assert server["Uncaught exception in thread worker-7"]["exception"].endswith("KeyError: 'in a thread'")
    assert server["Exception in ASGI application"]["exception"].endswith("RuntimeError: let through")
    assert any("__del__" in message for message in server)


@pytest.mark.parametrize("at", ["import", "lifespan"])
@pytest.mark.parametrize(
    "call",
    [
        "logging.basicConfig()",
        'logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stdout)',
        "logging.basicConfig(level=logging.INFO, force=True)",
    ],
)
def test_basic_config(tmp_path: Path, at: str, call: str) -> None:
    out, err = told(tmp_path, talks(call, at=at))
    assert len(records(out)) == 1
    [order] = of("shop", err)
    assert (order["message"], order["order"]) == ("An order", 7)
    assert len(of("other", err)) == 1


DICT = """logging.config.dictConfig({"version": 1, "disable_existing_loggers": False,
        "formatters": {"f": {"format": "mine %(message)s"}},
        "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f", "stream": "ext://sys.stderr"}},"""


@pytest.mark.parametrize("at", ["import", "lifespan"])
def test_a_full_configuration_is_left_alone(tmp_path: Path, at: str) -> None:
    root = DICT + '"root": {"handlers": ["h"], "level": "INFO"}})'
    _, err = told(tmp_path, talks(root, at=at))
    assert [line for line in err if not line.startswith("{")] == ["mine An order", "mine Another"]
    assert of("pronghorn.error", [line for line in err if line.startswith("{")])


def test_a_handler_of_one_logger_is_left_alone_and_says_it_once(tmp_path: Path) -> None:
    one = DICT + '"loggers": {"shop": {"handlers": ["h"], "level": "INFO"}}})'
    _, err = told(tmp_path, talks(one))
    assert [line for line in err if "An order" in line] == ["mine An order"]
    assert [json.loads(line)["logger"] for line in err if "Another" in line] == ["other"]


def test_the_applications_level_is_log_level(tmp_path: Path) -> None:
    _, err = told(tmp_path, talks("pass"), "--log-level", "debug")
    assert len(of("shop", err)) == 1
    with serving(tmp_path, talks("log = logging.getLogger('x'); log.info('no'); log.error('yes')"),
                 "--log-format", "json", "--log-level", "warning", ready=False) as server:  # fmt: skip
        server.stderr.wait_for("yes")
        server.stop()
    assert [record["message"] for record in records(server.stderr.all())] == ["yes"]


def test_text_leaves_the_application_alone(tmp_path: Path) -> None:
    with serving(tmp_path, talks("pass"), "--log-format", "text") as server:
        server.get("/")
        server.stderr.wait_for("Another")
        server.stop()
    assert [line for line in server.stderr.all() if "Another" in line] == ["Another"]
    assert not any("An order" in line for line in server.stderr.all())


@pytest.mark.parametrize("flags", [(), ("--workers", "2"), ("--workers", "2", "--preload")])
def test_what_ends_the_process_is_json(tmp_path: Path, flags: tuple[str, ...]) -> None:
    app = "\nraise LookupError('no such thing')\n"
    (tmp_path / "main.py").write_text(app)
    words = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pronghorn",
        "main:app",
        "--port",
        "0",
        "--log-format",
        "json",
    ]
    with running(tmp_path, [*words, *flags], shameful=True) as server:
        assert server.wait() > 0
    found = records(server.stderr.all())
    assert any("LookupError: no such thing" in record.get("exception", "") for record in found)
    assert found[-1]["level"] == "CRITICAL"
    assert server.stdout.all() == []


def test_a_program_with_a_basic_configuration(tmp_path: Path) -> None:
    program = (
        talks("logging.basicConfig(level=logging.INFO)")
        + "\nimport pronghorn\npronghorn.run(app, port=0, log_format='json')\n"
    )
    (tmp_path / "program.py").write_text(program)
    with running(tmp_path, [sys.executable, "program.py"]) as server:
        server.running_on()
        server.get("/")
        server.stdout.wait_for('"path"')
        server.stop()
    assert len(of("shop", server.stderr.all())) == 1


@pytest.mark.parametrize("flags", [(), ("--preload",)])
def test_gunicorn_s_json_logger(tmp_path: Path, flags: tuple[str, ...]) -> None:
    arguments = ("--logger-class", "pronghorn.workers.JsonLogger", "--access-logfile", "-", *flags)
    app = textwrap.dedent(TALKATIVE) + textwrap.dedent(ANSWER)
    with gunicorn(tmp_path, app, *arguments, shameful=True) as server:
        server.get("/")
        server.stdout.wait_for('"path"')
        server.stop()
    assert len(records(server.stdout.all())) == 1
    assert [record["message"] for record in of("shop", server.stderr.all())][:2] == [
        "An order\nof two lines",
        "It went wrong",
    ]
