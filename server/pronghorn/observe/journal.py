"""Records for systemd's journal, with fields: what becomes of our lines of JSON where it is the journal that reads them.

A service's stdout and stderr are connections to the journal, which makes of each line a record with one text and one priority. Its
own protocol is one datagram a record, of any fields one likes (systemd, "Native Journal Protocol"): so `journalctl REQUEST_ID=…` finds
what a request has left, `-p warning` what went wrong, and a traceback stays in one piece. Our lines are JSON up to here, which keeps
everything that makes lines, and waits for readers, out of this: `Journal` is one more way to write them (`sinks.Sink`).

JOURNAL_STREAM tells that a stream is the journal's, by device and inode (systemd.exec(5)); any other stream gets the lines as they are.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import re
import select
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

ADDRESS: Final = "/run/systemd/journal/socket"

#: What the log's levels are to syslog(3). A level that is somebody's own invention is informational.
_PRIORITIES: Final = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7, "TRACE": 7}
_INFORMATIONAL: Final = 6
_WARNING: Final = 4

_ACCESS: Final = "pronghorn.access"
#: Said by another field: the time is the journal's, the level the priority, and the texts are in the message.
_CONSUMED: Final = frozenset(("message", "time", "level", "exception", "stack"))
_OURS: Final = frozenset(("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"))
_NOT_IN_NAMES: Final = re.compile("[^A-Z0-9_]")


class Journal:
    """The way to the journal. What it is given are whole lines, of JSON; raises as every sink does."""

    atomic = sys.maxsize
    waits = False

    def __init__(self, address: str = ADDRESS) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(address)

    def write(self, data: bytes) -> int:
        written = 0
        for line in data.splitlines(keepends=True):
            if not line.isspace():
                try:
                    self._send(entry(line))
                except BlockingIOError:
                    if written:
                        break
                    raise
            written += len(line)
        return written

    def _send(self, record: bytes) -> None:
        try:
            self._socket.send(record)
        except OSError as exc:
            if exc.errno != errno.EMSGSIZE:
                raise
            self._send_as_file(record)

    def _send_as_file(self, record: bytes) -> None:
        """What is too long for a datagram goes as a file in memory, sealed so that nobody can change it any more."""
        file = os.memfd_create("pronghorn-record", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        with os.fdopen(file, "wb") as whole:
            whole.write(record)
            whole.flush()
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
            socket.send_fds(self._socket, [b""], [file])

    def fits(self, size: int) -> bool:
        return True

    def pause(self, seconds: float) -> None:
        poll = select.poll()
        with contextlib.suppress(OSError, ValueError):  # closed, as the next write will find
            poll.register(self._socket, select.POLLOUT)
            poll.poll(seconds * 1000)

    def close(self) -> None:
        self._socket.close()


def is_behind(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether it is the journal that reads this stream. Raises as ``fileno()`` does."""
    told = environ.get("JOURNAL_STREAM")
    if not told:
        return False
    found = os.fstat(stream.fileno())
    return told == f"{found.st_dev}:{found.st_ino}"


def entry(line: bytes) -> bytes:
    """One record, as the journal takes it, of one line. What is no JSON object is the message, and all there is."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        record = {"message": line.decode(errors="backslashreplace").rstrip("\n")}
    fields: dict[str, Any] = {
        "MESSAGE": _message(record),
        "PRIORITY": _priority(record),
        "SYSLOG_IDENTIFIER": "pronghorn",
    }
    for key, value in record.items():
        if key not in _CONSUMED and value is not None and (name := _name(key)):
            fields[name] = value
    lines, others = [], []
    for name, value in fields.items():
        kind = type(value)
        text = value if kind is str else str(value) if kind is int or kind is float else json.dumps(value)
        if "\n" in text:
            others.append(_of_several_lines(name, text))
        else:
            lines.append(f"{name}={text}\n")
    # A lone surrogate is something that only an application can have logged.
    return "".join(lines).encode(errors="backslashreplace") + b"".join(others)


def _of_several_lines(name: str, text: str) -> bytes:
    data = text.encode(errors="backslashreplace")
    return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(data)), data)


def _message(record: dict[str, Any]) -> str:
    """For people: with a traceback under it, and behind an access line what the text format has there."""
    message = str(record.get("message", ""))
    if record.get("logger") == _ACCESS and "duration_ms" in record:
        return f"{message} {record.get('bytes_out')}B {record['duration_ms']}ms"
    below = [str(record[key]) for key in ("exception", "stack") if record.get(key)]
    return "\n".join([message, *below]) if below else message


def _priority(record: dict[str, Any]) -> int:
    """By the level; but a response of 5xx is a warning, so that `journalctl -p warning` has it."""
    if record.get("logger") == _ACCESS and (record.get("status") or 0) >= 500:
        return _WARNING
    return _PRIORITIES.get(str(record.get("level")), _INFORMATIONAL)


@functools.lru_cache(maxsize=1024)
def _name(key: str) -> str:
    """A field's name: capitals, digits and underscores, and nothing that the journal or we say ourselves. Empty if nothing is left."""
    name = _NOT_IN_NAMES.sub("_", key.upper()).lstrip("_0123456789")[:60]
    return f"X_{name}" if name in _OURS else name
