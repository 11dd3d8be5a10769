"""Records for systemd's journal: what the journal's end of the socket gets, for lines as our formats make them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pronghorn.observe.journal import Journal, entry, is_behind
from pronghorn.observe.json_formatter import JsonFormatter
from tests.support.process import PATIENCE

ACCESS = {
    "time": "2026-11-22T12:00:00.123Z",
    "level": "INFO",
    "logger": "pronghorn.access",
    "message": '192.0.2.1:50412 - "GET /items?page=2 HTTP/1.1" 200',
    "client": "192.0.2.1:50412",
    "status": 200,
    "bytes_out": 1382,
    "duration_ms": 4.21,
    "request_id": "7f3a",
}


def parsed(data: bytes) -> dict[str, str]:
    """The fields of a record, by the journal's own rules: NAME=value, or NAME, a length of eight bytes, and so many bytes."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + size], data[8 + size :]
            assert data[:1] == b"\n"
            data = data[1:]
        assert name.decode() not in fields, "a field is there once"
        fields[name.decode()] = value.decode()
    return fields


def fields_of(**record: object) -> dict[str, str]:
    return parsed(entry(json.dumps(record).encode() + b"\n"))


class Reader:
    """The journal's end."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE)
        self.sock.bind(self.address)

    def read(self) -> dict[str, str]:
        """The next record, from the file that came in its place if one did."""
        data, files, _, _ = socket.recv_fds(self.sock, 1 << 20, 1)
        if files:
            with os.fdopen(files[0], "rb") as file:
                file.seek(0)
                data = file.read()
        return parsed(data)


@pytest.fixture
def reader(short_path: Path) -> Iterator[Reader]:
    made = Reader(short_path / "journal")
    yield made
    made.sock.close()


def test_an_access_line_has_its_fields_and_a_text_for_people() -> None:
    assert fields_of(**ACCESS) == {
        "MESSAGE": '192.0.2.1:50412 - "GET /items?page=2 HTTP/1.1" 200 1382B 4.21ms',
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "pronghorn",
        "LOGGER": "pronghorn.access",
        "CLIENT": "192.0.2.1:50412",
        "STATUS": "200",
        "BYTES_OUT": "1382",
        "DURATION_MS": "4.21",
        "REQUEST_ID": "7f3a",
    }


def test_a_response_that_failed_is_a_warning() -> None:
    assert fields_of(**{**ACCESS, "status": 503})["PRIORITY"] == "4"
    assert fields_of(**{**ACCESS, "status": 404})["PRIORITY"] == "6"
    assert fields_of(**{**ACCESS, "logger": "shop", "status": 503})["PRIORITY"] == "6", (
        "that is somebody else's field"
    )
    none = fields_of(**{**ACCESS, "status": None})
    assert "STATUS" not in none
    assert none["PRIORITY"] == "6"


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        ("CRITICAL", "2"),
        ("ERROR", "3"),
        ("WARNING", "4"),
        ("INFO", "6"),
        ("DEBUG", "7"),
        ("TRACE", "7"),
        ("NOTICE", "6"),
    ],
)
def test_priorities(level: str, priority: str) -> None:
    assert fields_of(level=level, message="x")["PRIORITY"] == priority


def test_a_traceback_is_under_its_message() -> None:
    try:
        raise RuntimeError("On fire")
    except RuntimeError:
        record = logging.LogRecord("shop", logging.ERROR, __file__, 1, "It\nburns", None, sys.exc_info())
    fields = parsed(entry(JsonFormatter().format(record).encode() + b"\n"))
    assert fields["MESSAGE"].startswith("It\nburns\nTraceback (most recent call last):\n")
    assert fields["MESSAGE"].endswith("RuntimeError: On fire")
    assert "EXCEPTION" not in fields


def test_what_an_application_adds_is_a_field_whatever_it_is_called() -> None:
    fields = fields_of(
        **{
            "level": "INFO",
            "message": "m",
            "order": 7,
            "user.name": "é\ud800",
            "_pid": "x",
            "9": 1,
            "Priority": 0,
            "tags": ["a"],
        }
    )
    assert fields == {
        "MESSAGE": "m",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "pronghorn",
        "ORDER": "7",
        "USER_NAME": "é\\ud800",
        "PID": "x",
        "X_PRIORITY": "0",
        "TAGS": '["a"]',
    }


def test_nothing_that_a_client_sends_becomes_a_field() -> None:
    fields = fields_of(**{**ACCESS, "path": "/x\nPRIORITY=0\nEVIL=1"})
    assert fields["PATH"] == "/x\nPRIORITY=0\nEVIL=1"
    assert fields["PRIORITY"] == "6"
    assert "EVIL" not in fields


@pytest.mark.parametrize("line", [b"not JSON\n", b"[1, 2]\n", b'{"unfinished": \n'])
def test_what_is_no_object_is_a_message(line: bytes) -> None:
    assert parsed(entry(line)) == {
        "MESSAGE": line.decode().rstrip("\n"),
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "pronghorn",
    }


def test_each_line_is_a_record(reader: Reader) -> None:
    sink = Journal(reader.address)
    data = b'{"message": "one"}\n\n{"message": "two"}\n'
    assert sink.write(data) == len(data)
    assert [reader.read()["MESSAGE"], reader.read()["MESSAGE"]] == ["one", "two"]
    sink.close()


def test_a_record_that_no_datagram_can_hold_comes_as_a_file(reader: Reader) -> None:
    sink = Journal(reader.address)
    sink.write(json.dumps({"message": "x" * (1 << 20)}).encode() + b"\n")
    assert reader.read()["MESSAGE"] == "x" * (1 << 20)
    sink.close()


def test_a_journal_that_stands_still_is_not_waited_for(reader: Reader) -> None:
    sink = Journal(reader.address)
    line = b'{"message": "again"}\n'
    with contextlib.suppress(BlockingIOError):
        while True:
            sink.write(line)
    with pytest.raises(BlockingIOError):
        sink.write(line)
    reader.read()
    # Room for one again, and that is what it says has gone.
    assert sink.write(line + line + line) in (len(line), 2 * len(line))
    sink.close()


def test_whose_stream_it_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        assert is_behind(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_behind(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_behind(stream, {})


LOG = """
import logging
from pronghorn.observe import journal, logs

journal.Journal.__init__.__defaults__ = ({address!r},)
logs.configure(fmt="journal")
logging.getLogger("pronghorn.error").warning("for the journal")
logging.getLogger("shop").error("so is this")
"""


def log(reader: Reader, **environ: str) -> str:
    """What a process that logs two records prints on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOG.format(address=reader.address))],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **environ},
        timeout=PATIENCE,
    )
    return done.stderr


def test_elsewhere_than_under_systemd_it_is_json(reader: Reader) -> None:
    lines = [json.loads(line) for line in log(reader, JOURNAL_STREAM="").splitlines()]
    assert [line["message"] for line in lines] == ["for the journal", "so is this"]


def test_under_systemd_the_stream_stays_empty(reader: Reader) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        found = os.fstat(stream.fileno())
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(LOG.format(address=reader.address))],
            stderr=stream.fileno(),
            check=True,
            env={**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            timeout=PATIENCE,
        )
    assert [reader.read()["MESSAGE"], reader.read()["LOGGER"]] == ["for the journal", "shop"]
