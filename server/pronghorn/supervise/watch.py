"""Which files changed, for `--reload`: told on a descriptor, so that the supervisor can wait for it beside everything else.

A thread waits for changes, by WatchFiles where it can and by polling otherwise, and lets them settle: an editor that writes a
file in three steps, or a checkout of a thousand files, is one batch. What it has found stays until it is asked for, and joins with
what comes after it, so a supervisor that is busy misses nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pronghorn.config import Config

from .watch_filter import Selection, select
from .watch_mounts import remote
from .watch_sources import Polling, Source, WatchFiles, forced_polling, poll_interval
from .watch_tree import Tree

logger = logging.getLogger("pronghorn.error")

#: A batch is told after so many delays, even if changes go on: a build that writes for ever is no reason to wait for ever.
_PATIENCE: Final = 10
#: Seconds that stop() waits for the thread: a look at a file system that has gone may not end at all.
_FAREWELL: Final = 2.0
#: As many files are named in a line of the log.
_SHOWN: Final = 5


class Batch:
    """Changes that belong together: complete when none has come for `delay` seconds, or after ten delays."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._paths: set[str] = set()
        self._began = self._latest = 0.0

    def add(self, paths: Iterable[str], now: float) -> None:
        """Some more; none at all changes nothing."""
        found = set(paths)
        if found:
            self._began = self._began if self._paths else now
            self._latest = now
            self._paths |= found

    def remaining(self, now: float) -> float | None:
        """Seconds until it is complete, 0 if it is; None while it is empty."""
        if not self._paths:
            return None
        due = min(self._latest + self._delay, self._began + self._delay * _PATIENCE)
        return max(0.0, due - now)

    def take(self) -> set[str]:
        """What is in it, which is then empty."""
        taken, self._paths = self._paths, set()
        return taken


class Watcher:
    """Watches the files of a selection from `start()` to `stop()`.

    What changes after `start()` has returned is told, so it comes before the first worker is started. `name` is then what the
    log calls it: "WatchFiles" or "polling".
    """

    def __init__(self, selection: Selection, delay: float = 0.25) -> None:
        self.selection = selection
        self.name = ""
        self._batch = Batch(delay)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pronghorn-reload", daemon=True)
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._ends: tuple[int, int] | None = None

    @classmethod
    def of(cls, config: Config) -> Watcher:
        """The watcher that the options ask for. Raises UsageError for a folder that is not there."""
        selection = select(
            config.reload_dirs, config.reload_includes, config.reload_excludes, app_dir=config.app_dir
        )
        return cls(selection, config.reload_delay)

    def start(self) -> None:
        """Watch from now on. Once only."""
        self._tree = Tree(self.selection)
        self._source = self._open()
        # Read once the kernel has been asked to tell, so that no change falls between the two.
        self._tree.refresh()
        self.name = self._source.name
        self._ends = os.pipe()
        os.set_blocking(self._ends[0], False)
        self._thread.start()

    def fileno(self) -> int:
        """The descriptor that can be read while there are changes to ask for; -1 if there is none."""
        return self._ends[0] if self._ends else -1

    def changes(self) -> list[Path]:
        """The files that have changed since this was last called, those that have gone as well, in order; none twice."""
        with self._lock:
            told, self._told = self._told, set()
            if told and self._ends:
                os.read(self._ends[0], 1)
        return sorted(map(Path, told))

    def stop(self) -> None:
        """Watch no longer, and close the descriptor. May be called again, and without start()."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_FAREWELL)
        with self._lock:
            ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _open(self) -> Source:
        forced = forced_polling(os.environ)
        if forced is None and (where := remote(self.selection.roots)) is not None:
            logger.info("%s is a file system of another machine: its files are polled.", where)
            forced = True
        if not forced:
            try:
                return WatchFiles(self.selection.roots, self._tree)
            except ImportError:
                pass
            except (OSError, RuntimeError) as exc:
                logger.warning("WatchFiles cannot watch, the files are polled: %s", exc)
        return Polling(self._tree, poll_interval(os.environ))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                found = self._source.wait(self._batch.remaining(time.monotonic()), self._stopping)
            except (OSError, RuntimeError) as exc:
                self._fall_back(exc)
                continue
            now = time.monotonic()
            self._batch.add(found, now)
            if self._batch.remaining(now) == 0:
                self._tell(self._batch.take())
        self._source.close()

    def _fall_back(self, why: Exception) -> None:
        """The tree is as it was last told of, so what was missed since is found at the first look."""
        logger.warning("WatchFiles can watch no longer, the files are polled: %s", why)
        self._source.close()
        self._source = Polling(self._tree, poll_interval(os.environ))
        self.name = self._source.name

    def _tell(self, paths: set[str]) -> None:
        with self._lock:
            if self._ends and not self._told:
                os.write(self._ends[1], b"\0")
            self._told |= paths


def name_files(paths: Sequence[Path]) -> str:
    """How the log names files that changed: seen from the current folder, and the first of them if there are many."""
    here = Path.cwd()
    shown = [
        repr(str(path.relative_to(here) if path.is_relative_to(here) else path)) for path in paths[:_SHOWN]
    ]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
