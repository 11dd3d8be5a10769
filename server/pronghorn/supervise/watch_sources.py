"""Two ways to learn that files have changed, behind one port: WatchFiles, which is told by the kernel, and looking again and again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Final, Protocol

from .watch_tree import Tree

#: Seconds between two looks at the files, at the least.
POLL_INTERVAL: Final = 0.25
# Looking takes a tenth of one processor at the most: the pause is this many times what the look took.
_REST: Final = 9
# What WatchFiles calls a file or a folder that is gone.
_DELETED: Final = 3
# WatchFiles looks into its mailbox this often, and takes a pause as long for the end of a burst.
_STEP_MS: Final = 50


class Source(Protocol):
    """Where changes of a tree come from: those after the tree was first read. It is asked by one thread."""

    name: str

    def wait(self, seconds: float | None, stopping: threading.Event) -> set[str]:
        """The files that have changed since it was last asked; nothing after `seconds`, once `stopping` is set, or for no reason.

        Raises OSError or RuntimeError when it can go on no longer.
        """

    def close(self) -> None:
        """Let go of what it holds."""


class Polling:
    """Looks at every wanted file, and pauses the longer the longer that takes."""

    name = "polling"

    def __init__(self, tree: Tree, interval: float = POLL_INTERVAL) -> None:
        self._tree = tree
        self._least = self._pause = interval

    def wait(self, seconds: float | None, stopping: threading.Event) -> set[str]:
        if stopping.wait(self._pause if seconds is None else seconds):
            return set()
        began, worked = time.monotonic(), time.thread_time()
        changed = self._tree.refresh()
        # As long as the look itself, besides, for the sake of a disk that is far away.
        self._pause = max(self._least, (time.thread_time() - worked) * _REST, time.monotonic() - began)
        return changed

    def close(self) -> None:
        pass


class WatchFiles:
    """The library of that name, which hears from the kernel: inotify, FSEvents.

    Raises ImportError where it is not installed, and OSError or RuntimeError where it cannot watch these folders, such as for the
    kernel's limit on watches.
    """

    name = "WatchFiles"

    def __init__(self, roots: tuple[str, ...], tree: Tree) -> None:
        # Not watchfiles.watch(), which logs each change at INFO and leaves no way to wait for the end of a burst.
        from watchfiles._rust_notify import RustNotify  # noqa: PLC0415  # an extra; its page "Rust backend"

        self._roots = roots
        self._tree = tree
        self._notify = RustNotify(
            list(roots),
            debug=False,
            force_polling=False,
            poll_delay_ms=0,
            recursive=True,
            # It would ignore every other failure to watch as well.
            ignore_permission_denied=False,
        )

    def wait(self, seconds: float | None, stopping: threading.Event) -> set[str]:
        # No time limit (0) until something has changed: as it expires, the library drops what arrives at that moment.
        limit = 0 if seconds is None else max(1, round(seconds * 1000))
        told = self._notify.watch(_STEP_MS, _STEP_MS, limit, stopping)
        if isinstance(told, str):  # "timeout" or "stop"
            return set()
        for root in self._roots:
            # The kernel would not watch another folder in its place, and there may be one already.
            if (_DELETED, root) in told or not os.path.isdir(root):  # noqa: PTH112  # a string is at hand
                raise FileNotFoundError(f"the folder {root} is gone")
        return set().union(*(self._tree.heed(path) for _, path in told))

    def close(self) -> None:
        self._notify.close()


def forced_polling(environ: Mapping[str, str]) -> bool | None:
    """What WATCHFILES_FORCE_POLLING says, as WatchFiles reads it; None if it says nothing."""
    value = environ.get("WATCHFILES_FORCE_POLLING")
    return value.lower() not in {"false", "disable", "disabled"} if value else None


def poll_interval(environ: Mapping[str, str]) -> float:
    """What WATCHFILES_POLL_DELAY_MS says, in seconds, or our own."""
    value = environ.get("WATCHFILES_POLL_DELAY_MS", "")
    return int(value) / 1000 if value.isdecimal() else POLL_INTERVAL
