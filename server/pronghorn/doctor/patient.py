"""What is examined: the options as the server reads them, and what can be seen of it from here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pronghorn.observe import slots

from .machine import Machine, clock_is_kept, unix_listener
from .nginx import Nginx


@dataclass(kw_only=True)
class Patient:
    """One deployment. `values` are those of `sources.Resolution`; times are in seconds."""

    values: Mapping[str, Any]
    #: What `pronghorn healthcheck` does: whether it is ready, and a line that says so. Raises UsageError if there is nobody to ask.
    ask: Callable[[], tuple[bool, str]]
    machine: Machine = field(default_factory=Machine)
    #: The configuration of the nginx in front, where it was given.
    nginx: Nginx | None = None
    #: How long whoever stops the server waits before it kills.
    stop_grace: float | None = None
    timeout: float = 5.0
    now: Callable[[], float] = time.time
    clock_is_kept: Callable[[], bool | None] = clock_is_kept

    @cached_property
    def pid(self) -> int | None:
        """The process that listens; None if nobody does, or if it cannot be seen."""
        uds, port = self.values["uds"], self.values["port"]
        if uds is None:
            return self.machine.tcp_listener(port)
        try:
            return unix_listener(uds, self.timeout) or None
        except OSError:
            return None

    @property
    def count_files(self) -> list[Path]:
        """The count files that the processes of the server have open, as far as can be seen."""
        if self.pid is None:
            return []
        opened = (path for pid in self.machine.family(self.pid) for path in self.machine.opened(pid))
        return [path for path in opened if path.suffix == slots.SUFFIX]

    @property
    def behind_proxy(self) -> bool:
        """Whether somebody else speaks with the clients, as far as can be told: a Unix socket is for a neighbour."""
        return self.nginx is not None or self.values["uds"] is not None

    @property
    def where(self) -> str:
        """The address, for people."""
        values = self.values
        return values["uds"] if values["uds"] is not None else f"{values['host']}:{values['port']}"
