"""What befalls a service under a constant load: every request is counted, and so is every answer.

What is planned, a restart or a reload, loses nothing. What is an accident loses at most what a process that was killed had taken; nobody
is refused, the service is back, and the journal says what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.steady import Counts, Fate, Load, Steady
from tests.support.waiting import until
from tests.systemd.machine import Machine
from tests.systemd.test_units import SOCKET, ask, drop_in

#: Requests a second. So few that those of the longest restart on a busy machine fit into the socket's queue of 2048 (PRONGHORN_BACKLOG):
#: whoever comes to a full one is turned away by the kernel.
LOAD = Load(kept=30, fresh=12, slow=2, uploads=2, timeout=60)
#: Answers before an event, and after it.
ENOUGH = 60


SERVICE = "pronghorn.service"


async def under_load(address: Path, *events: Callable[[], object]) -> Counts:
    """What the load came to while these happened, one after the other, with answers before and after each."""
    async with Steady(address, LOAD) as steady:
        for event in (lambda: None, *events):
            await asyncio.to_thread(event)
            wanted = steady.counts().answered + ENOUGH
            await asyncio.to_thread(
                until, lambda wanted=wanted: steady.counts().answered >= wanted, "answers"
            )
    return steady.counts()


def nothing_lost(counts: Counts) -> None:
    assert counts.failures == (), counts
    assert counts.answered == counts.sent


def nobody_refused(counts: Counts, *, at_most: int) -> None:
    """A process that was killed had so many connections."""
    assert counts.fates[Fate.REFUSED] == 0, counts
    assert counts.fates[Fate.TIMEOUT] == 0, counts
    assert counts.failed <= at_most, counts


def starts(machine: Machine) -> int:
    """How often systemd has started the service again by itself."""
    return int(machine.show(SERVICE, "NRestarts"))


def started(machine: Machine, settings: str = "") -> None:
    """The service, with settings beside those of every test."""
    file = "/etc/pronghorn/pronghorn.env"
    machine.write(file, machine.read(file) + settings)
    machine.systemctl("start", "pronghorn.socket", SERVICE)


def says(machine: Machine, *texts: str, unit: str = SERVICE) -> None:
    """Waits until one message of the unit has all of these."""
    until(
        lambda: any(all(text in message for text in texts) for message in machine.messages(unit)),
        f"the journal has {texts}",
    )


def replaced(machine: Machine) -> None:
    """Waits until a third worker has been started beside the two."""
    until(
        lambda: sum("Started server process" in message for message in machine.messages(SERVICE)) >= 3,
        "a successor",
    )


# ---- What is planned ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["restart", "reload"])
@pytest.mark.parametrize("unit", ["pronghorn", "pronghorn@shop", "pronghorn-gunicorn"])
async def test_nothing_is_lost_by(host: Machine, unit: str, verb: str) -> None:
    socket = "/run/pronghorn/shop.sock" if "@" in unit else SOCKET
    host.systemctl("start", f"{unit}.socket", f"{unit}.service")
    event = lambda: host.systemctl(verb, f"{unit}.service")  # noqa: E731 - twice, below
    counts = await under_load(host.path(socket), event, event)
    nothing_lost(counts)
    assert len(counts.workers) >= 4, "the workers of before did not answer all of it"


async def test_a_reload_is_done_when_systemctl_says_so(host: Machine) -> None:
    started(host)
    before = ask(host).split()[0]
    host.write("/srv/pronghorn/app/main.py", host.read("/srv/pronghorn/app/main.py") + "\nVERSION = 2\n")
    host.systemctl("reload", SERVICE)
    answers = {ask(host).split()[0] for _ in range(20)}
    assert before not in answers
    assert host.state(SERVICE) == "active running"


async def test_a_reload_with_code_that_does_not_start_changes_nothing(host: Machine) -> None:
    started(host)
    host.write("/srv/pronghorn/app/main.py", "import a_module_that_is_missing\n")
    nothing_lost(await under_load(host.path(SOCKET), lambda: host.systemctl("reload", SERVICE)))
    says(host, "a_module_that_is_missing")
    given_up = "A restart was given up; the old worker processes serve"
    until(lambda: host.show(SERVICE, "StatusText") == given_up, given_up)
    assert host.state(SERVICE) == "active running"


async def test_applications_do_not_notice_each_other(host: Machine) -> None:
    host.systemctl("start", "pronghorn@shop.socket", "pronghorn@blog.socket")
    counts = await under_load(
        host.path("/run/pronghorn/shop.sock"),
        lambda: ask(host, socket="/run/pronghorn/blog.sock"),
        lambda: host.systemctl("restart", "pronghorn@blog"),
        lambda: host.systemctl("kill", "--signal=KILL", "pronghorn@blog"),
    )
    nothing_lost(counts)
    assert ask(host, socket="/run/pronghorn/blog.sock")
    users = {
        host.run("stat", "--format=%u", f"/proc/{host.show(f'pronghorn@{name}', 'MainPID')}")
        for name in ("shop", "blog")
    }
    assert len(users) == 2, "each has a user of its own"


# ---- Accidents ------------------------------------------------------------------------------------------------------


async def test_the_main_process_is_killed(host: Machine) -> None:
    started(host)
    counts = await under_load(
        host.path(SOCKET), lambda: host.systemctl("kill", "--kill-whom=main", "--signal=KILL", SERVICE)
    )
    # What its workers had taken: the pool, and those of a moment that came on connections of their own.
    nobody_refused(counts, at_most=LOAD.connections + 30)
    host.reaches(SERVICE, "active running")
    assert starts(host) == 1
    says(host, "Main process exited, code=killed, status=9/KILL")


async def test_a_worker_is_killed(host: Machine) -> None:
    started(host)
    main = host.show(SERVICE, "MainPID")
    worker = ask(host).split()[0]
    counts = await under_load(host.path(SOCKET), lambda: host.run("kill", "-KILL", worker))
    nobody_refused(counts, at_most=LOAD.connections + 10)
    says(host, f"Child process [{worker}] died: killed by SIGKILL")
    replaced(host)
    assert (starts(host), host.show(SERVICE, "MainPID")) == (0, main), "the service itself has not noticed"


async def test_an_event_loop_is_blocked(host: Machine) -> None:
    started(host)
    blocked = [
        *("curl", "--silent", "--max-time", "60", "--unix-socket", SOCKET, "http://localhost/block?for=60")
    ]
    counts = await under_load(host.path(SOCKET), lambda: host.attempt(*blocked))
    nobody_refused(counts, at_most=LOAD.connections + 10)
    # And its stack, in the same record.
    says(host, "Killing child process", "drill_app.py", "in _do")
    replaced(host)
    assert starts(host) == 0


def watched(host: Machine, *, patience: int) -> None:
    """A watchdog in a hurry; so many seconds has who is to be aborted to say where it stood."""
    drop_in(host, SERVICE, f"[Service]\nWatchdogSec=5\nTimeoutAbortSec={patience}\n")


def test_a_server_that_is_one_process_is_blocked(host: Machine) -> None:
    """The watchdog is fed by its event loop."""
    watched(host, patience=30)
    started(host, "PRONGHORN_SUPERVISE=false\nPRONGHORN_WORKERS=1\n")
    host.attempt(
        "curl", "--silent", "--max-time", "60", "--unix-socket", SOCKET, "http://localhost/block?for=60"
    )
    assert ask(host)
    assert starts(host) >= 1
    says(host, "Watchdog timeout (limit 5s)!")
    # Where it stood, from Python itself.
    says(host, "Fatal Python error: Aborted")
    says(host, "drill_app.py", "in _do")


def test_everything_hangs(host: Machine) -> None:
    """A supervisor that is stopped, and with it whoever would replace its workers."""
    watched(host, patience=2)
    started(host)
    host.systemctl("kill", "--kill-whom=main", "--signal=STOP", SERVICE)
    until(lambda: starts(host) >= 1, "systemd starts it again")
    host.reaches(SERVICE, "active running")
    says(host, "Watchdog timeout (limit 5s)!")
    assert ask(host)


# ---- Starts that fail -----------------------------------------------------------------------------------------------


def mended(machine: Machine) -> None:
    """As docs/systemd.md says."""
    machine.systemctl("reset-failed", "pronghorn.socket", SERVICE)
    machine.systemctl("start", "pronghorn.socket", SERVICE)
    assert ask(machine)


def test_an_application_that_does_not_start_is_failed_and_says_why(host: Machine) -> None:
    good = host.read("/srv/pronghorn/app/main.py")
    # It is tried more often than a test wants to wait for.
    drop_in(host, SERVICE, "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=0\n")
    host.write("/srv/pronghorn/app/main.py", "import a_module_that_is_missing\n")
    assert host.attempt("systemctl", "start", SERVICE).code != 0
    host.reaches(SERVICE, "failed failed")
    host.reaches("pronghorn.socket", "failed failed")
    status = host.attempt("systemctl", "--no-pager", "--full", "--lines=30", "status", SERVICE)
    assert "Active: failed (Result: exit-code)" in status.output
    # The lines of the log below are of the last attempt, which was none.
    why = "APP: importing 'main' failed: ModuleNotFoundError: No module named 'a_module_that_is_missing'"
    assert f'Status: "{why}' in status.output
    assert "status=3" in status.output
    host.write("/srv/pronghorn/app/main.py", good)
    mended(host)


def test_an_option_that_makes_no_sense_is_tried_once(host: Machine) -> None:
    settings = host.read("/etc/pronghorn/pronghorn.env")
    host.write("/etc/pronghorn/pronghorn.env", "PRONGHORN_WORKERS=many\n")
    assert host.attempt("systemctl", "start", SERVICE).code != 0
    assert host.state(SERVICE) == "failed failed"
    # The journal has it a moment later than systemd has the exit status.
    status = ("systemctl", "--no-pager", "--full", "status", SERVICE)
    until(lambda: "PRONGHORN_WORKERS" in host.attempt(*status).output, "the status says which option")
    assert starts(host) == 0
    host.write("/etc/pronghorn/pronghorn.env", settings)
    mended(host)
