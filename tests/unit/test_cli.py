"""The command: its flags, what it prints, and that whatever goes wrong is one line and the right exit code."""

from __future__ import annotations

import os
import platform
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pronghorn
from pronghorn import cli
from pronghorn.config import OPTIONS
from pronghorn.errors import StartupError, UsageError
from pronghorn.headings import GROUPS

# The tables of the handbook, as they are there: flag and default.
HANDBOOK = {
    "--host": "127.0.0.1",
    "--port": "8000",
    "--uds": None,
    "--fd": None,
    "--workers": "1",
    "--loop": "auto",
    "--http": "auto",
    "--ws": "auto",
    "--lifespan": "auto",
    "--limit-concurrency": None,
    "--backlog": "2048",
    "--reload": "false",
    "--reload-dir": "current folder",
    "--reload-include": "*.py",
    "--reload-exclude": None,
    "--reload-delay": "0.25",
    "--log-level": "info",
    "--log-config": None,
    "--access-log": "true",
    "--no-access-log": "true",
    "--use-colors": "on a terminal",
    "--no-use-colors": "on a terminal",
    "--timeout-keep-alive": "5",
    "--timeout-notify": "30",
    "--timeout-graceful-shutdown": "no limit",
    "--limit-max-requests": None,
    "--header": None,
}

# The flags that docs and users of Uvicorn know beyond the handbook's tables.
OTHERS = """
    --interface --factory --app-dir --env-file --root-path --proxy-headers --no-proxy-headers --forwarded-allow-ips
    --server-header --no-server-header --date-header --no-date-header --limit-max-requests-jitter
    --timeout-worker-healthcheck --ws-max-size --ws-max-queue --ws-ping-interval --ws-ping-timeout --ws-per-message-deflate
    --h11-max-incomplete-event-size --ssl-keyfile --ssl-certfile --ssl-keyfile-password --ssl-version --ssl-cert-reqs
    --ssl-ca-certs --ssl-ciphers --http2 --reset-contextvars --version --help --print-config --uds-mode --uds-group
    --log-format --health-path --limit-request-line --limit-request-headers --limit-request-header-bytes
    --limit-request-body --timeout-header --timeout-body --wsgi-threads --send-after-disconnect --early-hints --ssl-min-version --forwarded-headers
    --forwarded-hops --ssl-context-factory
""".split()  # noqa: SIM905  # one item a line would be a page

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


def section(help_text: str, flag: str) -> str:
    """What --help says about a flag, in one line."""
    lines = help_text.splitlines()
    starts = [
        number for number, line in enumerate(lines) if line.startswith("  --") and flag in line.split()[:6]
    ]
    assert len(starts) == 1, flag
    end = next(number for number in range(starts[0] + 1, len(lines)) if not lines[number].startswith("   "))
    return " ".join(" ".join(lines[starts[0] : end]).split())


# Help and flags


