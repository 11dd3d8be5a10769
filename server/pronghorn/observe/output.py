"""Finished lines on their way out, past the buffers of ``sys.stdout``: one write(2) for as many as there are.

A reader that is gone must not take the server with it, and one that is slow only as far as it has to: a
blocking descriptor blocks, as for any program; on a non-blocking one what it does not take waits here, up to a
limit. Past the buffers because Python writes them again at exit, and makes exit status 120 of a failure.
"""

from __future__ import annotations

import logging
import os
import select
import time
from typing import Final

from pronghorn.observe.logs import ERROR, ConsoleHandler

# How many bytes may wait for a reader, and how many seconds for it at the end.
_WAITING: Final = 1 << 20
_PATIENCE: Final = 1.0


class Output:
    """Writes ASCII text to the stream that a handler would write to."""

    def __init__(self, handler: ConsoleHandler) -> None:
        self._handler = handler
        self._unwritten = b""
        self._failing = False

    def write(self, text: str) -> bool:
        """Write the text after what still waits; False if something waits afterwards. Never raises."""
        data = self._unwritten + text.encode("ascii")
        self._unwritten = b""
        stream = self._handler.stream
        if not data or stream is None:
            return True
        try:
            try:
                # Anew each time: a number kept could belong to another file by now.
                descriptor = stream.fileno()
            except (OSError, AttributeError):  # Somebody put an object there that has none.
                stream.write(data.decode())
                stream.flush()
                return True
            while data:
                data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            if len(data) > _WAITING:
                data = data[: data.find(b"\n") + 1]  # It may be written in part already, so it stays.
                self._say("nobody reads it")
            self._unwritten = data
            return False
        except (OSError, ValueError) as exc:  # No reader, no space, or closed.
            self._say(str(exc))
            return True
        self._failing = False
        return True

    def finish(self) -> None:
        """Write what waits, giving its reader a second."""
        end = time.monotonic() + _PATIENCE
        while self._unwritten:
            stream = self._handler.stream
            left = max(0.0, end - time.monotonic())
            try:
                if stream is None or not select.select((), (stream,), (), left)[1]:
                    return
            except (OSError, ValueError):
                return
            self.write("")

    def _say(self, why: str) -> None:
        """Tell once, and not again before a write has succeeded."""
        if not self._failing:
            self._failing = True
            name = self._handler.stream_name
            logging.getLogger(ERROR).warning("Access lines are lost: cannot write to %s (%s).", name, why)
