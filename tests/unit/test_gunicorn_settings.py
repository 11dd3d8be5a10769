"""What becomes of Gunicorn's settings under our worker: those that are options of ours, those that do nothing, and those that are refused."""

from __future__ import annotations

import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from gunicorn.config import Config as GunicornConfig
from gunicorn.config import make_settings
from gunicorn.glogging import Logger

from pronghorn.config import Config
from pronghorn.errors import UsageError
from pronghorn.gunicorn_settings import IDLE, SETTINGS, configuration
from pronghorn.workers import JsonLogger, PronghornH2CWorker, PronghornH11Worker, PronghornWorker
from tests.support.gunicorn_process import gunicorn, message
from tests.support.process import PATIENCE

HELLO = """
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        body = f"{scope['client']} {scope['scheme']} {scope['root_path']}".encode()
        headers = [(b"content-type", b"text/plain"), (b"x-mine", b'"quoted"')]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
"""


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("only named")


def settings(**changes: Any) -> Any:
    cfg = GunicornConfig()
    for name, value in changes.items():
        cfg.set(name, value)
    return cfg


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No option from the environment or from the pyproject.toml of this repository."""
    monkeypatch.chdir(tmp_path)
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "PRONGHORN_TIMEOUT_KEEP_ALIVE"):
        monkeypatch.delenv(name, raising=False)


def config(worker: type[PronghornWorker] = PronghornWorker, **changes: Any) -> Config:
    """What a worker would serve with, under these settings of Gunicorn."""
    cfg = settings(**changes)
    return configuration(cfg, Logger(cfg), application, overrides=worker.CONFIG_KWARGS)[0]


# ---- Settings that are options of ours ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "option", "expected"),
    [
        ("keepalive", 7, "timeout_keep_alive", 7),
        ("keepalive", 0, "timeout_keep_alive", 0),
        ("graceful_timeout", 10, "timeout_graceful_shutdown", 9),
        ("limit_request_line", 100, "limit_request_line", 100),
        ("limit_request_fields", 5, "limit_request_headers", 5),
        ("limit_request_field_size", 100, "limit_request_header_bytes", 800),
        ("forwarded_allow_ips", "10.0.0.0/8,::1", "forwarded_allow_ips", "10.0.0.0/8,::1,unix:"),
        ("forwarded_allow_ips", "*", "forwarded_allow_ips", "*,unix:"),
        ("forwarded_allow_ips", "", "forwarded_allow_ips", "unix:"),
        ("root_path", "/api", "root_path", "/api"),
        ("asgi_loop", "asyncio", "loop", "asyncio"),
        ("asgi_lifespan", "off", "lifespan", "off"),
        ("accesslog", "-", "access_log", True),
        ("accesslog", None, "access_log", False),
        ("logconfig_dict", {"version": 1}, "access_log", True),
    ],
)
def test_a_setting_becomes_an_option(name: str, value: Any, option: str, expected: Any) -> None:
    assert getattr(config(**{name: value}), option) == expected


@pytest.mark.parametrize("name", ["limit_request_line", "limit_request_fields", "limit_request_field_size"])
def test_zero_is_no_limit(name: str) -> None:
    assert getattr(config(PronghornWorker, **{name: 0}), SETTINGS[name][0]) > 2**31


def test_gunicorns_defaults_are_the_defaults() -> None:
    found = config()

    assert found.timeout_keep_alive == 2
    assert found.limit_request_line == 4094
    assert found.limit_request_header_bytes == 8 * 8190
    assert found.forwarded_allow_ips == "127.0.0.1,::1,unix:"
    assert (found.workers, found.fd, found.uds, found.log_config) == (1, None, None, None)


def test_a_variable_counts_where_gunicorn_was_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRONGHORN_TIMEOUT_KEEP_ALIVE", "75")
    monkeypatch.setenv("PRONGHORN_HEALTH_PATH", "/healthz")
    monkeypatch.setenv("PRONGHORN_FORWARDED_ALLOW_IPS", "127.0.0.1")

    assert config().timeout_keep_alive == 75
    assert config().health_path == "/healthz"
    assert config().forwarded_allow_ips == "127.0.0.1"
    assert config(keepalive=9).timeout_keep_alive == 9


def test_the_arbiter_kills_at_its_own_timeout_whatever_a_variable_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRONGHORN_TIMEOUT_GRACEFUL_SHUTDOWN", "60")
    assert config().timeout_graceful_shutdown == 27


def test_what_is_gunicorns_alone_is_not_looked_up_anywhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORKERS": "7", "UDS": "/x.sock", "RELOAD": "true", "APP": "other:app"}.items():
        monkeypatch.setenv(f"PRONGHORN_{name}", value)
    monkeypatch.setenv("WEB_CONCURRENCY", "5")

    found = config()
    assert (found.workers, found.uds, found.reload, found.app) == (1, None, False, application)


def test_a_subclass_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(PronghornWorker):
        CONFIG_KWARGS = {"timeout_keep_alive": 30, "headers": [("x-served-by", "me")]}  # noqa: RUF012

    monkeypatch.setenv("PRONGHORN_TIMEOUT_KEEP_ALIVE", "75")
    assert config(Mine, keepalive=9).timeout_keep_alive == 30
    assert config(Mine).headers == [("x-served-by", "me")]
    assert config(PronghornH11Worker).http == "h11"
    assert config(PronghornH11Worker).loop == "asyncio"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            {"timeout_keepalive": 5},
            "unknown option 'timeout_keepalive' (from CONFIG_KWARGS). Did you mean timeout_keep_alive?",
        ),
        (
            {"timeout_keep_alive": "soon"},
            "--timeout-keep-alive: 'soon' is not a number of seconds (from CONFIG_KWARGS)",
        ),
    ],
)
def test_a_mistake_in_a_subclass_is_named(overrides: dict[str, Any], said: str) -> None:
    cfg = settings()
    with pytest.raises(UsageError) as caught:
        configuration(cfg, Logger(cfg), application, overrides=overrides)
    assert str(caught.value) == said


def test_max_requests_comes_with_its_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRONGHORN_LIMIT_MAX_REQUESTS_JITTER", "500")
    cfg = settings()
    found, _ = configuration(cfg, Logger(cfg), application, overrides={}, max_requests=1234)
    assert (found.limit_max_requests, found.limit_max_requests_jitter) == (1234, 0)


def test_the_level_is_gunicorns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRONGHORN_LOG_LEVEL", "error")
    assert config(loglevel="debug").log_level == "info"  # which leaves alone what the worker has set


def test_every_setting_of_gunicorn_exists() -> None:
    """Those of later versions than the oldest that is supported are missing there, and only there."""
    assert {*SETTINGS, *IDLE} <= make_settings().keys()


# ---- Refused, or without effect -------------------------------------------------------------------------------------


class Told(Logger):  # type: ignore[misc]
    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.warnings: list[str] = []

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.warnings.append(msg % args)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker_connections", 500),
        ("threads", 4),
        ("pre_request", lambda worker, request: None),
        ("http_protocols", "h1,h2"),
        ("strip_header_spaces", True),
    ],
)
def test_a_setting_without_effect_is_said_once(name: str, value: Any) -> None:
    cfg = settings(**{name: value})
    log = Told(cfg)
    PronghornWorker.check_config(cfg, log)

    [warning] = log.warnings
    assert warning.startswith(f"{name} has no effect with Pronghorn's workers: ")


def test_nothing_is_said_of_what_was_not_set() -> None:
    log = Told(settings())
    PronghornWorker.check_config(log.cfg, log)
    assert log.warnings == []
    PronghornH2CWorker.check_config(log.cfg, log)
    assert log.warnings == []


def test_a_variable_that_nobody_reads_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRONGHORN_HEALTHPATH", "/healthz")
    log = Told(settings())
    PronghornWorker.check_config(log.cfg, log)
    assert log.warnings == [
        "PRONGHORN_HEALTHPATH is set but no option reads it. Did you mean PRONGHORN_HEALTH_PATH?"
    ]


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (("--proxy-protocol",), {}, "proxy_protocol: the PROXY protocol is not supported"),
        (("--protocol", "uwsgi"), {}, "protocol: Pronghorn speaks HTTP, not uwsgi"),
        ((), {"PRONGHORN_HTTP": "fast"}, "--http"),
    ],
)
def test_what_cannot_be_is_refused_before_a_worker_starts(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str], said: str
) -> None:
    with gunicorn(tmp_path, HELLO, *arguments, ready=0, environ=environ) as server:
        assert server.wait() == 1
    lines = server.stderr.all()
    assert any(line.startswith("Error: ") and said in line for line in lines)
    assert not any("Booting worker" in line for line in lines)


# ---- What clients see -----------------------------------------------------------------------------------------------


def test_limits_of_requests(tmp_path: Path) -> None:
    limits = ("--limit-request-line", "60", "--limit-request-fields", "5", "--limit-request-field_size", "50")
    with gunicorn(tmp_path, HELLO, *limits) as server:
        assert server.get("/").status == 200
        assert server.get("/" + "x" * 60).status == 414
        for headers in ([f"X-{number}: 1" for number in range(6)], ["X-Large: " + "x" * 450]):
            with server.connect() as client:
                client.request("GET", "/", *headers)
                assert client.response().status == 431


def test_idle_connections_are_kept_for_keepalive(tmp_path: Path) -> None:
    with gunicorn(tmp_path, HELLO, "--keep-alive", "1") as server, server.connect() as client:
        client.request("GET", "/")
        assert client.response().status == 200
        assert client.rest() == b""


def test_forwarding_headers_of_trusted_peers_count(tmp_path: Path) -> None:
    forwarded = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
    for trusted, expected in (("127.0.0.1", "('192.0.2.7', 0) https"), ("192.0.2.1", " http ")):
        with (
            gunicorn(tmp_path, HELLO, "--forwarded-allow-ips", trusted) as server,
            server.connect() as client,
        ):
            client.request("GET", "/", *forwarded)
            assert expected in client.response().text


def test_a_unix_peer_is_trusted_as_gunicorn_does(tmp_path: Path) -> None:
    with gunicorn(tmp_path, HELLO, bind="unix:app.sock") as server:
        server.running_on()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(tmp_path / "app.sock"))
            sock.sendall(b"GET / HTTP/1.0\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert b"('192.0.2.7', 0) http" in answer


CONTEXT = """
    def ssl_context(conf, default_ssl_context_factory):
        import ssl
        context = default_ssl_context_factory()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        print("context for", conf.proc_name, flush=True)
        return context
