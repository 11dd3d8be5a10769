"""The loggers as configured, the handbook's two configurations word for word, and clear refusals."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pronghorn.errors import UsageError
from pronghorn.observe import access, logs
from pronghorn.observe.access import LoggingAccessLog
from pronghorn.observe.json_formatter import JsonFormatter
from tests.support.fresh_logging import fresh_logging

HANDBOOK_CONFIG = """
{
"version": 1,
"disable_existing_loggers": false,
"formatters": {
"default": {
"format": "%(asctime)s %(levelname)s %(name)s %(message)s",
"datefmt": "%Y-%m-%d %H:%M:%S"
},
"access": {
"format": "%(asctime)s %(levelname)s [%(name)s] %(client_addr)s - \\"%(request_line)s\\" %(status_code)s"
}
},
"handlers": {
"default": { "class": "logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stderr" },
"access": { "class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout" }
},
"loggers": {
"uvicorn": { "handlers": ["default"], "level": "INFO", "propagate": false },
"uvicorn.error": { "level": "INFO" },
"uvicorn.access": { "handlers": ["access"], "level": "INFO", "propagate": false }
}
}
"""

HANDBOOK_SNIPPET = """
# In your app's logging setup:
import logging
from pythonjsonlogger import jsonlogger
logger = logging.getLogger()
handler = logging.StreamHandler()
formatter = jsonlogger.JsonFormatter(
fmt='%(asctime)s %(levelname)s %(name)s %(message)s'
)
handler.setFormatter(formatter)
logger.addHandler(handler)
logger.setLevel(logging.INFO)
"""


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with fresh_logging(monkeypatch):
        yield


def log(name: str = "pronghorn.error") -> logging.Logger:
    return logging.getLogger(name)


class Exchange:
    scope: dict[str, Any] = {  # noqa: RUF012
        "type": "http",
        "method": "GET",
        "raw_path": b"/a\x1b",
        "query_string": b"b=1",
        "http_version": "1.1",
        "client": ("127.0.0.1", 5000),
        "headers": [],
    }
    status = 404
    request_id = ""
    bytes_in, bytes_out, started, first_byte = 0, 9, 0.0, 0.0


def access_line() -> None:
    LoggingAccessLog(log("pronghorn.access"), lambda: 0.0015).response_complete(Exchange())


# --- our own handlers ------------------------------------------------------------------------------------------


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    log().info("Started server process [%d]", 7)
    log("pronghorn").warning("naïve\x1b[31m\r\nINFO:     forged\u2028\x85")
    log().debug("not shown")
    access_line()
    out, err = capsys.readouterr()
    assert err == (
        "INFO:     Started server process [7]\nWARNING:  naïve\\x1b[31m\\r\\nINFO:     forged\\u2028\\x85\n"
    )
    assert out == 'INFO:     127.0.0.1:5000 - "GET /a\\x1B?b=1 HTTP/1.1" 404 Not Found 9B 1.50ms\n'


def test_traceback_keeps_its_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    try:
        raise ValueError("\x1b[31mred\r")
    except ValueError:
        log().exception("Exception in ASGI application")
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "ERROR:    Exception in ASGI application"
    assert err[1] == "Traceback (most recent call last):"
    assert err[-1] == "ValueError: \\x1b[31mred\\r"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(fmt="json")
    log().info("a\x1b\x7f\n\x85é", extra={"color_message": "red", "worker": 3})
    try:
        raise ValueError("no")
    except ValueError:
        log().exception("Exception in ASGI application")
    access_line()
    out, err = capsys.readouterr()
    first, second = map(json.loads, err.splitlines())
    assert out.isascii()
    assert err.replace("\n", "").isprintable()
    time = first.pop("time")
    assert len(time) == len("2026-11-22T12:00:00.123Z")
    assert time.endswith("Z")
    first.pop("taskName", None)
    assert first == {"level": "INFO", "logger": "pronghorn.error", "message": "a\x1b\x7f\n\x85é", "worker": 3}
    assert second["exception"].endswith("ValueError: no")
    assert json.loads(out)["status"] == 404


def test_json_time_is_utc() -> None:
    record = logging.makeLogRecord({"created": 1_800_000_000.0014, "msg": "m"})
    assert json.loads(JsonFormatter().format(record))["time"] == "2027-01-15T08:00:00.001Z"


@pytest.mark.parametrize(("level", "number"), [("trace", 5), ("DEBUG", 10), ("critical", 50), (15, 15)])
def test_level(level: str | int, number: int) -> None:
    logs.configure(level=level)
    for name in ("pronghorn", "pronghorn.error", "pronghorn.access"):
        assert log(name).getEffectiveLevel() == number
    assert logging.getLevelName(5) == "TRACE"


def test_unknown_level() -> None:
    with pytest.raises(UsageError, match=r"^--log-level: 'loud' is not one of critical, error"):
        logs.configure(level="loud")


def test_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    other = log("somebody.else")
    mine = logging.NullHandler()
    for fmt in ("text", "json", "auto"):
        log().addHandler(mine)
        logs.configure(fmt=fmt)
    log().info("once")
    access_line()
    out, err = capsys.readouterr()
    assert err == "INFO:     once\n"
    assert out.count("\n") == 1
    assert not other.disabled
    assert log().handlers == [mine]


def test_no_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(access_log=False)
    access_line()
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "use_colors", "colored"),
    [(Terminal, None, True), (Terminal, False, False), (io.StringIO, None, False), (io.StringIO, True, True)],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], use_colors: bool | None, colored: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", err := stream())
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    logs.configure(use_colors=use_colors)
    log().error("text")
    assert err.getvalue() == ("\x1b[31mERROR\x1b[0m:    text\n" if colored else "ERROR:    text\n")


def test_streams_that_do_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    logs.configure()
    for stream in (closed, Gone(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        log().error("nobody reads this")
    monkeypatch.setattr(sys, "stderr", err := io.StringIO())
    log().error("the stream of now is used")
    lost, told = err.getvalue().splitlines()
    assert re.fullmatch(
        r"WARNING:  2 lines were lost because stderr could not be written to \(.+\) for \d+\.\d s", lost
    )
    assert told == "ERROR:    the stream of now is used"


def test_what_an_application_logs_through_uvicorns_loggers(capsys: pytest.CaptureFixture[str]) -> None:
    early = log("uvicorn.error")
    assert not early.isEnabledFor(logging.INFO)  # logging remembers this answer
    logs.configure()
    early.info("early")
    log("uvicorn").info("plain")
    log("uvicorn.asgi").info("asgi")
    log("uvicorn.access").info("access")
    out, err = capsys.readouterr()
    assert err == "INFO:     early\nINFO:     plain\nINFO:     asgi\n"
    assert out == "INFO:     access\n"


def test_a_record_of_another_kind_in_the_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(use_colors=True)
    log("pronghorn.access").warning("not a\nrequest")
    assert capsys.readouterr().out == "\x1b[33mWARNING\x1b[0m:  not a\\nrequest\n"


# --- the handbook's configurations -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".yaml", "dictionary"])
def test_the_handbooks_log_config(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    file = tmp_path / f"log_config{suffix}"
    file.write_text(HANDBOOK_CONFIG)  # JSON is YAML too.
    source = json.loads(HANDBOOK_CONFIG) if suffix == "dictionary" else str(file)
    other = log("somebody.else")
    for _ in range(2):
        logs.configure(log_config=source)
    log().info("Application startup complete.")
    chosen = access.make(None, lambda: 0.0015)  # type: ignore[arg-type]
    assert isinstance(chosen, LoggingAccessLog)
    chosen.response_complete(Exchange())
    out, err = capsys.readouterr()
    assert err[20:] == "INFO pronghorn.error Application startup complete.\n"
    assert out[24:] == 'INFO [pronghorn.access] 127.0.0.1:5000 - "GET /a\\x1B?b=1 HTTP/1.1" 404\n'
    assert not other.disabled


@pytest.mark.filterwarnings("ignore:pythonjsonlogger.jsonlogger has been moved:DeprecationWarning")
@pytest.mark.parametrize("order", ["application first", "server first"])
@pytest.mark.parametrize("fmt", ["auto", "text", "json"])
def test_the_handbooks_json_snippet(capsys: pytest.CaptureFixture[str], order: str, fmt: str) -> None:
    if order == "server first":
        logs.configure(fmt=fmt)
    exec(HANDBOOK_SNIPPET, {})
    if order == "application first":
        logs.configure(fmt=fmt)
    log().info("Application startup complete.")
    log("app").info("from the application")
    chosen = access.make(None, lambda: 0.0015)  # type: ignore[arg-type]
    if fmt == "auto":
        # The application wants JSON, so all of it is: each record once, through its handler.
        assert isinstance(chosen, LoggingAccessLog)
        chosen.response_complete(Exchange())
        out, err = capsys.readouterr()
        server, application, request = map(json.loads, err.splitlines())
        assert out == ""
        assert server["name"] == "pronghorn.error"
        assert server["message"] == "Application startup complete."
        assert (request["client_addr"], request["status_code"], request["duration_ms"]) == (
            "127.0.0.1:5000",
            404,
            1.5,
        )
    else:
        # A format that was asked for is the one that comes out, once.
        assert isinstance(chosen, access.FastAccessLog)
        server_line, application_line = capsys.readouterr().err.splitlines()
        assert server_line.startswith("{" if fmt == "json" else "INFO:     Application")
        application = json.loads(application_line)
    assert application["message"] == "from the application"


def test_the_level_of_the_applications_handler_counts(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.setLevel(logging.ERROR)
    logging.root.addHandler(handler)
    logs.configure()
    log().info("no")
    log().error("yes")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["yes"]


# --- other configurations --------------------------------------------------------------------------------------


UVICORN_CONFIG: dict[str, Any] = {
    "version": 1,
    "formatters": {
        "default": {
            "()": "uvicorn.logging.DefaultFormatter",
            "fmt": "%(levelprefix)s %(message)s",
            "use_colors": None,
        },
        "access": {
            "()": "uvicorn.logging.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s',
        },
    },
    "handlers": {
        "default": {"formatter": "default", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "uvicorn.error": {"level": "INFO"},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}


def test_uvicorns_own_default(capsys: pytest.CaptureFixture[str]) -> None:
    before = json.dumps(UVICORN_CONFIG)
    other = log("somebody.else")
    logs.configure(log_config=UVICORN_CONFIG)
    log().info("hello")
    access_line()
    out, err = capsys.readouterr()
    assert err == "INFO:     hello\n"
    assert out == 'INFO:     127.0.0.1:5000 - "GET /a\\x1B?b=1 HTTP/1.1" 404 Not Found\n'
    assert json.dumps(UVICORN_CONFIG) == before
    assert not other.disabled


@pytest.mark.parametrize(("level", "number"), [("info", logging.NOTSET), ("debug", logging.DEBUG)])
def test_none_leaves_logging_alone(level: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler(stream))
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    logs.configure(level=level, log_config=None)
    log().info("hello")
    log("uvicorn.error").info("an application's own")
    assert stream.getvalue() == (
        "pronghorn.error hello\nan application's own\nuvicorn.error an application's own\n"
    )
    assert capsys.readouterr() == ("", "")
    assert log("pronghorn").level == number
    assert not log("pronghorn").handlers


def test_none_without_an_access_log() -> None:
    logs.configure(log_config=None, access_log=False)
    assert not log("pronghorn.access").hasHandlers()


def test_our_names_go_before_uvicorns() -> None:
    loggers = {"pronghorn": {"level": "ERROR"}, "uvicorn": {"level": "DEBUG"}}
    logs.configure(log_config={"version": 1, "loggers": loggers})
    assert log("pronghorn").level == logging.ERROR


@pytest.mark.parametrize(("level", "effective"), [("info", logging.ERROR), ("debug", logging.DEBUG)])
def test_a_level_other_than_the_default_goes_before_the_file(level: str, effective: int) -> None:
    logs.configure(level=level, log_config={"version": 1, "loggers": {"pronghorn": {"level": "ERROR"}}})
    assert log().getEffectiveLevel() == effective


def test_ini(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "logging.ini"
    file.write_text("""
