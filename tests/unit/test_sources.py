"""Which of the sources of a value wins, and what is said about those that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.config import OPTIONS
from pronghorn.errors import StartupError, UsageError
from pronghorn.sources import Resolution, resolve

TABLE = "[tool.pronghorn] in pyproject.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def table(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    return folder


def fault(flags: dict[str, Any], environ: dict[str, str], folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(flags, environ, folder)
    assert caught.value.exit_code == 2
    return str(caught.value)


@given(
    places=st.fixed_dictionaries(
        {},
        optional={
            place: st.integers(0, 65535) for place in ("flag", "PRONGHORN_PORT", "UVICORN_PORT", "table")
        },
    ),
    empty=st.sets(st.sampled_from(["PRONGHORN_PORT", "UVICORN_PORT"])),
)
def test_precedence(
    tmp_path_factory: pytest.TempPathFactory, places: dict[str, int], empty: set[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "precedence"
    folder.mkdir(exist_ok=True)
    environ = dict.fromkeys(empty, "") | {name: str(port) for name, port in places.items() if "PORT" in name}
    table(folder, f"[tool.pronghorn]\nport = {places['table']}\n" if "table" in places else "")
    flags = {"port": str(places["flag"])} if "flag" in places else {}
    found = resolve(flags, environ, folder)
    for place, source in (
        ("flag", "--port"),
        ("PRONGHORN_PORT", "PRONGHORN_PORT"),
        ("UVICORN_PORT", "UVICORN_PORT"),
        ("table", TABLE),
    ):
        if place in places:
            assert (found.values["port"], found.sources["port"]) == (places[place], source)
            break
    else:
        assert (found.values["port"], found.sources["port"]) == (8000, "default")


def test_every_option_can_come_from_a_variable_a_table_and_a_flag(folder: Path) -> None:
    # A value other than the default, for every option that has one which works now.
    texts = {
        "app": "other:app",
        "host": "::1",
        "port": "1",
        "uds": "/run/app.sock",
        "uds_mode": "660",
        "uds_group": "www-data",
        "loop": "asyncio",
        "http": "h11",
        "ws": "none",
        "limit_concurrency": "1",
        "backlog": "1",
        "log_level": "debug",
        "log_config": __file__,
        "log_format": "json",
        "access_log": "false",
        "request_id": "false",
        "use_colors": "true",
        "timeout_keep_alive": "1",
        "timeout_header": "1",
        "timeout_body": "1",
        "min_client_rate": "1",
        "timeout_graceful_shutdown": "1",
        "drain_delay": "1",
        "limit_request_line": "1",
        "limit_request_headers": "1",
        "limit_request_header_bytes": "1",
        "limit_request_body": "1",
        "h11_max_incomplete_event_size": "1",
        "limit_max_requests": "1",
        "limit_max_requests_jitter": "1",
        "limit_worker_memory": "512M",
        "limit_worker_lifetime": "1",
        "limit_worker_lifetime_jitter": "1",
        "timeout_notify": "1",
        "timeout_worker_healthcheck": "1",
        "workers": "2",
        "supervise": "true",
        "reload": "true",
        "reload_dirs": "src",
        "reload_includes": "*.html",
        "reload_excludes": "tests",
        "reload_delay": "1",
        "interface": "asgi2",
        "wsgi_threads": "1",
        "send_after_disconnect": "ignore",
        "early_hints": "on",
        "factory": "true",
        "app_dir": str(folder),
        "lifespan": "on",
        "root_path": "/api",
        "reset_contextvars": "true",
        "admin": "[::1]:9464",
        "metrics": "true",
        "metrics_dir": "/run/counts",
        "health_path": "/healthz",
        "proxy_headers": "false",
        "forwarded_allow_ips": "*",
        "forwarded_headers": "forwarded,x-forwarded-prefix",
        "forwarded_hops": "1",
        "headers": "X-A:1",
        "server_header": "false",
        "date_header": "false",
        "http2": "false",
        "h2_max_concurrent_streams": "1",
        "h2_max_inbound_frame_size": "32768",
        "h2_initial_window": "65535",
        "h2_connection_window": "65535",
        "h2_ping_interval": "1",
        "ws_max_size": "1",
        "ws_max_queue": "1",
        "ws_ping_interval": "0",
        "ws_ping_timeout": "1",
        "ws_per_message_deflate": "false",
        "ws_origins": "https://example.com",
        "ssl_certfile": __file__,
        "ssl_keyfile": __file__,
        "ssl_keyfile_password": "hunter2",
        "ssl_version": "772",
        "ssl_min_version": "1.3",
        "ssl_cert_reqs": "2",
        "ssl_ca_certs": __file__,
        "ssl_ciphers": "HIGH",
        "ssl_context_factory": "security:context",
    }
    # They contradict uds or reload, and one changes the environment: tested on their own.
    elsewhere = {"fd", "reuse_port", "preload", "env_file"}
    for name in OPTIONS:
        assert name in texts or name in elsewhere, name
    by_flag = resolve(
        {name: [text] if OPTIONS[name].kind.repeatable else text for name, text in texts.items()}, {}, folder
    )
    by_ours = resolve({}, {f"PRONGHORN_{name.upper()}": text for name, text in texts.items()}, folder)
    by_theirs = resolve({}, {f"UVICORN_{name.upper()}": text for name, text in texts.items()}, folder)
    lines = "".join(f"{name} = '{text}'\n" for name, text in texts.items())
    by_table = resolve({}, {}, table(folder, f"[tool.pronghorn]\n{lines}"))
    assert by_flag.values == by_ours.values == by_theirs.values == by_table.values
    assert by_flag.config() == by_table.config()
    for name in texts:
        assert by_flag.values[name] != OPTIONS[name].default
        assert by_ours.sources[name] == f"PRONGHORN_{name.upper()}"
        assert by_theirs.sources[name] == f"UVICORN_{name.upper()}"
        assert by_table.sources[name] == TABLE


def test_the_handbook_s_variables(folder: Path) -> None:
    environ = {
        "UVICORN_HOST": "0.0.0.0",
        "UVICORN_PORT": "8000",
        "UVICORN_WORKERS": "1",
        "UVICORN_LOG_LEVEL": "info",
        "UVICORN_RELOAD": "false",
        "UVICORN_ACCESS_LOG": "true",
    }
    found = resolve({"app": "main:app"}, environ, folder)
    assert found.config().host == "0.0.0.0"
    assert found.warnings == []


def test_the_handbook_s_table(folder: Path) -> None:
    text = '[tool.uvicorn]\nhost = "0.0.0.0"\nport = 8001\nworkers = {}\nlog_level = "info"\naccess_log = true\nreload = false\n'
    found = resolve({"app": "main:app"}, {}, table(folder, text.format(1)))
    assert (found.config().host, found.config().port) == ("0.0.0.0", 8001)
    assert found.sources["port"] == "[tool.uvicorn] in pyproject.toml"
    assert resolve({"app": "main:app"}, {}, table(folder, text.format(4))).config().workers == 4


def test_of_both_tables_ours_wins_and_that_is_said(folder: Path) -> None:
    found = resolve(
        {}, {}, table(folder, "[tool.uvicorn]\nport = 1\nhost = 'x'\n[tool.pronghorn]\nport = 2\n")
    )
    assert (found.values["port"], found.values["host"]) == (2, "127.0.0.1")
    assert found.warnings == ["[tool.uvicorn] in pyproject.toml is not used: [tool.pronghorn] is there too"]


def test_a_pyproject_without_our_table_says_nothing(folder: Path) -> None:
    assert resolve({}, {}, table(folder, "[tool.ruff]\nline-length = 1\n")).warnings == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.pronghorn]\nprot = 1\n", f"unknown option 'prot' (from {TABLE}). Did you mean port?"),
        ("[tool.pronghorn]\nport = 'x'\n", f"--port: 'x' is not a whole number (from {TABLE})"),
        ("[tool.pronghorn]\nport = true\n", f"--port: expected whole number, not True (from {TABLE})"),
        (
            "[tool.pronghorn]\nuds_mode = 440\n",
            f'--uds-mode: write the mode in quotes, such as "660" (from {TABLE})',
        ),
        ("[tool.pronghorn]\nlog_config = 'no'\n", f"--log-config: no such file: 'no' (from {TABLE})"),
        (
            "[tool.pronghorn]\nh2_initial_window = 1024\n",
            f"--h2-initial-window: 1024 is out of range, it must be between 65535 and 2147483647 (from {TABLE})",
        ),
        (
            "[tool.pronghorn]\nheaders = ['x']\n",
            f"--header: 'x' has no colon, write Name:Value (from {TABLE})",
        ),
        ("[tool]\npronghorn = 1\n", f"{TABLE} is not a table"),
        ("[tool.pronghorn\n", "pyproject.toml is not valid TOML: "),
    ],
)
def test_a_table_that_cannot_be_used(folder: Path, text: str, message: str) -> None:
    assert fault({}, {}, table(folder, text)).startswith(message)


def test_a_pyproject_that_cannot_be_read(folder: Path) -> None:
    (folder / "pyproject.toml").mkdir()
    assert fault({}, {}, folder) == "pyproject.toml cannot be read: Is a directory"
    (folder / "pyproject.toml").rmdir()
    (folder / "pyproject.toml").write_bytes(b"\xff")
    assert fault({}, {}, folder) == "pyproject.toml cannot be read: it is not UTF-8"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PRONGHORN_PORT": "x"}, "--port: 'x' is not a whole number (from PRONGHORN_PORT)"),
        ({"UVICORN_ACCESS_LOG": "x"}, "--access-log: 'x' is neither true nor false"),
        ({"WEB_CONCURRENCY": "x"}, "--workers: 'x' is not a whole number (from WEB_CONCURRENCY)"),
        ({"WEB_CONCURRENCY": "0"}, "--workers: 0 is out of range, it must be at least 1 (from WEB_CONCURRENCY)"),
        ({"PRONGHORN_HTTP2": "maybe"}, "--http2: 'maybe' is neither true nor false"),
        ({"PRONGHORN_SSL_KEYFILE": __file__}, "--ssl-keyfile: a key is of no use without --ssl-certfile (from PRONGHORN_SSL_KEYFILE)"),
        ({"UVICORN_UDS": "/a", "PRONGHORN_REUSE_PORT": "1"}, "--reuse-port: is for a host and a port, and cannot be given together with --uds (from PRONGHORN_REUSE_PORT)"),
        ({"UVICORN_UDS": "/a", "UVICORN_FD": "3"}, "--fd: cannot be given together with --uds, listen on one of them (from UVICORN_FD)"),
        ({"PRONGHORN_PORT": "tcp://10.0.0.1:80"}, "--port: 'tcp://10.0.0.1:80' is not a whole number (from PRONGHORN_PORT). Kubernetes"),
    ],
)  # fmt: skip
def test_a_variable_that_cannot_be_used(folder: Path, environ: dict[str, str], message: str) -> None:
    assert fault({}, environ, folder).startswith(message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"port": "x"}, "--port: 'x' is not a whole number"),
        ({"headers": ["x"]}, "--header: 'x' has no colon, write Name:Value"),
        ({"env_file": "no"}, "--env-file: no such file: 'no'"),
    ],
)
def test_a_flag_that_cannot_be_used_needs_no_source(
    folder: Path, flags: dict[str, Any], message: str
) -> None:
    assert fault(flags, {}, folder) == message


def test_no_application(folder: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^APP: no application was given\. Give module:attribute, such as main:app$"
    ):
        resolve({}, {}, folder).config()
    assert resolve({}, {"UVICORN_APP": "main:app"}, folder).config().app == "main:app"


def test_the_env_file_does_not_configure_the_server_but_for_two_variables(folder: Path) -> None:
    file = folder / "prod.env"
    file.write_text("PRONGHORN_PORT=9\nFORWARDED_ALLOW_IPS=*\nDATABASE=x\n")
    environ: dict[str, str] = {}
    found = resolve({"env_file": str(file), "app": "main:app"}, environ, folder)
    assert found.values["port"] == 8000
    assert (found.values["forwarded_allow_ips"], found.sources["forwarded_allow_ips"]) == (
        "*",
        "FORWARDED_ALLOW_IPS",
    )
    assert environ["DATABASE"] == "x"
    assert found.warnings == [
        "PRONGHORN_PORT is for the application there: an env file does not configure the server (from --env-file)"
    ]
    assert found.config().forwarded_allow_ips == "*"


@pytest.mark.parametrize(
    ("environ", "warnings"),
    [
        ({"PRONGHORN_PROT": "1"}, ["PRONGHORN_PROT is set but no option reads it. Did you mean PRONGHORN_PORT?"]),
        ({"PRONGHORN_QQQQQQQQQQQQ": "1"}, ["PRONGHORN_QQQQQQQQQQQQ is set but no option reads it"]),
        ({"UVICORN_PROT": "1", "PRONGHORN": "1"}, []),
        ({"PRONGHORN_SERVICE_HOST": "10.0.0.1", "PRONGHORN_PORT_8000_TCP_ADDR": "10.0.0.1"}, []),
        ({"PRONGHORN_PORT": "1"}, []),
        ({"PRONGHORN_UDS": "/a", "PRONGHORN_PORT": "1"}, ["--port has no effect beside --uds (from PRONGHORN_PORT)"]),
        ({"PRONGHORN_FD": "3", "UVICORN_HOST": "x"}, ["--host has no effect beside --fd (from UVICORN_HOST)"]),
        ({"PRONGHORN_UDS": "", "PRONGHORN_UDS_MODE": "660"}, ["--uds-mode has no effect without --uds (from PRONGHORN_UDS_MODE)"]),
        ({"PRONGHORN_WSGI_THREADS": "2"}, ["--wsgi-threads has no effect without --interface wsgi (from PRONGHORN_WSGI_THREADS)"]),
        (
            {"PRONGHORN_FORWARDED_HOPS": "2", "UVICORN_PROXY_HEADERS": "0", "FORWARDED_ALLOW_IPS": "*"},
            ["--forwarded-hops has no effect beside --no-proxy-headers (from PRONGHORN_FORWARDED_HOPS)"],
        ),
        ({"PRONGHORN_REUSE_PORT": "1", "PRONGHORN_PORT": "0"}, []),
        ({"PRONGHORN_SSL_MIN_VERSION": "1.3"}, ["--ssl-min-version has no effect without --ssl-certfile, the server does not speak TLS (from PRONGHORN_SSL_MIN_VERSION)"]),
        ({"PRONGHORN_SSL_CERT_REQS": "2"}, ["--ssl-cert-reqs has no effect without --ssl-certfile, the server does not speak TLS (from PRONGHORN_SSL_CERT_REQS)"]),
    ],
)  # fmt: skip
def test_warnings(folder: Path, environ: dict[str, str], warnings: list[str]) -> None:
    assert resolve({}, environ, folder).warnings == warnings


def test_a_warning_about_a_flag_needs_no_source(folder: Path) -> None:
    found = resolve({"uds": "/a", "port": "1"}, {}, folder)
    assert found.warnings == ["--port has no effect beside --uds"]


def test_an_error_from_further_down_learns_where_its_value_came_from(folder: Path) -> None:
    found: Resolution = resolve({"host": "x"}, {"PRONGHORN_PORT": "80", "UVICORN_HEADERS": "X:1"}, folder)
    for option, expected in (
        ("--port", "--port: is taken (from PRONGHORN_PORT)"),
        ("port", "--port: is taken (from PRONGHORN_PORT)"),
        ("headers", "--header: is taken (from UVICORN_HEADERS)"),
        ("--host", "--host: is taken"),
        ("--uds", "--uds: is taken"),
        ("--nothing", "--nothing: is taken"),
        (None, "is taken"),
    ):
        error = StartupError("is taken", option=option)
        found.blame(error)
        assert str(error) == expected
