"""Deploys under constant load: what each of them costs the clients. `pytest -s` shows the table. Accidents are in tests/drills."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import Built, shown_on_failure
from tests.integration.edge_load import Returning, Row, constant_load
from tests.integration.stack import FILES, ROOT, Stack, docker, new_name, project
from tests.support.waiting import until

MAIN = (ROOT / "tests/integration/app/main.py").read_text()
#: What each version has at its end.
VERSIONS = {
    "2": 'VERSION = "2"',
    "crashing": 'raise RuntimeError("this version is broken")',
    "waiting": "async def lifespan(receive, send):\n    await asyncio.Event().wait()",
    # At the first request of a client's; those of health do not come to the application.
    "dying": "async def process(scope, receive, send):\n    os._exit(3)\nPATHS['/process'] = process",
}
#: Seconds for `scripts/stack`; what is open in the old slot stays for DEPLOY_DRAIN.
SETTINGS = {"DEPLOY_WATCH": "2", "DEPLOY_DRAIN": "4", "DEPLOY_TIMEOUT": "60"}


class Table:
    """What each of these tests came to, in one table at the end."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, what: str, rows: list[Row]) -> None:
        sys.stdout.write(f"\n{what}\n" + "".join(f"{row}\n" for row in rows))
        sent, failed = sum(row.sent for row in rows), sum(len(row.failures) for row in rows)
        again, gap = sum(row.asked_again for row in rows), max(row.gap for row in rows)
        self.lines.append(f"{what:40} {sent:7} {failed:7} {again:12} {gap * 1000:8.0f} ms")

    def __str__(self) -> str:
        head = f"{'':40} {'sent':>7} {'failed':>7} {'asked again':>12} {'longest gap':>11}"
        return "\n".join([head, *self.lines])


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    sys.stdout.write(f"\n{table}\n")


def turn(project: str) -> Path:
    """The file whose lock is the turn of who deploys."""
    return Path(os.environ.get("TMPDIR", "/tmp")) / f"pronghorn-deploy-{project}.lock"


