"""Flow control, both ways (RFC 9113 §5.2 and §6.9), and whose turn it is.

The client of these tests fails on a byte that no window has room for, and sends none itself.
"""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame

from tests.conformance.h2.conftest import Subject
from tests.support.h2_frames import WINDOW, Code, Kind, Setting, data, frame
from tests.support.h2_raw_client import Client

LARGE = 1_000_000


# ---- Uploads --------------------------------------------------------------------------------------------------------


def test_a_large_upload_does_not_stall(subject: Subject) -> None:
    with subject.connect() as client:
        number = client.request(b"/count", method=b"POST", end=False)
        assert client.send_body(number, 10 * LARGE) == 10 * LARGE
        assert client.response(number).body == b"%d" % (10 * LARGE)
        assert client.get().status == 200


def test_many_uploads_on_one_connection(subject: Subject) -> None:
    """What one took of the connection's window is there for the next."""
    with subject.connect() as client:
        for _ in range(20):
            number = client.request(b"/count", method=b"POST", end=False)
            client.send_body(number, LARGE)
            assert client.response(number).body == b"%d" % LARGE


def test_windows_are_larger_than_what_a_connection_begins_with(clear: Subject) -> None:
    with clear.connect() as client:
        assert client.get().status == 200
        assert client.settings[Setting.INITIAL_WINDOW_SIZE] > WINDOW
        assert client.given[0] > 0


def test_padding_is_given_back(clear: Subject) -> None:
    """§6.1: all of a frame counts. There are 2 MB of padding here, and they are not to stay in a window of 1 MB."""
    size = 1000 + 255 + 1
    with clear.connect() as client:
        number = client.request(b"/count", method=b"POST", end=False)
        for _ in range(8000):
            assert client.until(lambda: client.room(number) >= size)
            client.sent[number] = client.sent.get(number, 0) + size
            client.send(data(number, bytes(1000), end=False, padding=255))
        client.send(data(number))
        assert client.response(number).body == b"8000000"


def test_a_body_that_nobody_reads_is_not_asked_for(clear: Subject) -> None:
    """A window is given back as the application reads; another stream goes on meanwhile, and has room."""
    with clear.connect() as client:
        number = client.request(b"/late-count?read-on", method=b"POST", end=False)
        assert client.until(lambda: Setting.INITIAL_WINDOW_SIZE in client.settings and 0 in client.given)
        window = client.settings[Setting.INITIAL_WINDOW_SIZE]
        assert client.send_body(number, window, end=False) == window
        other = client.request(b"/count", method=b"POST", end=False)
        client.send_body(other, LARGE)
        assert client.response(other).body == b"%d" % LARGE
        assert client.barrier()
        taken = client.given.get(number, 0)
        assert taken < window, "a window was opened for a body that waits"
        (clear.server.folder / "read-on").touch()
        client.send_body(number, LARGE)
        assert client.response(number).body == b"%d" % (window + LARGE)
        (clear.server.folder / "read-on").unlink()


def test_bodies_that_nobody_reads_leave_the_connection_usable(clear: Subject) -> None:
    """Whose application takes nothing may fill its own window; the connection has more, or gives it back when they end."""
    with clear.connect() as client:
        numbers = [client.request(b"/refuse", method=b"POST", end=False) for _ in range(50)]
        for number in numbers:
            client.response(number)
            client.send_body(number, 60_000, end=False)  # on its way when the answer came
        number = client.request(b"/count", method=b"POST", end=False)
        assert client.send_body(number, LARGE) == LARGE
        assert client.response(number).body == b"%d" % LARGE


