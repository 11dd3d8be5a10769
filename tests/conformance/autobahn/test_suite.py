"""Runs end, and their containers with them, whatever the server does."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.autobahn.suite import Run, started


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def containers(run: Run) -> list[str]:
    command = ["docker", "ps", "--all", "--quiet", "--filter", f"name={run.container}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_run_that_is_left_leaves_no_container(image: str, silent: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), started(image, silent, ["1.1.1"], tmp_path, 60) as run:
        raise KeyboardInterrupt
    assert containers(run) == []


def test_a_run_over_its_time_ends_by_itself(image: str, silent: str, tmp_path: Path) -> None:
    # The suite waits for each case, and reports when it has been through all of them: more than a second's worth.
    with started(image, silent, ["1.*", "2.*"], tmp_path, 1) as run:
        report = run.report(print)
        assert containers(run) == []
    assert report.outcomes == {}
    assert "status is 124" in report.last_words  # timeout(1)


def test_a_server_that_says_nothing_passes_no_case(image: str, silent: str, tmp_path: Path) -> None:
    with started(image, silent, ["1.1.1"], tmp_path, 60) as run:
        outcome = run.report(print).outcomes["1.1.1"]
    assert (outcome.behavior, outcome.closing) == ("FAILED", "FAILED")