def test_every_flag_of_the_handbook_is_there_with_its_default(run: Run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for flag, default in HANDBOOK.items():
        text = section(out, flag)
        if default is None:
            assert "[default:" not in text
        elif flag == "--workers":
            assert "[default: $WEB_CONCURRENCY or 1]" in text
        else:
            assert f"[default: {default}]" in text


@pytest.mark.parametrize("flag", [flag for flag in OTHERS if flag != "--help"])
def test_the_other_flags_are_there(run: Run, flag: str) -> None:
    assert section(run("--help")[1], flag)


def test_help_has_a_heading_for_each_group_and_marks_what_comes_later(run: Run) -> None:
    out = run("--help")[1]
    headings = [
        line.rstrip(":") for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")
    ]
    assert headings == [*GROUPS, "This command"]
    for told in OPTIONS.values():
        if told.flag:
            assert ("later version)" in section(out, told.flag)) == (told.later is not None)


def test_version(run: Run) -> None:
    version = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
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
        ([], "APP: no application was given. Give module:attribute, such as main:app"),
        (["--port", "x", "main:app"], "--port: 'x' is not a whole number"),
        (["--uds-mode", "999", "main:app"], "--uds-mode: '999' is not an octal mode such as 660"),
        (["--header", "X-A"], "--header: 'X-A' has no colon, write Name:Value"),
        (["--log-config", "no.json", "main:app"], "--log-config: no such file: 'no.json'"),
        (["--reload", "main:app"], "--reload: auto-reload comes with a later version"),
        (["--workers", "4", "main:app"], "--workers: more than one worker process comes with a later version"),
        (["--uds", "/a", "--fd", "3", "main:app"], "--fd: cannot be given together with --uds, listen on one of them"),
        (["--port", "1", "healthcheck"], "healthcheck comes before its options. Write pronghorn healthcheck --port 8000"),
        (["healthcheck"], "--health-path: no path was given. Give it here or as PRONGHORN_HEALTH_PATH, to the server as well"),
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
        ({"workers": 4}, "workers: more than one worker process comes with a later version"),
        ({"reload": True}, "reload: auto-reload comes with a later version"),
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


# The process

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m pronghorn`, in tmp_path, without any of our variables; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **environ: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "pronghorn", *words],
                cwd=tmp_path,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    (tmp_path / "main.py").write_text(APP)
    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def until_running(process: subprocess.Popen[str]) -> str:
    """The line that tells where the server listens."""
    assert process.stderr is not None
    for line in process.stderr:
        if "Pronghorn running on" in line:
            return line
    raise AssertionError("the server ended before it was running")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize(
    ("words", "environ", "code", "message"),
    [
        (["--prot"], {}, 2, "there is no option --prot. Did you mean --port?"),
        (["main:app"], {"PRONGHORN_PORT": "x"}, 2, "--port: 'x' is not a whole number (from PRONGHORN_PORT)"),
        (["main"], {}, 2, "APP: 'main' has no colon. Write module:attribute, such as main:app"),
        (["mian:app"], {}, 3, "APP: no module named 'mian'. Did you mean main?"),
        (["main:ap"], {}, 3, "APP: module 'main' has no attribute 'ap'. Did you mean app?"),
        ([], {"UVICORN_APP": "main:ap"}, 3, "APP: module 'main' has no attribute 'ap' (from UVICORN_APP). Did you mean app?"),
        (["main:app", "--ssl-certfile", "no.pem"], {}, 2, "--ssl-certfile: no such file: 'no.pem'"),
        (["main:app", "--forwarded-allow-ips", "10.0.0.300"], {}, 2, "--forwarded-allow-ips: "),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_without_a_traceback(
    command: Start, words: list[str], environ: dict[str, str], code: int, message: str
) -> None:
    returned, out, err = ended(command(*words, **environ))
    assert (returned, out) == (code, "")
    assert err.startswith(f"pronghorn: error: {message}")
    assert err.count("\n") == 1


def test_a_certificate_that_is_none(command: Start) -> None:
    code, _, err = ended(command("main:app", "--port", "0", "--ssl-certfile", "main.py"))
    assert code == 2
    assert err.startswith("pronghorn: error: --ssl-certfile: ")
    assert err.count("\n") == 1


def test_an_application_that_fails_to_import_shows_its_own_traceback_and_then_one_line(
    command: Start, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(
        "import main\n\n\ndef connect():\n    raise OSError('no database')\n\n\nconnect()\n"
    )
    code, out, err = ended(command("broken:app"))
    assert (code, out) == (3, "")
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{tmp_path / "broken.py"}", line 8, in <module>'
    assert lines[-1] == "pronghorn: error: APP: importing 'broken' failed: OSError: no database"
    assert "importlib" not in err


def test_a_port_that_is_taken(command: Start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, err = ended(command("main:app", "--port", str(port)))
    assert code == 3
    (line,) = [line for line in err.splitlines() if line.startswith("pronghorn: error: ")]
    assert "--port" in line
    assert str(port) in line
    assert "Traceback" not in err


def test_a_socket_folder_that_is_not_there(command: Start, short_path: Path) -> None:
    code, _, err = ended(command("main:app", "--uds", str(short_path / "no" / "app.sock")))
    assert code == 3
    (line,) = [line for line in err.splitlines() if line.startswith("pronghorn: error: ")]
    assert line.startswith("pronghorn: error: --uds: ")
    assert "Traceback" not in err


def test_a_lifespan_startup_that_fails(command: Start, tmp_path: Path) -> None:
    (tmp_path / "refuses.py").write_text(
        textwrap.dedent("""
            async def app(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})
        """)
    )
    code, _, err = ended(command("refuses:app", "--port", "0"))
    assert code == 3
    (line,) = [line for line in err.splitlines() if line.startswith("pronghorn: error: ")]
    assert "application startup failed" in line
    assert "no database" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_the_exit_code_after_a_signal(command: Start, number: signal.Signals, code: int) -> None:
    process = command("main:app", "--port", "0")
    until_running(process)
    process.send_signal(number)
    returned, _, err = ended(process)
    assert returned == code
    assert "Finished server process" in err
    assert "Traceback" not in err


def test_healthcheck_over_tcp_and_over_a_unix_socket(
    command: Start, free_port: int, socket_path: Path, tmp_path: Path
) -> None:
    tcp = {"PRONGHORN_PORT": str(free_port), "PRONGHORN_HEALTH_PATH": "/healthz", "PRONGHORN_HOST": "0.0.0.0"}
    unix = {"PRONGHORN_UDS": str(socket_path), "PRONGHORN_HEALTH_PATH": "/healthz"}
    for environ in (tcp, unix):
        code, out, err = ended(command("healthcheck", **environ))
        assert (code, out, err.count("\n")) == (1, "", 1)
        server = command("main:app", **environ)
        until_running(server)
        code, out, err = ended(command("healthcheck", **environ))
        assert (code, err) == (0, "")
        assert out.count("\n") == 1
        server.terminate()
        ended(server)
        code, out, err = ended(command("healthcheck", **environ))
        assert (code, out, err.count("\n")) == (1, "", 1)


def test_healthcheck_does_not_import_the_server() -> None:
    code = "import sys, pronghorn.cli; print(*sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pronghorn.cli" in modules
    assert not {"asyncio", "uvloop", "httptools", "h11", "ssl", "pronghorn.worker.server"} & set(modules)
