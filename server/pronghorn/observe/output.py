"""The two output streams of the process, as our own lines go there: access lines and log records alike.

Whoever reads a log must not be able to stop the server. A reader that is slow, or has stopped, costs lines and nothing else: what it
does not take waits here, up to a limit, and a thread writes it as soon as it is taken. Beyond the limit lines are dropped and counted,
until all that waits has gone out; then one line says how many there were. So what is read has one gap in it, not many.

It goes past the buffers of ``sys.stdout``, because Python writes those again at exit, and makes exit status 120 of a
failure. Lines stay whole where other processes write to the same pipe: several go out in one write(2) as long as the kernel takes
them whole or not at all, and a longer one goes once the pipe has room for it (`sinks.Pipe`).

Nothing here waits for a lock that is held over a write that could wait, and a signal handler that logs while its own thread
is writing adds to what waits.
"""

from __future__ import annotations

import atexit
import functools
import io
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, TextIO

from pronghorn.observe.sinks import Closed, Sink, sink_of

Name = Literal["stdout", "stderr"]

# How many bytes may wait for a reader, and how many seconds for it at the end.
LIMIT: Final = 1 << 20
_PATIENCE: Final = 1.0
# How often the thread looks whether there is still something to wait for, and how often we look what the stream is now: a program may
# have put another file under the same number. In seconds.
_BREATH: Final = 0.5
_LOOK: Final = 1.0


