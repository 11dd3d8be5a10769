"""A worker that is out of descriptors says so, once, and says when it is over."""

from __future__ import annotations

import errno
import logging
import os
import resource
import subprocess
import sys
from dataclasses import dataclass

import pytest

from pronghorn.worker.descriptors import QUIET, Descriptors


@dataclass
class Machine:
    """A clock, and what an attempt to open a file comes to."""

    now: float = 0.0
    error: int = 0

    def attempt(self) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))

    def clock(self) -> float:
        return self.now


def test_it_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pronghorn.error")
    machine = Machine()
    descriptors = Descriptors(machine.attempt, machine.clock)
    said: list[tuple[str, ...]] = []
    # Comes and goes as connections do, and is over only when it has been away for a while.
    for error in (0, errno.EMFILE, 0, 0, errno.EMFILE, *[0] * int(QUIET), 0):
        machine.error = error
        machine.now += 1
        descriptors.look()
        said.append(tuple(record.levelname for record in caplog.records))
        caplog.clear()
    assert said[1] == ("ERROR",)
    assert said[-2] == ("INFO",)
    assert sum(map(len, said)) == 2


def test_it_names_the_reason_and_the_ways_out(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(error=errno.ENFILE)
    Descriptors(machine.attempt, machine.clock).look()
    [record] = caplog.records
    assert "too many open files in system" in record.getMessage()
    assert "OPEN_FILES" in record.getMessage()


def test_another_error_is_another_matter(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(error=errno.ENOENT)
    Descriptors(machine.attempt, machine.clock).look()
    assert caplog.records == []


_OUT = """
import logging, os, resource
from pronghorn.worker.descriptors import Descriptors
logging.basicConfig(format="%(message)s")
descriptors = Descriptors()
descriptors.look()
print("before", flush=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
descriptors.look()
"""


def test_it_is_noticed_in_a_process_that_is_out_of_them() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 3
    done = subprocess.run([sys.executable, "-c", _OUT], capture_output=True, text=True, check=True)
    assert done.stdout == "before\n"
    assert done.stderr.startswith("New connections are refused: too many open files.")