@pytest.mark.parametrize("where", ["stream", "connection"])
def test_more_than_the_window_is_an_error(clear: Subject, where: str) -> None:
    """§6.9.1: of the stream or of the connection; whichever window it is, the server says so."""
    with clear.connect() as client:
        paths = [b"/late-count?never"] * (1 if where == "stream" else 60)
        numbers = [client.request(path, method=b"POST", end=False) for path in paths]
        assert client.until(lambda: Setting.INITIAL_WINDOW_SIZE in client.settings and 0 in client.given)
        window = client.settings[Setting.INITIAL_WINDOW_SIZE]
        if where == "stream":
            client.send_body(numbers[0], window, end=False)
            client.send(data(numbers[0], bytes(16_384), end=False) * 4)
        else:
            for number in numbers:
                while client.room(number) > 0:
                    client.send_body(number, min(client.room(number), 16_384), end=False)
            spare = next(number for number in numbers if client.sent.get(number, 0) < window - 65_536)
            client.send(data(spare, bytes(16_384), end=False) * 4)
        stream = client.stream(numbers[0])
        client.until(lambda: stream.over or bool(client.error))
        if where == "stream" and not client.error:
            assert stream.code == Code.FLOW_CONTROL_ERROR
        else:
            assert client.error == Code.FLOW_CONTROL_ERROR


# ---- Downloads ------------------------------------------------------------------------------------------------------


def test_a_large_download(subject: Subject) -> None:
    with subject.connect() as client:
        stream = client.get(b"/size?%d" % (10 * LARGE))
    assert len(stream.body) == 10 * LARGE


def test_no_frame_is_larger_than_the_client_allows(clear: Subject) -> None:
    """Its default and its least is 16384; the client fails on one that is larger."""
    with clear.connect() as client:
        stream = client.get(b"/size?%d" % LARGE)
        assert max(stream.pieces) <= 16_384
    with clear.connect((Setting.MAX_FRAME_SIZE, 2**20)) as client:
        assert len(client.get(b"/size?%d" % LARGE).body) == LARGE


def test_a_window_that_opens_late(subject: Subject) -> None:
    with subject.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        number = client.request(b"/size?100000")
        stream = client.stream(number)
        assert client.until(lambda: stream.status == 200)
        assert client.barrier()
        assert stream.body == b""
        for increment in (1, 10, 1000):
            client.open_window(number, increment)
            assert client.until(lambda: stream.window == 0)
            assert client.barrier()
        assert len(stream.body) == 1011
        client.change_initial_window(98_000)
        assert client.until(lambda: len(stream.body) == WINDOW)  # the connection's
        client.open_window(0, LARGE)
        assert client.until(lambda: len(stream.body) == 99_011)
        client.open_window(number, 989)
        assert len(client.response(number).body) == 100_000


def test_an_empty_body_needs_no_window(clear: Subject) -> None:
    with clear.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        assert client.get(b"/size?0").status == 200
        assert client.get(method=b"HEAD").status == 200


def test_trailers_need_no_window(clear: Subject) -> None:
    with clear.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        stream = client.get(b"/only-trailers", (b"te", b"trailers"))
    assert stream.trailers == [(b"grpc-status", b"5")]


def test_a_window_below_zero(clear: Subject) -> None:
    """§6.9.2: it has to come up to zero again before anything is sent."""
    with clear.connect((Setting.INITIAL_WINDOW_SIZE, 1000), generous=False) as client:
        number = client.request(b"/size?5000")
        stream = client.stream(number)
        assert client.until(lambda: len(stream.body) == 1000)
        client.change_initial_window(100)
        assert stream.window == -900
        client.open_window(number, 899)
        assert client.barrier()
        assert len(stream.body) == 1000
        client.open_window(number, 501)
        assert client.until(lambda: len(stream.body) == 1500)
        client.change_initial_window(4000)
        assert len(client.response(number).body) == 5000


def test_a_stream_that_waits_keeps_nobody_from_going_on(subject: Subject) -> None:
    with subject.connect((Setting.INITIAL_WINDOW_SIZE, 10_000), generous=False) as client:
        waiting = client.request(b"/size?%d" % LARGE)
        assert client.until(lambda: len(client.streams[waiting].body) == 10_000)
        other = client.request(b"/size?50000")
        client.open_window(other, 40_000)
        assert len(client.response(other).body) == 50_000
        assert client.barrier()
        client.open_window(0, 2 * LARGE)
        client.open_window(waiting, LARGE)
        assert len(client.response(waiting).body) == LARGE


