"""What tests of every kind share: free ports, short socket paths, and how hypothesis runs here."""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: how long one example takes says more about a busy machine than about the code. And the same examples in every run:
# one that fails tells of what was changed. Looking for others is what `make fuzz` does.
settings.register_profile("pronghorn", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("pronghorn")

# Who runs us in the background may have these ignored, and what is ignored stays so in every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def make_port() -> Callable[[], int]:
    """A function that returns a TCP port of the loopback interface which nobody listens on, another one each time."""
    given: set[int] = set()

    def port() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                number: int = probe.getsockname()[1]
            if number not in given:
                given.add(number)
                return number

    return port


@pytest.fixture
def free_port(make_port: Callable[[], int]) -> int:
    """One free TCP port."""
    return make_port()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty folder whose sockets fit into the 107 bytes of sun_path (unix(7)); pytest's tmp_path may be longer."""
    with tempfile.TemporaryDirectory(prefix="ph-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def socket_path(short_path: Path) -> Path:
    """Where a test may put one Unix socket."""
    return short_path / "app.sock"
