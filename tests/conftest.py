"""What tests of every kind share: short socket paths, and how hypothesis runs here."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
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


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty folder whose sockets fit into the 107 bytes of sun_path (unix(7)); pytest's tmp_path may be longer."""
    with tempfile.TemporaryDirectory(prefix="ph-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def socket_path(short_path: Path) -> Path:
    """Where a test may put one Unix socket."""
    return short_path / "app.sock"
