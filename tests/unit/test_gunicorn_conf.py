"""The gunicorn.conf.py at the top: what it makes of the environment, and that Gunicorn runs with it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import make_settings

from pronghorn.supervise.cpus import available
from tests.support.gunicorn_process import BOOTING, gunicorn
from tests.unit.test_gunicorn import HELLO, WAITS

CONF = Path(__file__).resolve().parents[2] / "gunicorn.conf.py"


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the file sets under an environment that has these variables and none of ours besides."""

    def load(**environ: str) -> dict[str, Any]:
        for name in list(os.environ):
            if name.startswith(("PRONGHORN_", "UVICORN_")) or name in {"WEB_CONCURRENCY", "PORT"}:
                monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location("__config__", CONF)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return vars(module)

    return load


def test_every_setting_is_one_of_gunicorns_and_valid(conf: Any) -> None:
    known = make_settings()
    ours = {name: value for name, value in conf().items() if name in known}
    for name, value in ours.items():
        known[name].set(value)

    assert {"bind", "workers", "worker_class", "timeout", "keepalive", "accesslog"} <= ours.keys()
    public = {
        name
        for name, value in conf().items()
        if not name.startswith("_") and getattr(value, "__module__", "__config__") == "__config__"
    }
    assert public - ours.keys() - {"gc", "gunicorn_admin", "math", "os", "Callable"} == set()


@pytest.mark.parametrize(
    ("environ", "name", "expected"),
    [
        ({}, "bind", "127.0.0.1:8000"),
        ({"PORT": "9000"}, "bind", "127.0.0.1:9000"),
        ({"PRONGHORN_HOST": "::1", "UVICORN_PORT": "9000"}, "bind", "[::1]:9000"),
        ({"PRONGHORN_UDS": "/run/app.sock", "PRONGHORN_PORT": "9000"}, "bind", "unix:/run/app.sock"),
        ({}, "umask", 0o117),
        ({"PRONGHORN_UDS_MODE": "600"}, "umask", 0o177),
        ({}, "workers", available()),
        ({"WEB_CONCURRENCY": "3"}, "workers", 3),
        ({"PRONGHORN_WORKERS": ""}, "workers", available()),
        ({"WEB_CONCURRENCY": "3", "PRONGHORN_WORKERS": "auto"}, "workers", available()),
        ({"PRONGHORN_TIMEOUT_KEEP_ALIVE": "0.5"}, "keepalive", 1),
        ({}, "keepalive", 75),
        ({"PRONGHORN_LIMIT_MAX_REQUESTS": "500"}, "max_requests_jitter", 50),
        ({"PRONGHORN_FORWARDED_ALLOW_IPS": "unix:"}, "forwarded_allow_ips", ""),
        ({"PRONGHORN_FORWARDED_ALLOW_IPS": "unix:,10.0.0.1"}, "forwarded_allow_ips", "10.0.0.1"),
        ({"PRONGHORN_ACCESS_LOG": "false"}, "accesslog", None),
        ({"PRONGHORN_LOG_LEVEL": "TRACE"}, "loglevel", "debug"),
        ({"PRONGHORN_PRELOAD": "true"}, "preload_app", True),
        ({}, "logger_class", "pronghorn.workers.JsonLogger"),
        ({"PRONGHORN_APP": "shop.main:app"}, "wsgi_app", "shop.main:app"),
    ],
)
def test_a_setting_from_the_environment(
    conf: Any, environ: dict[str, str], name: str, expected: object
) -> None:
    assert conf(**environ)[name] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("PRONGHORN_WORKERS", "many"), ("PRONGHORN_TIMEOUT_KEEP_ALIVE", "long"), ("PRONGHORN_UDS_MODE", "rw")],
)
def test_a_bad_value_is_one_line(conf: Any, name: str, value: str) -> None:
    with pytest.raises(SystemExit, match=rf"^gunicorn\.conf\.py: '{value}' is no number \({name}\)$"):
        conf(**{name: value})


def test_it_serves_with_json_and_stops_in_order(tmp_path: Path) -> None:
    environ = {"PRONGHORN_PORT": "0", "WEB_CONCURRENCY": "2", "PRONGHORN_HEALTH_PATH": "/healthz"}
    with gunicorn(
        tmp_path, HELLO, "--config", str(CONF), worker="", bind=None, ready=2, environ=environ
    ) as server:
        assert server.get("/healthz").text == "ok"
        assert server.get("/path").status == 200
        assert server.stop() == 0
    [access] = map(json.loads, server.stdout.all())
    assert (access["path"], access["status"]) == ("/path", 200)
    told = [json.loads(line)["message"] for line in server.stderr.all()]
    assert "Ready: 2 workers, ['127.0.0.1:0']" in told
    assert sum("has ended" in line for line in told) == 2


def test_it_serves_the_application_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("\n".join(line[4:] for line in HELLO.splitlines()))
    environ = {
        "PRONGHORN_APP": "shop:app",
        "PRONGHORN_PORT": "0",
        "WEB_CONCURRENCY": "1",
        "PRONGHORN_PRELOAD": "1",
        "PRONGHORN_LOG_FORMAT": "text",
    }
    with gunicorn(tmp_path, "", "--config", str(CONF), worker="", bind=None, environ=environ) as server:
        assert server.get("/path").status == 200
        assert '127.0.0.1 "GET /path HTTP/1.1" 200 ' in server.stdout.wait_for("/path")
        assert server.stop() == 0


def test_a_unix_socket_is_for_the_group_alone(tmp_path: Path) -> None:
    environ = {"PRONGHORN_UDS": str(tmp_path / "app.sock"), "WEB_CONCURRENCY": "1"}
    with gunicorn(tmp_path, HELLO, "--config", str(CONF), worker="", bind=None, environ=environ):
        assert (tmp_path / "app.sock").stat().st_mode & 0o777 == 0o660


def test_it_says_why_a_worker_died(tmp_path: Path) -> None:
    environ = {
        "PRONGHORN_PORT": "0",
        "WEB_CONCURRENCY": "1",
        "PRONGHORN_TIMEOUT_WORKER_HEALTHCHECK": "1",
    }
    with (
        gunicorn(
            tmp_path,
            WAITS,
            *("--config", str(CONF)),
            worker="",
            bind=None,
            environ=environ,
            shameful=True,
        ) as server,
        server.connect() as client,
    ):
        client.request("GET", "/block")
        server.stderr.wait_for("time.sleep(60)")
        server.stderr.wait_for("it was silent for longer than 1 s")
        server.stderr.wait_for("has ended, its loop was blocked")
        server.stderr.wait_for(BOOTING, count=2)
        server.running_on(2)
        assert server.stop(signal.SIGTERM) == 0


# ---- In the image ---------------------------------------------------------------------------------------------------


def test_the_image_has_it_where_gunicorn_looks_and_the_applications_own_goes_before_it() -> None:
    dockerfile = (CONF.parent / "Dockerfile").read_text()
    lines = [line for line in dockerfile.splitlines() if line.startswith(("COPY", "WORKDIR /app", "FROM"))]

    assert lines.index("COPY gunicorn.conf.py /app/") < lines.index("COPY --from=app / /app/")
    assert "!gunicorn.conf.py" in (CONF.parent / ".dockerignore").read_text().splitlines()


def test_one_variable_chooses_the_process_manager() -> None:
    import yaml

    compose = yaml.safe_load((CONF.parent / "docker-compose.yml").read_text())
    assert compose["services"]["app"]["command"] == ["${PROCESS_MANAGER:-pronghorn}"]
