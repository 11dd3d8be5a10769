"""How much memory this process uses."""

from __future__ import annotations

import os
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory in use: proc_pid_statm(5)."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123  # four times as fast, and it is done for ever
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        return 0  # no Linux
