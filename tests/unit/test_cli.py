"""The command: its flags, what it prints, and that whatever goes wrong is one line and the right exit code."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pronghorn
from pronghorn import cli, usage
from pronghorn.config import OPTIONS
from pronghorn.errors import StartupError, UsageError
from pronghorn.wire import ports

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours but those that a test sets, an empty folder, and the path as it was."""
    for name in os.environ:
        if name.startswith(("PRONGHORN_", "UVICORN_")) or name in {"WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; returns exit code, stdout and stderr."""

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert isinstance(caught.value.code, int)
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return command


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been served: a Config for each time."""
    configs: list[Any] = []
    monkeypatch.setattr(cli, "_serve", configs.append)
    return configs


def values(out: str) -> dict[str, tuple[str, str]]:
    """--print-config read back: value and source by name."""
    rows: dict[str, tuple[str, str]] = {}
    for line in out.splitlines():
        name, value, source = re.split(r" {2,}", line)
        rows[name] = (value, source)
    return rows


# What it tells


def test_help(run: Run) -> None:
    assert run("--help") == (0, usage.help_of(cli.SERVE) + "\n", "")
    assert run("healthcheck", "--help") == (0, usage.help_of(cli.HEALTHCHECK) + "\n", "")
    assert run("--port", "x", "--help", "one", "two")[0] == 0, "help comes before what is wrong with the rest"


def test_version(run: Run) -> None:
    version = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    if not ports.__file__.endswith(".py"):
        version += ", compiled"
    assert run("--version") == (0, f"Running pronghorn {pronghorn.__version__} with {version}\n", "")


# From flags to a Config


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--host", "0.0.0.0", "--port", "8080"], {"host": "0.0.0.0", "port": 8080}),
        (["--port=0"], {"port": 0}),
        (["--uds", "/tmp/app.sock", "--uds-mode", "660"], {"uds": "/tmp/app.sock", "uds_mode": 0o660}),
        (["--fd", "3"], {"fd": 3}),
        (["--no-access-log", "--use-colors"], {"access_log": False, "use_colors": True}),
        (["--no-use-colors"], {"use_colors": False}),
        (
            ["--header", "X-A:1", "--header", "X-B: two words"],
            {"headers": [("X-A", "1"), ("X-B", "two words")]},
        ),
        (["--header", "X-Served-By", "uvicorn"], {"headers": [("X-Served-By", "uvicorn")]}),
        (["--header", "X-A", "b:c", "--header=X-D:e"], {"headers": [("X-A", "b:c"), ("X-D", "e")]}),
        (["--ws-per-message-deflate", "true"], {"ws_per_message_deflate": True}),
        (["--http", "my.parser:Parser"], {"http": "my.parser:Parser"}),
        (["--timeout-keep-alive", "2.5"], {"timeout_keep_alive": 2.5}),
        (["--factory", "--app-dir", "."], {"factory": True, "app_dir": "."}),
        (["--port", "1", "--port", "2"], {"port": 2}),
        (["--reload-include", "*.py"], {"reload_includes": ["*.py"]}),
        ([], {"app_dir": ".", "headers": [], "workers": 1}),
    ],
)
def test_flags(run: Run, served: list[Any], words: list[str], expected: dict[str, Any]) -> None:
    for arguments in ([*words, "main:app"], ["main:app", *words], [*words, "--", "main:app"]):
        assert run(*arguments) == (0, "", "")
        config = served.pop()
        assert config.app == "main:app"
        assert {name: getattr(config, name) for name in expected} == expected


def test_the_application_may_come_from_the_environment(
    run: Run, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRONGHORN_APP", "main:app")
    assert run() == (0, "", "")
    assert served.pop().app == "main:app"
    assert run("other:app")[0] == 0
    assert served.pop().app == "other:app"


def test_a_warning_is_a_line_and_does_not_stop_anything(run: Run, served: list[Any]) -> None:
    line = "pronghorn: warning: --port has no effect beside --uds\n"
    assert run("main:app", "--uds", "/a", "--port", "1") == (0, "", line)
    assert len(served) == 1


# --print-config


def test_print_config_shows_every_value_and_its_source(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pronghorn]\nbacklog = 7\n")
    monkeypatch.setenv("PRONGHORN_HOST", "::1")
    monkeypatch.setenv("UVICORN_UDS_MODE", "0640")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    code, out, err = run("--print-config", "--port", "9", "--uds", "/a", "--header", "A: b")
    assert code == 0
    assert len(err.splitlines()) == 2  # host and port beside a Unix socket
    shown = values(out)
    assert set(shown) == set(OPTIONS)
    assert shown["port"] == ("9", "--port")
    assert shown["host"] == ("::1", "PRONGHORN_HOST")
    assert shown["uds_mode"] == ("640", "UVICORN_UDS_MODE")
    assert shown["backlog"] == ("7", "[tool.pronghorn] in pyproject.toml")
    assert shown["forwarded_allow_ips"] == ("*", "FORWARDED_ALLOW_IPS")
    assert shown["headers"] == ("A:b", "--header")
    assert shown["app"] == ("-", "default")
    assert shown["limit_request_body"] == ("-", "default")
    assert shown["access_log"] == ("true", "default")


def test_a_secret_is_not_shown_anywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRONGHORN_SSL_KEYFILE_PASSWORD", "hunter2")
    code, out, err = run("--print-config")
    assert code == 0
    assert values(out)["ssl_keyfile_password"] == ("******", "PRONGHORN_SSL_KEYFILE_PASSWORD")
    assert "hunter2" not in out + err


# Errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prot", "1"], "there is no option --prot. Did you mean --port?"),
        (["--no-relaod"], "there is no option --no-relaod. Did you mean --no-reload?"),
        (["--zzzzzzzzzz"], "there is no option --zzzzzzzzzz"),
        (["-q"], "there is no option -q"),
        (["--port"], "option '--port' requires an argument. See pronghorn --help"),
        (["--reload=1"], "option '--reload' does not take a value. See pronghorn --help"),
        (["main:app", "8000"], "got unexpected extra argument (8000). See pronghorn --help"),
        (["main:app", "--", "--port", "1"], "got unexpected extra arguments (--port 1). See pronghorn --help"),
        (["healthcheck", "main:app"], "got unexpected extra argument (main:app). See pronghorn healthcheck --help"),
        ([], "APP: no application was given. Give module:attribute, such as main:app"),
        (["--port", "x", "main:app"], "--port: 'x' is not a whole number"),
        (["--uds-mode", "999", "main:app"], "--uds-mode: '999' is not an octal mode such as 660"),
        (["--header", "X-A"], "--header: 'X-A' has no colon, write Name:Value"),
        (["--log-config", "no.json", "main:app"], "--log-config: no such file: 'no.json'"),
        (["--uds", "/a", "--fd", "3", "main:app"], "--fd: cannot be given together with --uds, listen on one of them"),
        (["--port", "1", "healthcheck"], "healthcheck comes before its options. Write pronghorn healthcheck --port 8000"),
        (
            ["healthcheck"],
            "--admin: there is nobody to ask: neither an admin listener nor a health path was given. Give --admin here or as PRONGHORN_ADMIN, to the server as well; or --health-path",
        ),
        (
            ["healthcheck", "--live", "--health-path", "/healthz"],
            "--live: the admin listener alone tells. Give --admin here or as PRONGHORN_ADMIN, to the server as well",
        ),
        (
            ["healthcheck", "--live", "--ready"],
            "--live and --ready are two questions, ask one. See pronghorn healthcheck --help",
        ),
        (
            ["healthcheck", "--admin", ":0"],
            "--admin: port 0 is a different one each time. Give the port of the running server",
        ),
        (["healthcheck", "--timeout", "x"], "--timeout: 'x' is not a number of seconds"),
        (["healthcheck", "--prot", "1"], "there is no option --prot. Did you mean --port?"),
        (["healthcheck", "--port", "0"], "--port: port 0 is a different one each time. Give the port of the running server"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_line_and_exit_code_2(
    run: Run, served: list[Any], words: list[str], message: str
) -> None:
    assert run(*words) == (2, "", f"pronghorn: error: {message}\n")
    assert served == []


def test_a_value_with_control_characters_stays_on_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRONGHORN_PORT", "80\n\x1b[31m")
    code, out, err = run("main:app")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_an_error_of_the_server_is_told_with_the_source_of_its_value(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: Any) -> None:
        raise StartupError("address already in use", option="--port", hint="Stop the other one") from OSError(
            "x"
        )

    monkeypatch.setattr(cli, "_serve", fail)
    monkeypatch.setenv("PRONGHORN_PORT", "80")
    line = "pronghorn: error: --port: address already in use (from PRONGHORN_PORT). Stop the other one\n"
    assert run("main:app") == (3, "", line)


def test_an_interrupt_that_the_server_passes_on_is_a_clean_exit(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_serve", interrupted)
    assert run("main:app") == (0, "", "")


# pronghorn.run


def test_run_makes_a_config_and_serves_it(served: list[Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Not called."""

    pronghorn.run(app, host="0.0.0.0", port=1, workers=None, log_level="warning")
    assert (served[0].app, served[0].host, served[0].port) == (app, "0.0.0.0", 1)


def test_run_with_an_option_that_does_not_exist_is_a_type_error(served: list[Any]) -> None:
    with pytest.raises(TypeError, match=r"^run\(\) has no option 'prot'\. Did you mean port\?$"):
        pronghorn.run("main:app", prot=1)
    with pytest.raises(TypeError, match=r"^run\(\) has no option 'environ'"):
        pronghorn.run("main:app", environ={})
    assert served == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": "x"}, "port: 'x' is not a whole number"),
        ({"workers": 0}, "workers: 0 is out of range, it must be at least 1"),
    ],
)
def test_run_exits_as_the_command_does(
    served: list[Any], capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        pronghorn.run("main:app", **options)
    assert caught.value.code == UsageError.exit_code
    assert capsys.readouterr().err == f"pronghorn: error: {message}\n"
    assert served == []
