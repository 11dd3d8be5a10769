"""The deployment that is asked, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.smoke.target import Target


@pytest.fixture(scope="session")
def target() -> Target:
    """What scripts/smoke was told."""
    return Target.from_environ()


@pytest.fixture
def client(target: Target) -> Iterator[httpx.Client]:
    """A client with connections of its own."""
    with target.client() as client:
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Drop what this deployment has not: a test of TLS where there is none would have nothing to show."""
    target = Target.from_environ()
    has = {
        "tls": target.tls,
        "health": target.health is not None,
        "websocket": target.websocket is not None,
        "stream": target.stream is not None,
        "plain": target.plain is not None,
        "hsts": target.hsts,
        "admin": target.admin is not None,
        "certificate": target.tls and not target.insecure,
    }
    items[:] = [item for item in items if all(has[mark.args[0]] for mark in item.iter_markers("where"))]
