"""One stack for all drills, another in which each leaves it whole again, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drills.drill import Drill, marked
from tests.drills.report import Table
from tests.integration.conftest import Built, images, pytest_runtest_makereport, shown_on_failure
from tests.integration.stack import Stack, new_name, project

__all__ = ["images", "pytest_runtest_makereport"]

TABLE = pytest.StashKey[Table]()
FOLDER = "tests/drills"
#: Two workers, so that there is another one; and memory that one request can exhaust.
SETTINGS = {"PRONGHORN_WORKERS": "2", "APP_MEMORY": "384m"}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = Table()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash[TABLE]
    if table.lines:
        terminalreporter.section("drills")
        terminalreporter.write_line(str(table))


class Varied:
    """The stack, and which variant of it runs now: a further compose file, which makes another container."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.variant = ""

    def be(self, variant: str) -> None:
        """Run this variant, whole and healthy."""
        if variant == self.variant and all(map(self._is_well, ("app", "nginx"))):
            return
        more = ["-f", f"{FOLDER}/{variant}.yml"] if variant else []
        # What is replaced has nobody to be kind to.
        how = ("--no-build", "--timeout", "3", "--wait-timeout", "120")
        self.stack.run(*more, "up", "--detach", "--wait", *how)
        self.variant = variant

    def _is_well(self, service: str) -> bool:
        state = self.stack.inspect(service)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")


@pytest.fixture(scope="session")
def varied(images: Built, pytestconfig: pytest.Config) -> Iterator[Varied]:
    """The stack, built and running, with a name of its own for its images: see tests/integration/test_deploy.py."""
    with (
        project(
            new_name(), {**images.variables, **SETTINGS}, build=True, more=[f"{FOLDER}/drills.yml"]
        ) as stack,
        shown_on_failure(pytestconfig, stack),
    ):
        yield Varied(stack)


@pytest.fixture
def drill(varied: Varied, request: pytest.FixtureRequest) -> Drill:
    """The drill that the test's marker describes, on a stack that is whole."""
    told, name = marked(request.node)
    varied.be(told.get("variant", ""))
    return Drill(varied.stack, request.config.stash[TABLE], name, told["did"], told["must"])
