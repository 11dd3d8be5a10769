"""The end of a server (RFC 9113 §6.8): who is told, what is finished, and what is not begun any more."""

from __future__ import annotations

import signal

from tests.conformance.h2.conftest import Subject, started
from tests.conformance.h2.test_websockets import frames, opened
from tests.support import ws
from tests.support.h2_frames import Code, data


def begin_to_drain(subject: Subject) -> None:
    subject.server.send_signal(signal.SIGTERM)
    subject.server.stderr.wait_for("Shutting down")


def test_streams_are_finished_and_the_client_is_told() -> None:
    with started() as subject, subject.connect() as client:
        number = client.request(b"/begin", method=b"POST", end=False)
        stream = client.stream(number)
        assert client.until(lambda: bytes(stream.body) == b"begun")
        begin_to_drain(subject)
        assert client.until(lambda: bool(client.goaways))
        first = client.goaways[0]
        assert first.error_code == Code.NO_ERROR
        assert first.last_stream_id >= number
        client.send(data(number, b"test"))
        assert bytes(client.response(number).body) == b"begun, done"
        assert client.end() == Code.NO_ERROR
        assert client.goaways[-1].last_stream_id == number
        assert subject.server.wait() == -signal.SIGTERM


def test_a_request_on_its_way_is_served_or_may_be_tried_again() -> None:
    """§6.8: the first GOAWAY does not say yet which stream is the last one, because more may be under way."""
    with started() as subject, subject.connect() as client:
        number = client.request(b"/begin", method=b"POST", end=False)
        assert client.until(lambda: client.stream(number).status == 200)
        begin_to_drain(subject)
        late = client.request()
        stream = client.stream(late)
        client.until(lambda: stream.over or bool(client.goaways and client.goaways[-1].last_stream_id < late))
        if stream.ended:
            assert stream.status == 200
        else:
            assert stream.code in (None, Code.REFUSED_STREAM)
        client.send(data(number, b"test"))
        assert client.response(number).status == 200
        assert client.end() == Code.NO_ERROR


def test_an_idle_connection_is_closed_at_once() -> None:
    with started() as subject, subject.connect() as client:
        assert client.get().status == 200
        begin_to_drain(subject)
        assert client.end() == Code.NO_ERROR
        assert client.goaways[-1].last_stream_id == 1
        assert subject.server.wait() == -signal.SIGTERM


def test_a_websocket_is_told() -> None:
    """1001, or 1012 where another process takes over, in a Close frame, and then the end of the stream."""
    with started() as subject, subject.connect() as client:
        number = opened(client)
        begin_to_drain(subject)
        [(first, payload)] = frames(client, number)
        assert first == ws.FIN | ws.CLOSE
        code, _ = ws.closing(payload)
        assert code in (1001, 1012)
        client.send(data(number, ws.close(code)))
        assert client.end() == Code.NO_ERROR
        assert subject.server.wait() == -signal.SIGTERM


def test_a_process_that_has_served_its_number_of_requests() -> None:
    with started("--limit-max-requests", "3") as subject, subject.connect() as client:
        assert [client.get().status for _ in range(3)] == [200, 200, 200]
        assert client.end() == Code.NO_ERROR
        subject.server.wait()
