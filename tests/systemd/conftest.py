"""The machines of these tests, and what their journals say when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.stack import ROOT
from tests.systemd.machine import Machine, booted, image

RUNNING = pytest.StashKey[list[Machine]]()

HERE = Path(__file__).parent
DRILL_APP = "tests/support/drill_app.py"


@contextmanager
def _shown_on_failure(config: pytest.Config, machine: Machine) -> Iterator[Machine]:
    machines = config.stash.setdefault(RUNNING, [])
    machines.append(machine)
    yield machine
    machines.remove(machine)


@contextmanager
def told(config: pytest.Config) -> Iterator[None]:
    """What is made meanwhile goes past pytest's capturing, since minutes of silence look like a hang."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        yield


@pytest.fixture(scope="session")
def machine_image(pytestconfig: pytest.Config) -> str:
    """The image of a machine."""
    with told(pytestconfig):
        return image()


@pytest.fixture(scope="module")
def machine(machine_image: str, pytestconfig: pytest.Config) -> Iterator[Machine]:
    """A clean one, for a module of its own: systemd, nginx and Python, and nothing of ours."""
    with booted(machine_image) as machine, _shown_on_failure(pytestconfig, machine):
        yield machine


@pytest.fixture(scope="session")
def installed(machine_image: str, pytestconfig: pytest.Config) -> Iterator[Machine]:
    """One on which `make install-systemd` has run; shared, so that it is installed once."""
    with booted(machine_image) as machine, _shown_on_failure(pytestconfig, machine):
        machine.copy_repository()
        machine.run("make", "install-systemd", folder="/src")
        machine.run("cp", "-a", "/etc/pronghorn", "/etc/pronghorn.shipped")
        yield machine


@pytest.fixture
def host(installed: Machine) -> Iterator[Machine]:
    """The same with everything as it was shipped, an application that can be made to misbehave in three places, and nothing running."""
    for name in ("app", "shop", "blog"):
        put_application(installed, name)
    installed.mark()
    yield installed
    installed.shell(
        "systemctl stop 'pronghorn*'; systemctl disable --quiet pronghorn.socket pronghorn-gunicorn.socket;"
        "systemctl reset-failed; rm -rf /etc/systemd/system/pronghorn* /etc/pronghorn /srv/pronghorn/*;"
        "cp -a /etc/pronghorn.shipped /etc/pronghorn; systemctl daemon-reload"
    )


def put_application(machine: Machine, name: str) -> None:
    """Our application in the folder of that name, and where it has to say who it is."""
    folder, settings = f"/srv/pronghorn/{name}", f"/etc/pronghorn/{name}.env"
    state = f"/var/lib/pronghorn-{name}"
    if name == "app":
        machine.run("rm", "-rf", folder)
        settings, state = "/etc/pronghorn/pronghorn.env", "/var/lib/pronghorn"
    machine.write(f"{folder}/main.py", (HERE / "app.py").read_text())
    machine.write(f"{folder}/{DRILL_APP}", (ROOT / DRILL_APP).read_text())
    machine.write(settings, f"DRILL_FOLDER={state}\nPRONGHORN_WORKERS=2\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of each machine's journal to the report of a failure."""
    report = yield
    if report.failed:
        for machine in item.config.stash.get(RUNNING, []):
            tail = machine.attempt("journalctl", "--no-pager", "--lines=40").output
            report.sections.append((f"journal of {machine.name}", tail))
    return report
