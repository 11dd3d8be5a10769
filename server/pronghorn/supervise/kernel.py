"""What Linux does for a family of processes: prctl(2), proc(5). Elsewhere nothing happens, and whoever calls has to do without."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def die_with_parent() -> None:
    """Have this process sent SIGTERM when its parent is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of those whose parent is gone, so that their ends can be waited for."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def resident() -> int:
    """Bytes of memory in use: proc_pid_statm(5)."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123  # four times as fast, and it is done for ever
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        return 0  # no Linux


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value)