def test_a_connection_without_room_answers_what_needs_none(clear: Subject) -> None:
    with clear.connect((Setting.INITIAL_WINDOW_SIZE, LARGE), generous=False) as client:
        first = client.request(b"/size?%d" % LARGE)
        assert client.until(lambda: client.window == 0)
        second = client.request(b"/size?100")
        assert client.until(lambda: client.stream(second).status == 200)
        assert client.barrier()
        assert client.streams[second].body == b""
        client.open_window(0, 2 * LARGE)
        assert len(client.response(second).body) == 100
        assert len(client.response(first).body) == LARGE


def test_a_reset_makes_room(clear: Subject) -> None:
    """What was to be sent on a stream that is over takes nothing of the connection's window."""
    with clear.connect((Setting.INITIAL_WINDOW_SIZE, LARGE), generous=False) as client:
        first = client.request(b"/size?%d" % LARGE)
        assert client.until(lambda: client.window == 0)
        second = client.request(b"/size?60000")
        assert client.until(lambda: client.stream(second).status == 200)
        client.send(b"\0\0\4\3\0" + first.to_bytes(4, "big") + b"\0\0\0\10")
        assert client.barrier()
        client.open_window(0, 60_000)
        assert len(client.response(second).body) == 60_000


# ---- Whose turn it is -----------------------------------------------------------------------------------------------


def shares(client: Client, size: int, numbers: list[int]) -> list[int]:
    """How much of each stream came in the first `size` bytes of DATA."""
    found = dict.fromkeys(numbers, 0)
    for one in client.frames:
        if isinstance(one, DataFrame) and one.stream_id in found and sum(found.values()) < size:
            found[one.stream_id] += len(one.data)
    return list(found.values())


def test_large_responses_share_a_connection(subject: Subject) -> None:
    with subject.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        numbers = [client.request(b"/size?%d" % LARGE) for _ in range(4)]
        assert client.until(lambda: all(client.streams[number].status == 200 for number in numbers))
        client.change_initial_window(2 * LARGE)
        client.open_window(0, 8 * LARGE)
        for number in numbers:
            assert len(client.response(number).body) == LARGE
        # All of them began at the same time: in the first half of all bytes each has about an eighth of the whole.
        for share in shares(client, 2 * LARGE, numbers):
            assert LARGE // 4 <= share <= LARGE


def test_a_small_response_does_not_wait_for_a_large_one(subject: Subject) -> None:
    with subject.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        large = client.request(b"/size?%d" % (4 * LARGE))
        small = client.request(b"/size?1000")
        assert client.until(lambda: all(client.stream(number).status == 200 for number in (large, small)))
        client.change_initial_window(8 * LARGE)
        client.open_window(0, 8 * LARGE)
        client.response(small)
        assert len(client.streams[large].body) < 2 * LARGE
        assert len(client.response(large).body) == 4 * LARGE


def test_what_is_urgent_goes_first(clear: Subject) -> None:
    """RFC 9218: by the field of a request, or by the frame that comes later."""
    with clear.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client:
        later = client.request(b"/size?%d" % LARGE, (b"priority", b"u=6"))
        first = client.request(b"/size?%d" % LARGE, (b"priority", b"u=1"))
        updated = client.request(b"/size?%d" % LARGE, (b"priority", b"u=7"))
        numbers = [later, first, updated]
        assert client.until(lambda: all(client.stream(number).status == 200 for number in numbers))
        client.send(frame(Kind.PRIORITY_UPDATE, updated.to_bytes(4, "big") + b"u=0"))
        client.change_initial_window(2 * LARGE)
        client.open_window(0, 8 * LARGE)
        for number in numbers:
            client.response(number)
        ends = [
            one.stream_id for one in client.frames if isinstance(one, DataFrame) and "END_STREAM" in one.flags
        ]
        assert ends == [updated, first, later]
