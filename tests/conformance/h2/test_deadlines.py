"""Nobody holds a connection, or a stream, without using it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.h2.conftest import Subject, started
from tests.support import kernel
from tests.support.h2_frames import PREFACE, Code, Setting, block, continuation, head, headers, settings
from tests.support.waiting import until


@pytest.fixture(scope="module")
def hasty() -> Iterator[Subject]:
    flags = (
        *("--timeout-header", "1"),
        *("--timeout-body", "1"),
        *("--timeout-keep-alive", "1"),
        *("--min-client-rate", "1000"),
    )
    with started(*flags) as subject:
        yield subject


def sockets(subject: Subject) -> set[str]:
    """The server's, each with a number that no other has."""
    return {name for name in kernel.descriptors(subject.server.pid) if name.startswith("socket:")}


def test_half_a_preface(hasty: Subject) -> None:
    with hasty.connect(opening=PREFACE[:10]) as client:
        client.end()


def test_a_preface_alone(hasty: Subject) -> None:
    with hasty.connect(opening=PREFACE) as client:
        assert client.end() in (None, Code.NO_ERROR, Code.PROTOCOL_ERROR, Code.SETTINGS_TIMEOUT)


def test_settings_that_are_never_acknowledged(hasty: Subject) -> None:
    """The client acknowledges by itself; this one is kept from it. A request in progress is what else would hold it open."""
    with hasty.connect(opening=PREFACE + settings()) as client:
        client.deaf = True
        client.request(b"/stay")
        assert client.end() == Code.SETTINGS_TIMEOUT


def test_a_connection_without_requests(hasty: Subject) -> None:
    with hasty.connect() as client:
        assert client.end() == Code.NO_ERROR
    with hasty.connect() as client:
        assert client.get().status == 200
        assert client.end() == Code.NO_ERROR
        assert client.goaways[-1].last_stream_id == 1


def test_pings_do_not_keep_a_connection_without_requests(hasty: Subject) -> None:
    with hasty.connect() as client:
        assert client.get().status == 200
        while client.barrier():
            pass
        assert client.end() in (Code.NO_ERROR, Code.ENHANCE_YOUR_CALM)


def test_an_unfinished_block(hasty: Subject) -> None:
    """Frames that bring nothing new keep it no longer."""
    with hasty.connect() as client:
        # Settings are acknowledged: nothing of ours comes between the frames of a block.
        assert client.barrier()
        client.send(headers(1, block(head())[:9], complete=False))
        client.send(continuation(1, complete=False))
        assert client.end() != Code.PROTOCOL_ERROR
    hasty.seen()
    assert hasty.seen() == []


def test_a_body_that_does_not_come(hasty: Subject) -> None:
    """408, or a reset; the connection and its other streams go on."""
    with hasty.connect() as client:
        stays = client.request(b"/stay")
        number = client.request(b"/echo", method=b"POST", body=b"some", end=False)
        stream = client.stream(number)
        assert client.until(lambda: stream.over)
        assert stream.status == 408 or stream.code in (Code.CANCEL, Code.PROTOCOL_ERROR)
        assert not client.stream(stays).over
        assert client.get().status == 200


def test_a_client_that_opens_no_window(hasty: Subject) -> None:
    """The peer that never reads: its stream is ended, though the socket itself takes all that is sent."""
    with hasty.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        number = client.request(b"/size?1000000")
        stream = client.stream(number)
        client.until(lambda: stream.over or client.closed)
        assert client.closed or stream.code in (Code.CANCEL, Code.FLOW_CONTROL_ERROR, Code.INTERNAL_ERROR)


def test_a_client_that_opens_a_window_byte_by_byte(hasty: Subject) -> None:
    """Slower than --min-client-rate, however busy it looks (CVE-2019-9511)."""
    with hasty.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        number = client.request(b"/size?1000000")
        stream = client.stream(number)
        assert client.until(lambda: stream.status == 200)
        while not stream.over and not client.closed:
            client.open_window(number, 1)
            client.barrier()
            if client.error:
                break
        assert client.end() is not None or stream.code is not None


def test_a_client_that_reads_nothing_at_all(hasty: Subject) -> None:
    """Windows wide open, and a socket that nobody reads."""
    before = sockets(hasty)
    with hasty.connect((Setting.INITIAL_WINDOW_SIZE, 2**31 - 1)) as client:
        client.open_window(0, 2**31 - 1 - 65_535)
        assert client.barrier()
        ours = sockets(hasty) - before
        assert ours
        client.request(b"/size?50000000")
        until(lambda: not ours & sockets(hasty), "it goes on")
        client.cut = True
        client.end()
        assert not client.stream(1).ended


def test_a_request_that_takes_its_time_is_none_of_that(hasty: Subject) -> None:
    """Three keep-alive times: it is the application that lets the client wait."""
    with hasty.connect() as client:
        assert client.barrier()
        number = client.request(b"/wait?later")
        hasty.server.stdout.wait_for("waits for later")
        for _ in range(3):
            with hasty.connect() as idle:
                idle.end()  # has had its second
        (hasty.server.folder / "later").touch()
        assert client.response(number).body == b"later"