class Deployed:
    """A stack, and scripts/stack for it."""

    def __init__(self, stack: Stack, image: str) -> None:
        self.stack, self.image = stack, image

    def script(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts/stack", *arguments],
            cwd=ROOT,
            env={**os.environ, "COMPOSE_FILE": ":".join(FILES), **SETTINGS, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def deploy(self, version: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.script("deploy", "--no-build", PRONGHORN_IMAGE=f"{self.image}-{version}", **settings)

    @property
    def live(self) -> str:
        return self.script("live").stdout.strip()

    def version(self) -> str:
        with self.stack.client() as client:
            return str(client.get("/version").raise_for_status().json())

    def answers(self) -> bool:
        with self.stack.client() as client:
            try:
                return client.get("/version").status_code == 200
            except httpx.HTTPError:
                return False

    def running(self) -> list[str]:
        """The slots whose containers run."""
        told = self.stack.run("--profile", "green", "ps", "--services", "--status", "running")
        return sorted(set(told.split()) & {"app", "app-green"})

    @asynccontextmanager
    async def load(self) -> AsyncIterator[list[Row]]:
        async with constant_load(self.stack, self.stack.trust(), Returning) as rows:
            yield rows


@pytest.fixture(scope="module")
def deployed(
    images: Built, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """A stack of its own, and images of its other versions.

    Its own images too: Compose puts the project's name into what it builds, so that `up` would find those of another one outdated.
    """
    name = new_name()
    folder: Path = tmp_path_factory.mktemp("versions")
    own = {"PRONGHORN_IMAGE": f"{name}-1", "PRONGHORN_NGINX_IMAGE": f"{name}-nginx"}
    with (
        project(name, {**images.variables, **own}, build=True) as second,
        shown_on_failure(pytestconfig, second),
    ):
        for version, end in VERSIONS.items():
            (folder / "main.py").write_text(f"{MAIN}\n\n{end}\n")
            (folder / "Dockerfile").write_text(f"FROM {name}-1\nCOPY main.py /app/main.py\n")
            docker("build", "--quiet", "--tag", f"{name}-{version}", str(folder))
        yield Deployed(second, name)
    turn(name).unlink(missing_ok=True)
    docker("image", "rm", "--force", *own.values(), *(f"{name}-{version}" for version in VERSIONS))


def failures(rows: list[Row]) -> dict[str, list[str]]:
    return {row.kind: row.failures for row in rows if row.failures}


def again(rows: list[Row], *kinds: str) -> dict[str, int]:
    return {row.kind: row.asked_again for row in rows if row.kind in kinds}


# ---- In this order: each begins with what the one before has left ------------------------------------------------------


async def test_a_deploy_loses_nothing(deployed: Deployed, table: Table) -> None:
    assert (deployed.live, deployed.version()) == ("app", "1")
    async with deployed.load() as rows:
        done = await asyncio.to_thread(deployed.deploy, "2")
    table.add("deploy", rows)
    assert done.returncode == 0, done.stdout
    assert failures(rows) == {}
    # What stays open was told once, and came back.
    assert again(rows, "websocket", "events") == {"websocket": 1, "events": 1}
    assert (deployed.live, deployed.version(), deployed.running()) == ("app-green", "2", ["app-green"])


def test_the_engine_starts_again_what_was_live(deployed: Deployed) -> None:
    """After a reboot or a restart of the engine: who was stopped stays stopped, and the link is in the volume."""
    assert deployed.stack.inspect("nginx")["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    told = deployed.stack.run("--profile", "green", "ps", "--all", "--format", "{{.Service}} {{.State}}")
    assert {"app exited", "app-green running"} < set(told.splitlines())


def test_doctor_looks_at_the_slot_that_is_live(deployed: Deployed) -> None:
    done = deployed.script("doctor")
    assert "/run/pronghorn/green.sock is listened on" in done.stdout, done.stdout
    assert "no way to" not in done.stdout


async def test_a_rollback_loses_nothing(deployed: Deployed, table: Table) -> None:
    async with deployed.load() as rows:
        done = await asyncio.to_thread(deployed.script, "rollback")
    table.add("rollback", rows)
    assert done.returncode == 0, done.stdout
    assert failures(rows) == {}
    assert again(rows, "websocket", "events") == {"websocket": 1, "events": 1}
    assert (deployed.live, deployed.version(), deployed.running()) == ("app", "1", ["app"])


@pytest.mark.parametrize(
    ("version", "settings", "told"),
    [
        ("crashing", {}, "this version is broken"),
        ("waiting", {"DEPLOY_TIMEOUT": "5"}, "Waiting for application"),
    ],
)
async def test_a_version_that_never_serves_is_not_noticed(
    deployed: Deployed, table: Table, version: str, settings: dict[str, str], told: str
) -> None:
    async with deployed.load() as rows:
        done = await asyncio.to_thread(lambda: deployed.deploy(version, **settings))
    table.add(f"deploy of a version that is {version}", rows)
    assert done.returncode == 1, done.stdout
    assert told in done.stdout
    assert "error: the version in the other slot did not become ready" in done.stdout
    assert failures(rows) == {}
    assert again(rows, "websocket", "events") == {"websocket": 0, "events": 0}
    assert (deployed.live, deployed.version(), deployed.running()) == ("app", "1", ["app"])


async def test_a_version_that_dies_once_it_serves_is_taken_back(deployed: Deployed, table: Table) -> None:
    """What it was asked it has lost; the one before goes on as if nothing had been."""
    async with deployed.load() as rows:
        # Long enough for nginx to ask there (keepalive_time), and for somebody to look while it is dead; it ends when that is seen.
        done = await asyncio.to_thread(lambda: deployed.deploy("dying", DEPLOY_WATCH="20"))
        settled = {row.kind: len(row.failures) for row in rows}
    table.add("deploy of a version that is dying", rows)
    assert done.returncode == 1, done.stdout
    assert "error: the version in the other slot did not stay ready" in done.stdout
    assert {row.kind: len(row.failures) for row in rows} == settled
    # These were with the old version all the time.
    assert again(rows, "websocket", "events") == {"websocket": 0, "events": 0}
    assert (deployed.live, deployed.version(), deployed.running()) == ("app", "1", ["app"])


def test_there_is_nothing_to_go_back_to_after_a_deploy_that_failed(deployed: Deployed) -> None:
    done = deployed.script("rollback")
    assert done.returncode == 1
    assert "error: there is no version from before" in done.stdout


def test_two_at_once_are_one(deployed: Deployed) -> None:
    with turn(deployed.stack.project).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = deployed.deploy("2")
    assert done.returncode == 1
    assert "error: somebody else deploys" in done.stdout


async def test_up_ends_in_the_first_slot_whichever_is_live(deployed: Deployed, table: Table) -> None:
    """With a build, of nothing new."""
    done = await asyncio.to_thread(deployed.deploy, "2")
    assert (done.returncode, deployed.live) == (0, "app-green"), done.stdout
    nginx = deployed.stack.inspect("nginx")
    async with deployed.load() as rows:
        done = await asyncio.to_thread(deployed.script, "up")
    table.add("make up while the other slot is live", rows)
    assert done.returncode == 0, done.stdout
    after = deployed.stack.inspect("nginx")
    # Otherwise it is not the slots that are looked at.
    assert (after["Id"], after["Image"]) == (nginx["Id"], nginx["Image"]), done.stdout
    assert failures(rows) == {}
    assert (deployed.live, deployed.version(), deployed.running()) == ("app", "1", ["app"])


def test_up_mends_a_volume_from_before_there_were_slots(deployed: Deployed) -> None:
    """There the socket itself was app.sock, and when its server stopped there was nothing."""
    deployed.stack.execute("app", "rm", "/run/pronghorn/app.sock")
    until(lambda: not deployed.answers(), "the end of what nginx had open")
    done = deployed.script("up")
    assert done.returncode == 0, done.stdout
    assert deployed.version() == "1"


def test_a_deploy_builds(deployed: Deployed, tmp_path: Path) -> None:
    """Without --no-build: what the folder of the application has become."""
    (tmp_path / "main.py").write_text(f'{MAIN}\n\nVERSION = "3"\n')
    done = deployed.script("deploy", APP_SOURCE=str(tmp_path), PRONGHORN_IMAGE=f"{deployed.image}-built")
    docker("image", "rm", "--force", f"{deployed.image}-built")
    assert done.returncode == 0, done.stdout
    assert (deployed.live, deployed.version()) == ("app-green", "3")