"""


def test_tls_and_the_hook_that_makes_its_context(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    (tmp_path / "conf.py").write_text("\n".join(line[4:] for line in CONTEXT.splitlines()))
    arguments = ("--certfile", "server.pem", "--config", "conf.py", "--name", "mine")
    with gunicorn(tmp_path, HELLO, *arguments) as server:
        assert server.running_on().startswith("socket ")
        client_context = ssl.create_default_context()
        authority.configure_trust(client_context)
        response = server.get("/", tls=client_context)
        assert " https " in response.text
        server.stdout.wait_for("context for mine")
        client_context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            server.connect(tls=client_context)


def test_client_certificates_are_asked_for(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    arguments = ("--certfile", "server.pem", "--ca-certs", "ca.pem", "--cert-reqs", "2")
    with gunicorn(tmp_path, HELLO, *arguments) as server:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            server.get("/", tls=context)
        authority.issue_cert("client@example.org").configure_cert(context)
        assert server.get("/", tls=context).status == 200


def test_the_graceful_timeout_ends_what_does_not_end(tmp_path: Path) -> None:
    hangs = """
        import asyncio

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            print("hangs", flush=True)
            await asyncio.sleep(600)
    """
    # Gunicorn kills a tenth of it later; that has to be long for a machine that stands still now and then.
    with gunicorn(tmp_path, hangs, "--graceful-timeout", "10") as server, server.connect() as client:
        client.request("GET", "/")
        server.stdout.wait_for("hangs")
        assert server.stop() == 0
    told = [message(line) for line in server.stderr.all()]
    assert "Cancel 1 running task(s), timeout graceful shutdown exceeded" in told
    assert not any("SIGKILL" in line for line in told)


# ---- JsonLogger -----------------------------------------------------------------------------------------------------


def test_the_json_logger_keeps_its_format_over_a_reload() -> None:
    log = JsonLogger(settings(accesslog="-"))
    log.setup(settings(accesslog="-", loglevel="warning"))

    # Among others: pytest has handlers everywhere.
    handlers = [*log.error_log.handlers, *log.access_log.handlers]
    kinds = [type(handler.formatter).__name__ for handler in handlers if hasattr(handler, "_gunicorn")]
    assert kinds == ["JsonFormatter", "JsonFormatter"]
    assert log.error_log.level == logging.WARNING
