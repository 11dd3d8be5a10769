"""What a service manager hears: from a notifier, and from a real server, over a socket that plays the manager's."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pronghorn.supervise import notify
from tests.support.process import serving
from tests.support.service_manager import Manager

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("served:app", "--app-dir", str(SUPPORT))


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Manager]:
    address = f"{short_path}/notify" if request.param == "path" else f"@{short_path}"
    manager = Manager(address)
    yield manager
    manager.sock.close()


def test_each_word_as_the_manual_page_has_it(manager: Manager) -> None:
    notifier = notify.from_environ({"NOTIFY_SOCKET": manager.address})
    notifier.ready()
    assert manager.heard() == {"READY": "1"}
    notifier.ready("4 workers")
    assert manager.heard() == {"READY": "1", "STATUS": "4 workers"}
    notifier.status("one\nline \x85 alone")
    assert manager.heard() == {"STATUS": "one line alone"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading("new code")
    heard = manager.heard()
    assert before <= int(heard.pop("MONOTONIC_USEC")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert heard == {"RELOADING": "1", "STATUS": "new code"}
    notifier.stopping("bye")
    assert manager.heard() == {"STOPPING": "1", "STATUS": "bye"}
    notifier.alive()
    assert manager.heard() == {"WATCHDOG": "1"}
    notifier.main_pid(42)
    assert manager.heard() == {"MAINPID": "42"}


@pytest.mark.parametrize(
    ("told", "interval", "handed_on"),
    [
        ({}, None, {}),
        ({"WATCHDOG_USEC": "3000000"}, 1.5, {"WATCHDOG_USEC": "3000000"}),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 1.5, {"WATCHDOG_USEC": "3000000"}),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None, {}),
        ({"WATCHDOG_USEC": "0"}, None, {}),
        ({"WATCHDOG_USEC": "soon"}, None, {}),
        ({"WATCHDOG_USEC": "-1"}, None, {}),
        ({"WATCHDOG_PID": "7"}, None, {}),
    ],
)
def test_the_watchdog(told: dict[str, str], interval: float | None, handed_on: dict[str, str]) -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "HOME": "/"} | told
    notifier = notify.from_environ(environ, pid=7)
    assert environ == {"HOME": "/"}
    assert notifier.interval == interval
    assert notifier.variables() == {"NOTIFY_SOCKET": "/run/x"} | handed_on


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1", "/", "@", "\x1b"])
def test_where_there_is_no_manager_nothing_is_said(address: str, caplog: pytest.LogCaptureFixture) -> None:
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
    with caplog.at_level(logging.WARNING, "pronghorn.error"):
        notifier = notify.from_environ(environ)
        for say in (notifier.ready, notifier.reloading, notifier.stopping, notifier.alive):
            say()
    notifier.status("x")
    notifier.main_pid(1)
    assert (environ, notifier.interval, notifier.variables()) == ({}, None, {})
    assert len(caplog.records) == (1 if address else 0)
    assert "\x1b" not in caplog.text


def test_a_manager_that_is_gone_is_complained_about_once_until_it_is_back(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{short_path}/notify"
    notifier = notify.from_environ({"NOTIFY_SOCKET": address})
    with caplog.at_level(logging.WARNING, "pronghorn.error"):
        for expected in (1, 2):
            notifier.alive()
            notifier.alive()
            assert len(caplog.records) == expected
            with contextlib.closing(Manager(address).sock) as sock:
                notifier.ready()
                assert sock.recv(100) == b"READY=1"
            Path(address).unlink()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_server_tells_when_it_serves_and_when_it_stops(tmp_path: Path, manager: Manager, loop: str) -> None:
    source = """
        import os
        from pathlib import Path

        async def app(scope, receive, send):
            assert scope["type"] == "lifespan"
            await receive()
            print(*(name for name in os.environ if name in ("NOTIFY_SOCKET", "WATCHDOG_USEC")), "starting", flush=True)
            while not Path("go").exists():
                pass
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        """
    environ = {"NOTIFY_SOCKET": manager.address}
    with serving(tmp_path, source, "--loop", loop, ready=False, environ=environ) as server:
        assert server.stdout.wait_for("starting") == "starting"
        assert manager.silent()
        (tmp_path / "go").touch()
        assert manager.heard() == {"READY": "1", "STATUS": f"Running on {server.running_on()}"}
        server.send_signal(signal.SIGTERM)
        assert manager.heard() == {"STOPPING": "1", "STATUS": "Waiting for requests in progress"}
        assert server.wait() == -signal.SIGTERM
        assert manager.silent()


@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_a_start_that_fails_is_never_ready_and_says_why(
    tmp_path: Path, manager: Manager, more: tuple[str, ...]
) -> None:
    environ = {"NOTIFY_SOCKET": manager.address}
    with serving(tmp_path, "nowhere:app", "--port", "0", *more, ready=False, environ=environ) as server:
        assert server.wait() == 3
    heard = manager.heard()
    assert heard.keys() == {"STATUS"}
    assert heard["STATUS"].startswith("APP: no module named 'nowhere'.")
    assert manager.silent()


def test_the_watchdog_is_fed_from_the_event_loop(tmp_path: Path, short_path: Path) -> None:
    manager = Manager(f"{short_path}/notify")
    blocking = """
        from pathlib import Path

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            print("stuck", flush=True)
            while not Path("go").exists():
                pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"well"})
        """
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}
    flags = ("--lifespan", "off")
    with (
        contextlib.closing(manager.sock),
        serving(tmp_path, blocking, *flags, environ=environ) as server,
        server.connect() as client,
    ):
        assert "READY" in manager.heard()
        assert manager.heard() == {"WATCHDOG": "1"}
        assert manager.heard() == {"WATCHDOG": "1"}
        client.request("GET", "/")
        server.stdout.wait_for("stuck")
        while not manager.silent():
            manager.heard()
        # Six intervals later there is nothing: what would be said by a thread would be said in vain.
        time.sleep(0.3)
        assert manager.silent()
        (tmp_path / "go").touch()
        assert client.response().text == "well"
        assert manager.heard() == {"WATCHDOG": "1"}
        server.send_signal(signal.SIGTERM)
        assert all(message == {"WATCHDOG": "1"} for message in manager.heard_until("STOPPING")[:-1])
