"""What a supervisor and a worker tell each other: lines of JSON over a socket pair, each line one message.

The supervisor starts with a frame of another kind, the pickled `Start`, because a configuration is more than JSON can hold. Lines
that are no JSON come from faulthandler, which a worker has write its stacks here: its event loop may be stuck, but a signal
handler is not.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import socket
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pronghorn.config import Config

_LENGTH: Final = struct.Struct("!I")
#: Longest line in bytes; a peer that sends longer ones is none of ours.
_LONGEST: Final = 65_536

Message = dict[str, Any]


class Role(Enum):
    """What a process is for: to serve, to be forked from, or to tell how the others are. It is in its command line, for people."""

    WORKER = "worker"
    PRELOADER = "preloader"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """All that a process needs to know at its start. `listeners` are inherited descriptors, `beat` seconds between two signs of life."""

    config: Config
    listeners: tuple[int, ...]
    path: tuple[str, ...]
    beat: float
    parent: int
    slot: int = -1
    generation: int = 0


class Channel:
    """One end of the pair. Sending never blocks and never raises: a peer that is gone hears nothing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.stack: list[str] = []
        self.closed = False
        self._received = b""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends."""
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        self.closed = True
        self.sock.close()

    def send(self, message: Message) -> None:
        """Send one message."""
        with contextlib.suppress(OSError):
            self.sock.sendall(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT)

    def receive(self) -> list[Message]:
        """The messages that have arrived. `closed` is true afterwards if there will be no more."""
        messages: list[Message] = []
        while not self.closed:
            try:
                data = self.sock.recv(_LONGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.closed = not data
            *lines, self._received = (self._received + data).split(b"\n")
            self._received = self._received[-_LONGEST:]
            for line in lines:
                message = _message(line)
                if message is None:
                    self.stack.append(line.decode(errors="replace"))
                else:
                    messages.append(message)
        return messages

    def send_start(self, start: Start) -> None:
        """Send the first frame. Waits for the worker to read it, should it be long."""
        data = pickle.dumps(start)
        self.sock.sendall(_LENGTH.pack(len(data)) + data)

    def receive_start(self) -> Start:
        """Wait for the first frame. Raises EOFError if the supervisor is gone."""
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        start: Start = pickle.loads(self._exactly(size))  # noqa: S301  # from our own parent, over a socket pair
        return start

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError("the supervisor is gone")
            data += piece
        return data


def _message(line: bytes) -> Message | None:
    """What a line says, if it is one of ours."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
