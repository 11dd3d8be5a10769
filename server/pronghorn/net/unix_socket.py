"""Listening on a Unix socket: unix(7), bind(2), connect(2).

Why the socket is bound at its final name rather than at a temporary one that is renamed: the kernel
remembers the name a socket was bound to, and shows it in ``getsockname()`` and ``ss -x`` for ever after.
Nothing is lost by it. bind(2) creates the file, but connect(2) is refused until listen(2), so group and mode
are set between the two. Two instances started at once are kept apart by flock(2) on the folder, which
leaves no lock file behind; without it the second could take the first one's socket, bound and not yet
listening, for a dead one.

The folder is trusted as the folder of any pid file is: whoever may rename files in it could mislead us.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pronghorn.errors import StartupError

# sun_path of sockaddr_un, less the terminating NUL: unix(7) on Linux, sys/un.h on macOS and the BSDs.
_MAX_PATH = 107 if sys.platform == "linux" else 103

# A folder stays locked for the few system calls of a bind; whoever holds it longer is not one of us.
_LOCK_ATTEMPTS, _LOCK_PAUSE = 100, 0.01


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a socket that this process bound, known by more than its name."""

    pid: int
    path: Path
    device: int
    inode: int

    def remove(self) -> None:
        """Remove the file if this very process made it and it is still that file.

        Call it before the socket is closed. As long as the socket is open, its inode cannot be given to
        another file, so equal device and inode numbers prove that it is ours; and as long as it listens,
        nobody can have found it dead.
        """
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (self.pid, self.device, self.inode) == (os.getpid(), found.st_dev, found.st_ino):
                self.path.unlink()


def listen(
    path: str, *, backlog: int, mode: int | None, group: str | None
) -> tuple[socket.socket, SocketFile]:
    """Bind ``path``, give it its group (name or number) and mode, and only then listen.

    Raises ``StartupError``; nothing stays behind then.
    """
    full = _check(path)
    if mode is None:
        mode = 0o666 if group is None else 0o660
    gid = -1 if group is None else _group_id(group)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    file: SocketFile | None = None
    try:
        with _folder_lock(full.parent):
            _remove_dead(Path(path))  # As given: the absolute path may be longer than connect() takes.
            try:
                sock.bind(path)
            except OSError as exc:
                _bind_failed(exc, full)
            made = full.lstat()
            file = SocketFile(os.getpid(), full, made.st_dev, made.st_ino)
            if gid != -1:
                _set_group(full, gid, group)
            full.chmod(mode)
            sock.listen(backlog)
    except BaseException:
        if file is not None:
            file.remove()
        sock.close()
        raise
    return sock, file


def _check(path: str) -> Path:
    if not path or "\0" in path:
        raise StartupError(f"{path!r} is not a path", option="--uds")
    size = len(os.fsencode(path))
    if size > _MAX_PATH:
        raise StartupError(
            f"the path of a Unix socket may have {_MAX_PATH} bytes, and this one has {size}: {path}",
            option="--uds",
            hint="Choose a shorter path, or start in its folder and give the name alone",
        )
    return Path(path).absolute()


def _remove_dead(path: Path) -> None:
    """Make room at ``path``, if what is there is a socket that nobody listens on; else raise."""
    try:
        found = path.lstat()
    except OSError:
        return  # Nothing there, or bind() will tell better what is wrong.
    if not stat.S_ISSOCK(found.st_mode):
        raise StartupError(
            f"{path} exists and is not a socket", option="--uds", hint="Remove it, or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # A live server whose backlog is full answers EAGAIN; never wait for it.
        answer = probe.connect_ex(os.fspath(path))
    if answer == errno.ENOENT:
        return
    if answer in (errno.EACCES, errno.EPERM):
        raise StartupError(
            f"{path} exists, and connecting to it is not allowed, so nothing tells whether it is in use",
            option="--uds",
            hint="Remove it, or run as the user it belongs to",
        )
    if answer != errno.ECONNREFUSED:
        raise StartupError(
            f"another process is listening on {path}",
            option="--uds",
            hint="Stop it first, or choose another path",
        )
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StartupError(
            f"{path} is left over from another run and cannot be removed: {exc.strerror}", option="--uds"
        ) from exc


def _bind_failed(exc: OSError, path: Path) -> NoReturn:
    folder = path.parent
    message, hint = f"cannot bind to {path}: {exc.strerror or exc}", None
    if exc.errno == errno.ENOENT:
        message, hint = f"folder {folder} does not exist", "Create it, or choose another path"
    elif exc.errno == errno.ENOTDIR:
        message = f"{folder} is not a folder"
    elif exc.errno in (errno.EACCES, errno.EPERM):
        message = f"not allowed to create a socket in {folder} as user {os.geteuid()}"
        hint = "Give that user write permission on the folder, or choose another path"
    elif exc.errno == errno.EROFS:
        message, hint = f"{folder} is on a read-only file system", "Choose another path"
    elif exc.errno == errno.EADDRINUSE:
        message, hint = f"another process has just bound {path}", "Stop it first, or choose another path"
    raise StartupError(message, option="--uds", hint=hint) from exc


def _group_id(group: str) -> int:
    if group.isascii() and group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise StartupError(
            f"there is no group {group!r} here",
            option="--uds-group",
            hint="Create it, or give a group's number",
        ) from None


def _set_group(path: Path, gid: int, group: str | None) -> None:
    try:
        os.chown(path, -1, gid, follow_symlinks=False)
    except (OSError, OverflowError) as exc:
        raise StartupError(
            f"not allowed to give the socket to group {group!r} as user {os.geteuid()}",
            option="--uds-group",
            hint="Only root, or a member of the group, can do that",
        ) from exc


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold flock(2) on ``folder`` if that can be had at all; it guards against ourselves only."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        for _ in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE)
            except OSError:
                break  # This file system has no locks.
            else:
                break
        yield
    finally:
        os.close(handle)
