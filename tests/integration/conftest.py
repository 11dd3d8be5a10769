"""One stack for all integration tests; its logs are shown when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.integration.curl import Curl, make_image, remove_image
from tests.integration.stack import Stack, docker, new_name, prepare, project

RUNNING = pytest.StashKey[Stack]()


@dataclass(frozen=True)
class Built:
    """The images of this run, by the variables that name them in docker-compose.yml."""

    variables: dict[str, str]
    names: tuple[str, str]


@dataclass(frozen=True)
class Watchers:
    """The images of the profile `observability`, and the variables that name them."""

    variables: dict[str, str]

    @property
    def prometheus(self) -> str:
        return self.variables["PROMETHEUS_IMAGE"]

    @property
    def alertmanager(self) -> str:
        return self.variables["ALERTMANAGER_IMAGE"]


@contextmanager
def shown_on_failure(config: pytest.Config, stack: Stack) -> Iterator[None]:
    """While this lasts, it is that stack whose logs a failure shows."""
    before = config.stash.get(RUNNING, None)
    config.stash[RUNNING] = stack
    yield
    if before is None:
        del config.stash[RUNNING]
    else:
        config.stash[RUNNING] = before


@pytest.fixture(scope="session")
def images() -> Iterator[Built]:
    """An engine, base images, and names for this run's own images, which are removed at the end."""
    name = new_name()
    app, nginx = f"{name}-app", f"{name}-nginx"
    variables = {
        **prepare(),
        "PRONGHORN_IMAGE": app,
        "PRONGHORN_NGINX_IMAGE": nginx,
        "PRONGHORN_ACME_IMAGE": f"{name}-acme",
    }
    yield Built(variables, (app, nginx))
    docker("image", "rm", "--force", app, nginx, f"{name}-acme", check=False)
    # Images of ours that lost their name to a newer build; the engine refuses while somebody else prunes, who takes them as well.
    for title in ("pronghorn", "pronghorn-nginx", "pronghorn-acme"):
        labelled = f"label=org.opencontainers.image.title={title}"
        docker("image", "prune", "--force", "--filter", labelled, check=False)


@pytest.fixture(scope="session")
def curl(images: Built) -> Iterator[Curl]:
    """A client of every version of HTTP."""
    name = f"{new_name()}-curl"
    make_image(name, images.variables["PYTHON_IMAGE"])
    yield Curl(name)
    remove_image(name)


@pytest.fixture(scope="session")
def watchers(images: Built) -> Watchers:
    """With an engine that answers, which is what `images` sees to; what is not here is made or pulled."""
    found = Watchers(prepare(COMPOSE_PROFILES="observability"))
    for image in (found.prometheus, found.alertmanager):
        if not docker("image", "ls", "--quiet", image):
            docker("pull", "--quiet", image)
    return found


@pytest.fixture(scope="session")
def stack(images: Built, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The stack, built and running."""
    with (
        project(new_name(), images.variables, build=True) as stack,
        shown_on_failure(pytestconfig, stack),
    ):
        yield stack


@pytest.fixture
def whole_again(stack: Stack) -> Iterator[None]:
    """For tests that stop a part of the stack: starts it again for the next one."""
    yield
    stack.up()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A client of nginx."""
    with stack.client() as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of both logs to the report of a failure."""
    report = yield
    stack = item.config.stash.get(RUNNING, None)
    if report.failed and stack is not None:
        report.sections.append(("logs of the stack", stack.run("logs", "--no-color", "--tail", "15")))
    return report
