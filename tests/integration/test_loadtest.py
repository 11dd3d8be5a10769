"""`make loadtest` as a person types it, on a stack with the shop: its verdict and its reports, its web UI, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import Built, shown_on_failure
from tests.integration.stack import ROOT, Stack, docker, new_name, project
from tests.support.waiting import until

# How fast a machine is that runs the rest of the tests as well is not what is tested. Of the slow there may be none who is done.
GROUPS = ("browse", "uploads", "downloads", "streaming", "sse", "chat: open", "chat: round trip")
THRESHOLDS = "".join(f'["{group}"]\nfailures = 0\nrequests = 1\n' for group in GROUPS)


class Person:
    """Somebody who types these commands beside that stack."""

    def __init__(self, stack: Stack, variables: dict[str, str], folder: Path) -> None:
        self.stack = stack
        thresholds = folder / "thresholds.toml"
        thresholds.write_text(THRESHOLDS)
        # What make around us hands down is not ours.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | {
            **variables,
            "COMPOSE_PROJECT_NAME": stack.project,
            "LOADTEST_THRESHOLDS": str(thresholds),
        }

    def types(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def generators(self) -> list[str]:
        """Containers that make load, running or not."""
        label = f"label=com.docker.compose.project={self.stack.project}"
        names = docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()
        return [name for name in names if "-locust-" in name]


@pytest.fixture(scope="module")
def variables(images: Built) -> Iterator[dict[str, str]]:
    """Images of our own names: the shop, and the generators."""
    name = new_name()
    own = {"PRONGHORN_IMAGE": f"{name}-app", "PRONGHORN_LOADTEST_IMAGE": f"{name}-loadtest"}
    yield {**images.variables, **own}
    docker("image", "rm", "--force", *own.values(), check=False)


@pytest.fixture(scope="module")
def person(
    variables: dict[str, str], pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Person]:
    with (
        project(new_name(), variables, build=True, app="examples/shop") as stack,
        shown_on_failure(pytestconfig, stack),
    ):
        yield Person(stack, variables, tmp_path_factory.mktemp("loadtest"))


def test_a_stack_that_is_good_enough_passes(person: Person) -> None:
    done = person.types("make", "loadtest", LOADTEST_USERS="24", LOADTEST_RAMP="2s", LOADTEST_DURATION="20s")
    lines = done.stdout.splitlines()

    assert done.returncode == 0, done.stdout
    assert f"All {2 * len(GROUPS)} thresholds met." in lines
    # From both workers.
    assert any(line.startswith("The generator: busiest second of a process ") for line in lines)
    reports = {file.name: file for file in (ROOT / "build/loadtest").iterdir()}
    assert {"report.html", "requests.csv", "verdict.txt"} <= reports.keys()
    assert reports["verdict.txt"].read_text().endswith("thresholds met.\n")
    assert "chat: close 1000" in reports["requests.csv"].read_text()
    assert person.generators() == []


def test_one_that_is_not_says_what_was_wanted(person: Person) -> None:
    done = person.types(
        "scripts/loadtest",
        LOADTEST_SCENARIO="browse",
        LOADTEST_USERS="4",
        LOADTEST_RAMP="1s",
        LOADTEST_DURATION="3s",
        LOADTEST_LIMITS="browse.requests=1000000",
    )

    assert done.returncode == 1, done.stdout
    assert "error: 1 of 2 thresholds not met: browse: requests " in done.stdout
    assert person.generators() == []


def test_another_application_gets_no_verdict(stack: Stack, variables: dict[str, str], tmp_path: Path) -> None:
    done = Person(stack, variables, tmp_path).types("scripts/loadtest")

    assert done.returncode == 2, done.stdout
    assert "error: http://nginx:8080 has no /api/products, " in done.stdout
    assert "start that: make up APP=examples/shop" in done.stdout


def test_no_stack_gets_no_verdict(person: Person) -> None:
    done = person.types("scripts/loadtest", COMPOSE_PROJECT_NAME=new_name())

    assert done.returncode == 2
    assert done.stdout.startswith(
        "error: the stack does not run\n       Start it: make up APP=examples/shop."
    )


def test_the_web_ui_starts_load_and_is_hardened(person: Person) -> None:
    with subprocess.Popen(
        ["scripts/loadtest", "--ui"],
        cwd=ROOT,
        env=person.environment | {"LOADTEST_PORT": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as script:
        assert script.stderr is not None
        try:
            url = next(
                found[1]
                for line in script.stderr
                if (found := re.search(r"web UI: (http://127\.\S+)/", line))
            )
            with httpx.Client(base_url=url, transport=httpx.HTTPTransport(retries=10), timeout=30) as browser:
                until(lambda: answers(browser), "the web UI")
                assert "<title>Locust</title>" in browser.get("/").text
                workers = until(
                    lambda: len(browser.get("/stats/requests").json()["workers"]) == 2, "both workers"
                )
                load = {"user_count": "12", "spawn_rate": "12", "host": "http://nginx:8080"}
                assert browser.post("/swarm", data=load).json()["success"]
                until(lambda: browser.get("/stats/requests").json()["total_rps"] > 0, "requests")
            assert workers
            [master] = [name for name in person.generators() if "-master-" in name]
            status = docker("exec", master, "cat", "/proc/1/status")
            assert docker("exec", master, "id", "-u").strip() == "10003"
            assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
            assert docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", master).strip() == "true"
            assert docker("port", master).strip() == f"8089/tcp -> {url.removeprefix('http://')}"
        finally:
            os.killpg(script.pid, signal.SIGINT)
            script.communicate(timeout=180)

    assert script.returncode == 0
    assert person.generators() == []


def answers(browser: httpx.Client) -> bool:
    """Whether anybody does yet."""
    try:
        return browser.get("/").status_code == 200
    except httpx.TransportError:
        return False