class Output:
    """Writes to ``sys.stdout`` or ``sys.stderr``, whatever that is at the moment. Never raises, and never waits for a reader.

    `dropped` is how many lines were lost since the process began. `dress` makes a line, in the format of the others, of what there is
    to say about them.
    """

    def __init__(self, name: Name, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.dropped = 0
        self.dress: Callable[[str], str] = "{}\n".format
        self._clock = clock
        self._stream: TextIO | None = None
        self._sink: Sink | None = None
        self._file: object = None
        self._encoding = "utf-8"
        self._look_again = 0.0
        self._fields = False
        self.forget()

    def use_fields(self, wanted: bool) -> None:
        """From now on, what is written are lines of JSON, and systemd's journal is to have records with fields of them."""
        with self._lock:
            self._fields, self._file, self._look_again = wanted, None, 0.0

    def forget(self) -> None:
        """Begin with nothing that waits: what a process had when it was forked is its own to write, as its thread is not here."""
        self._lock = threading.RLock()
        # Whole lines, but for the first piece if it is begun, which is what is left of it.
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._begun = False
        self._busy = False
        self._thread: threading.Thread | None = None
        # Lines that were lost and not told of; those that the first piece tells of; since when, and why if not for want of a reader.
        self._lost = self._telling = 0
        self._since: float | None = None
        self._why = ""
        self._dropping = False
        # A line was begun in a file and will never be ended.
        self._torn = False
        self._news = ""

    def write(self, text: str, *, whole: bool = False) -> None:
        """Write lines, after what waits; `whole` if nothing of anybody else may come between them."""
        with self._lock:
            if getattr(sys, self.name, None) is not self._stream or self._clock() >= self._look_again:
                self._look()
            sink = self._sink
            if sink is None:  # a process without a console
                return
            data = text.encode(self._encoding, "backslashreplace")
            if not (self._pieces or self._lost or sink.waits or len(data) > sink.atomic):
                # Nearly always. What does not go the quick way goes the other one.
                try:
                    data = data[sink.write(data) :]
                    if not data:
                        return
                    self._begun = True
                except (OSError, ValueError):  # it will be met again
                    pass
            self._add(data, sink.atomic, whole=whole)
            if self._thread is None:
                self._drain()
        if self._news:
            self._tell()

    def waiting(self) -> int:
        """How many bytes wait for their reader."""
        return self._size

    def finish(self) -> None:
        """Write what waits, giving its reader a second."""
        end = self._clock() + _PATIENCE
        while self._pieces and self._sink is not None and (left := end - self._clock()) > 0:
            self._sink.pause(left)
            with self._lock:
                self._drain()

    def close(self) -> None:
        """The process is about to end."""
        self.finish()
        with self._lock:
            if self._sink is not None:
                self._sink.close()
            self._stream = self._sink = self._file = None

    # With the lock held.

    def _look(self) -> None:
        """See what the stream is now."""
        self._look_again = self._clock() + _LOOK
        stream: TextIO | None = getattr(sys, self.name, None)
        self._stream = stream
        try:
            file = _identity(stream)
            if stream is not None and file == self._file:
                return
            sink = None if stream is None else self._sink_of(stream)
        except (OSError, ValueError) as exc:
            file, sink = None, Closed(exc)
        if self._sink is not None:
            self._sink.close()
        self._file, self._sink = file, sink
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._torn = False
        if self._begun:  # its beginning is in the other file
            self._begun = False
            self._lose(self._pieces.popleft())

    def _sink_of(self, stream: TextIO) -> Sink:
        if self._fields and type(stream) is io.TextIOWrapper:
            from pronghorn.observe import journal  # noqa: PLC0415  # for those whom systemd has started

            if journal.is_behind(stream):
                return journal.Journal()
        return sink_of(stream)

    def _add(self, data: bytes, atomic: int, *, whole: bool) -> None:
        if self._dropping or (self._pieces and self._size + len(data) > LIMIT):
            self._dropping = True
            self._ail("nobody reads it")
            self._lose(data)
            return
        self._announce()
        self._size += len(data)
        start, size = 0, len(data)
        while size - start > atomic and not whole:
            # As many lines as the kernel takes at once, or else one.
            end = data.rfind(b"\n", start, start + atomic) + 1 or data.find(b"\n", start + atomic) + 1 or size
            self._pieces.append(data[start:end])
            start = end
        if start < size:
            self._pieces.append(data[start:] if start else data)

    def _drain(self) -> None:
        """Write until nothing waits, or nothing goes."""
        sink = self._sink
        if self._busy or sink is None:  # a signal handler logs while we write
            return
        self._busy = True
        try:
            while self._pieces:
                piece = self._pieces[0]
                if sink.waits or (len(piece) > sink.atomic and not self._begun and not sink.fits(len(piece))):
                    self._wait()
                    return
                self._written(sink.write(b"\n" + piece if self._torn else piece) - self._torn)
        except BlockingIOError:
            self._wait()
        except (OSError, ValueError) as exc:  # no reader, no space, or closed
            self._fail(exc)
        finally:
            self._busy = False

    def _written(self, count: int) -> None:
        piece = self._pieces[0]
        self._size -= count
        self._torn = False
        if count < len(piece):
            self._pieces[0] = piece[count:]
            self._begun = True
            return
        self._pieces.popleft()
        self._begun = False
        self._telling = 0
        if not self._pieces:
            self._dropping = False
            self._announce()
            self._since = None
            self._why = ""

    def _announce(self) -> None:
        """Put a line that says what was lost before everything else, if anything was and there is nothing else."""
        if self._pieces or not self._lost:
            return
        count, seconds = self._lost, self._clock() - (self._since or self._clock())
        lines = "1 line was" if count == 1 else f"{count} lines were"
        cause = (
            f"{self.name} could not be written to ({self._why})" if self._why else f"nobody read {self.name}"
        )
        notice = self.dress(f"{lines} lost because {cause} for {seconds:.1f} s").encode(
            self._encoding, "backslashreplace"
        )
        self._telling, self._lost = count, 0
        self._pieces.append(notice)
        self._size += len(notice)

    def _lose(self, data: bytes) -> None:
        count = data.count(b"\n")
        self._lost += count
        self.dropped += count

    def _ail(self, why: str) -> None:
        """Tell elsewhere, and not again before all is well."""
        if self._since is None:
            self._since = self._clock()
        if not self._news and not self._lost and not self._telling and self.name == "stdout":
            self._news = f"Access lines are lost: cannot write to stdout ({why})."

    def _wait(self) -> None:
        if self._since is None:
            self._since = self._clock()
        if self._thread is None:
            # A thread and not the loop's timer: there may be no loop, and where the kernel can only wait it has to be one.
            self._thread = threading.Thread(target=self._run, name=f"pronghorn-{self.name}", daemon=True)
            self._thread.start()

    def _fail(self, exc: Exception) -> None:
        self._ail(str(exc))
        self._why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        self._torn = self._torn or self._begun
        if self._telling:  # what tells of lost lines is none of them
            self._pieces.popleft()
        self._lost += self._telling
        for piece in self._pieces:
            self._lose(piece)
        self._pieces.clear()
        self._size = self._telling = 0
        self._begun = self._dropping = False

    # Without it.

    def _run(self) -> None:
        """The thread that waits for a reader, as long as anything waits."""
        while True:
            sink = self._sink
            if sink is not None and sink.waits:
                self._write_patiently(sink)
            elif sink is not None:
                sink.pause(_BREATH)
            with self._lock:
                if sink is None or not sink.waits:
                    self._drain()
                if not self._pieces or self._sink is None:
                    self._thread = None
                    break
        if self._news:
            self._tell()

    def _write_patiently(self, sink: Sink) -> None:
        with self._lock:
            piece = self._pieces[0] if self._pieces else b""
        try:
            count = sink.write(piece)
        except (OSError, ValueError) as exc:
            with self._lock:
                self._fail(exc)
            return
        with self._lock:
            if self._pieces and self._pieces[0] is piece:  # else the stream is another one by now
                self._written(count)

    def _tell(self) -> None:
        news, self._news = self._news, ""
        logging.getLogger("pronghorn.error").warning("%s", news)


@functools.cache
def of(name: Name) -> Output:
    """Give the process's one `Output` of this stream, as there is one ``sys.stdout``."""
    output = Output(name)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=output.forget)
    atexit.register(output.close)
    return output


def use_fields(wanted: bool) -> None:
    """Have both streams do as `Output.use_fields` says."""
    of("stdout").use_fields(wanted)
    of("stderr").use_fields(wanted)


def finish() -> None:
    """Write what waits on either stream, giving each reader a second: for whoever ends without the interpreter's own end."""
    of("stdout").finish()
    of("stderr").finish()


def _identity(stream: TextIO | None) -> object:
    """What tells the file behind a stream from another one."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # in memory
        return stream
    found = os.fstat(descriptor)
    return descriptor, found.st_dev, found.st_ino
