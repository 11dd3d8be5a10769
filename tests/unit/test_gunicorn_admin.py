"""The admin listener under Gunicorn, with the gunicorn.conf.py at the top."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.admin import AdminListener
from tests.support.gunicorn_process import gunicorn
from tests.support.kernel import alive, children
from tests.support.process import ServerProcess
from tests.support.waiting import until
from tests.unit.test_gunicorn import HELLO, WAITS
from tests.unit.test_gunicorn_conf import CONF


@contextmanager
def administered(
    folder: Path, socket_path: Path, app: str = HELLO, **environ: str
) -> Iterator[tuple[ServerProcess, AdminListener]]:
    told = {
        "PRONGHORN_PORT": "0",
        "WEB_CONCURRENCY": "2",
        "PRONGHORN_LOG_FORMAT": "text",
        "PRONGHORN_ADMIN": f"unix:{socket_path}",
        **environ,
    }
    with gunicorn(folder, app, "--config", str(CONF), worker="", bind=None, ready=2, environ=told) as server:
        yield server, AdminListener(server)


@pytest.mark.parametrize("preload", ["false", "true"])
def test_it_tells_of_gunicorn_s_workers(tmp_path: Path, socket_path: Path, preload: str) -> None:
    with administered(tmp_path, socket_path, PRONGHORN_PRELOAD=preload) as (server, admin):
        admin.until("/readyz?verbose", 200, "2 of 2 serve")
        assert {int(server.get().text) for _ in range(3)} <= {row["pid"] for row in admin.workers()}
        assert 'requests_total{method="GET",route="",status="2xx"} 3.0' in admin.ask("/metrics").text
        told = admin.json("/status.json")
        assert (told["app"], told["pid"]) == ("main:app", server.pid)
        assert admin.json("/workers")["supervisor"] is None
        administering = admin.process()
        assert server.stop() == 0
    assert not alive(administering)
    assert not socket_path.exists()


def test_it_stays_up_through_the_drain(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path, WAITS) as (server, admin):
        admin.until("/readyz?verbose", 200, "2 of 2 serve")
        with server.connect() as client:
            client.request("GET", "/wait")
            server.stdout.wait_for("waits")
            server.send_signal(signal.SIGTERM)
            admin.until("/readyz", 503, "draining")
            assert admin.ask("/livez").status == 200
            (tmp_path / "go").touch()
            assert client.response().text == "done"
        assert server.wait() == 0


def test_one_that_died_is_back_with_the_next_worker(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        admin.until("/readyz?verbose", 200, "2 of 2 serve")
        died = admin.process()
        os.kill(died, signal.SIGKILL)
        until(lambda: not alive(died), "it is not reaped")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for(f"The admin process [{died}] died")
        admin.until("/readyz", 200)
        assert admin.process() != died
        assert server.stop() == 0


def test_it_goes_with_an_arbiter_that_is_killed(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        administering = admin.process()
        server.stop(signal.SIGKILL)
        until(lambda: not alive(administering), "it goes on without anybody to tell of")


def test_a_port_in_use_is_one_line_that_names_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = {"PRONGHORN_PORT": "0", "PRONGHORN_ADMIN": f":{port}", "PRONGHORN_LOG_FORMAT": "text"}
        words = ("--config", str(CONF), "--pid", "pid")
        with gunicorn(tmp_path, HELLO, *words, worker="", bind=None, ready=0, environ=environ) as server:
            assert server.wait() == 3
            errors = [line for line in server.stderr.all() if "[ERROR]" in line]
    assert len(errors) == 1
    assert re.search(rf"--admin: 127\.0\.0\.1:{port} is already in use\. Give it another address", errors[0])
    assert not (tmp_path / "pid").exists()


def test_without_the_option_there_is_no_process_and_no_folder(tmp_path: Path) -> None:
    environ = {"PRONGHORN_PORT": "0", "WEB_CONCURRENCY": "1", "PRONGHORN_LOG_FORMAT": "text"}
    with gunicorn(tmp_path, HELLO, "--config", str(CONF), worker="", bind=None, environ=environ) as server:
        assert children(server.pid) == {int(server.get().text)}
        assert server.stop() == 0
    assert not any("dmin" in line for line in server.stderr.all())
