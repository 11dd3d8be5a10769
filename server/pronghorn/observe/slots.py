"""Who writes which count file: the lowest number that no living process has, taken with a lock that the kernel lets go of at death.

So a process that is replaced leaves its numbers to a successor, who goes on with them, two that live at the same time never share
any, and there are as many files as there were ever processes at a time. It does not matter who starts them, or how they end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pronghorn.errors import UsageError

WORKER: Final = "worker"
SUPERVISOR: Final = "supervisor"
SUFFIX: Final = ".counts"

# A folder of our own: its name, and the file in it whose lock its makers have for as long as one of them lives.
_PREFIX: Final = "pronghorn-"
_OWNER: Final = "owner"

# Seconds that somebody who takes a number waits for others who do, or who look. Nobody has a reason to take longer.
_TURN: Final = 1.0
_POLL: Final = 0.001


class Slot(NamedTuple):
    """A number, the descriptor that holds its lock, and the file."""

    number: int
    lock: int
    path: Path


def take(folder: Path, kind: str = WORKER) -> Slot:
    """Take the lowest free number. Raises OSError where there can be no file."""
    with _turn(folder, fcntl.LOCK_EX):
        for number in itertools.count():
            path = folder / f"{kind}-{number}{SUFFIX}"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            except BaseException:
                os.close(lock)
                raise
            else:
                return Slot(number, lock, path)
    raise AssertionError("numbers do not end")


def living(folder: Path) -> Iterator[tuple[Path, bool]]:
    """The count files of a folder, and whether a process that lives has each."""
    with _turn(folder, fcntl.LOCK_SH):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            yield path, is_taken(path)


def is_taken(path: Path) -> bool:
    """Whether a living process has this count file. Only while it is nobody's turn to take one: see `living`."""
    try:
        return _is_locked(path)
    except OSError:
        return False


def _is_locked(path: Path) -> bool:
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextlib.contextmanager
def _turn(folder: Path, how: int) -> Iterator[None]:
    """Look at locks while nobody takes any, and take one while nobody looks, or a look could cost somebody a number.

    Nobody waits for ever: should one be stopped in the middle of it, the worst that follows is one more file.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    give_up = time.monotonic() + _TURN
    try:
        while True:
            try:
                fcntl.flock(handle, how | fcntl.LOCK_NB)
            except OSError as exc:
                if exc.errno != errno.EWOULDBLOCK or time.monotonic() > give_up:
                    break
                time.sleep(_POLL)
            else:
                break
        yield
    finally:
        os.close(handle)


class Folder:
    """The folder of the count files: one of our own, which `close` removes, or the user's, which stays."""

    def __init__(self, path: Path, owner: int | None = None) -> None:
        """`owner`: the descriptor whose lock makes it ours."""
        self.path = path
        self._owner = owner

    def close(self) -> None:
        """Remove it, if it is ours."""
        if self._owner is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._owner)
            self._owner = None


def directory(wanted: str | None) -> Folder:
    """The folder for the count files of a server that starts: the one that is wanted, emptied, or a new one in memory.

    Raises UsageError where there can be none.
    """
    try:
        if wanted is None:
            return _own(home())
        path = Path(wanted)
        path.mkdir(parents=True, exist_ok=True)
        empty(path)
    except OSError as exc:
        raise UsageError(
            f"{wanted or tempfile.gettempdir()!r} cannot be used: {(exc.strerror or str(exc)).lower()}",
            option="--metrics-dir",
            hint="Give a folder that this process may write to",
        ) from None
    return Folder(path)


def home() -> Path:
    """Where folders of our own are made: in memory, if this user may."""
    memory = "/dev/shm"  # noqa: S108  # the files are in a folder that mkdtemp makes, for us alone
    return Path(memory if os.access(memory, os.W_OK) else tempfile.gettempdir())


def _own(parent: Path) -> Folder:
    """A new folder. Those of servers that were killed go, for nobody else would remove them."""
    for path in deserted(parent):
        shutil.rmtree(path, ignore_errors=True)
    # It gets the name that others look for when it is locked already: nobody ever finds one that only seems deserted.
    made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    owner = os.open(made / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    return Folder(made.rename(parent / made.name.removeprefix(".")), owner)


def deserted(parent: Path) -> Iterator[Path]:
    """This user's folders there whose server is gone, and all of its processes with it."""
    for path in parent.glob(f"{_PREFIX}*"):
        # What cannot be looked at is somebody else's, or goes just now.
        with contextlib.suppress(OSError):
            found = path.lstat()
            if (
                stat.S_ISDIR(found.st_mode)
                and found.st_uid == os.geteuid()
                and not _is_locked(path / _OWNER)
                and not any(lives for _, lives in living(path))
            ):
                yield path


def empty(folder: Path) -> None:
    """Remove what an earlier server has left: all counts start at nothing again. What belongs to processes that live stays."""
    deserted = True
    for path, lives in living(folder):
        deserted = deserted and not lives
        if not lives:
            path.unlink(missing_ok=True)
    if deserted:
        for path in folder.glob("*.db"):  # prometheus-client's
            path.unlink(missing_ok=True)