[loggers]
keys=root,server
[handlers]
keys=console
[formatters]
keys=plain
[logger_root]
handlers=
[logger_server]
qualname=uvicorn.error
handlers=console
level=INFO
propagate=0
[handler_console]
class=StreamHandler
formatter=plain
args=(sys.stderr,)
[formatter_plain]
class=uvicorn.logging.DefaultFormatter
format=%(levelprefix)s %(message)s
""")
    other = log("somebody.else")
    logs.configure(log_config=file)
    log().info("hello")
    assert capsys.readouterr().err == "INFO:     hello\n"
    assert not other.disabled


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "a.json is not JSON: Expecting property name"),
        ("a.json", "[]", "a.json holds list, not a table"),
        ("a.json", "{}", "a.json is not a logging configuration: dictionary doesn't specify a version"),
        ("a.json", b"\xff", "a.json is not UTF-8"),
        (
            "a.json",
            '{"version": 1, "handlers": {"h": {"class": "no.such.Handler"}}}',
            "a.json is not a logging configuration: Unable to configure handler 'h': Cannot resolve",
        ),
        ("a.yaml", "{", "a.yaml is not YAML: while parsing"),
        ("a.YML", "", "a.YML holds NoneType, not a table"),
        ("a.ini", "nonsense", "a.ini is not a logging configuration: File contains no section headers"),
        ("a.conf", "[x]\ny=1", "a.conf is not a logging configuration: "),
    ],
)
def test_refusals(tmp_path: Path, name: str, text: str | bytes, said: str) -> None:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as raised:
        logs.configure(log_config=str(file))
    assert str(raised.value).startswith(f"--log-config: {tmp_path}/{said}")
    assert str(raised.value).isprintable()


def test_no_file_and_no_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^--log-config: cannot read .*gone\.json: No such file"):
        logs.configure(log_config=tmp_path / "gone.json")
    (tmp_path / "a.yaml").touch()
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match=r"PyYAML is not installed\. Install pronghorn\[yaml\]$"):
        logs.configure(log_config=tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["pronghorn.error", "pronghorn.access"])
def test_a_record_that_cannot_be_formatted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    log(name).info("%d", "no number")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("--- Logging error ---")
    assert "TypeError" in err
