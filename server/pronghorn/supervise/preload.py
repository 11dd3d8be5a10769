"""The process that imports the application once, for ``--preload``, and is forked into the workers.

It serves nothing and stays small in words: told to fork, with the descriptors of a channel and of listening sockets beside the
message, it answers with the number of the new process; and because it is their parent, it tells of their ends. The supervisor itself imports nothing even
so (docs/adr/0022): a restart is another process like this one, and if that cannot import the new code, this one goes on.

`gc.freeze` keeps the collector from writing into what was imported: each page that is written to is a copy of its own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final

from pronghorn import importer
from pronghorn.observe import everything, logs, output

from .channel import Channel, Start

_ENOUGH: Final = 4096
#: Descriptors beside one message: a channel, and listening sockets. The kernel's own limit is 253.
_MOST: Final = 253


def preload(channel: Channel, start: Start, work: Callable[[Channel, Sequence[int]], None]) -> None:
    """Import, then fork until the supervisor is gone or has no use for this any more; `work` is what the forked do.

    Raises UserError where the application cannot be imported.
    """
    config = start.config
    # A terminal's Ctrl+C is for the supervisor, which closes the channel when the workers are gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure(**config.logging)
    if config.metrics:
        from pronghorn.observe import application  # noqa: PLC0415  # not for those who count nothing

        application.write_as("preload")
    assert isinstance(config.app, str)
    importer.import_string(config.app, app_dir=config.app_dir)
    everything.retake()
    gc.collect()
    gc.freeze()
    channel.send({"ready": []})
    with _children_wake() as wakeup, selectors.DefaultSelector() as waiting:
        waiting.register(channel, selectors.EVENT_READ)
        waiting.register(wakeup, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is wakeup:
                    with contextlib.suppress(BlockingIOError):
                        wakeup.recv(_ENOUGH)
                    continue
                asked, descriptors = _receive(channel)
                if not asked:
                    return  # the supervisor is gone; the kernel tells the workers, whose parent this was
                pid = os.fork()
                if not pid:
                    waiting.close()
                    channel.close()
                    _become_worker(descriptors, work)
                for descriptor in descriptors:
                    os.close(descriptor)
                channel.send({"forked": pid})
            _report_ends(channel)


def _receive(channel: Channel) -> tuple[bytes, list[int]]:
    """A word and its descriptors; none when the supervisor is gone."""
    try:
        word, descriptors, _, _ = socket.recv_fds(channel.sock, _ENOUGH, _MOST)
    except ConnectionResetError:  # killed before it had read all that we said
        return b"", []
    return word, descriptors


def _report_ends(channel: Channel) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            channel.send({"ended": [pid, os.waitstatus_to_exitcode(status)]})


def _become_worker(descriptors: Sequence[int], work: Callable[[Channel, Sequence[int]], None]) -> None:
    """What the parent had set up for itself is not for us, and what follows on its stack is not either."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 0
    try:
        work(Channel(socket.socket(fileno=descriptors[0])), descriptors[1:])
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001  # this is the end of the process, whatever it was
        sys.excepthook(*sys.exc_info())
        code = 1
    output.finish()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def _children_wake() -> Iterator[socket.socket]:
    """A socket that can be read when a child has ended."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)

    def nothing(number: int, frame: FrameType | None) -> None:
        """The byte in the socket is what matters."""

    signal.signal(signal.SIGCHLD, nothing)
    with reader, writer:
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(-1)  # children end after this as well
