"""The lines between supervisor and worker: in pieces, mixed with a stack, and when the other end is gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pronghorn.config import Config
from pronghorn.supervise.channel import Channel, Start


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_in_order_and_whole(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    assert ours.receive() == []
    theirs.send({"ready": ["here"]})
    theirs.send({"beat": {"rss": 1}})
    theirs.sock.sendall(b'{"wish": "a \\u00e9')
    assert ours.receive() == [{"ready": ["here"]}, {"beat": {"rss": 1}}]
    theirs.sock.sendall(b'nd"}\n')
    assert ours.receive() == [{"wish": "a énd"}]
    assert not ours.closed


def test_what_is_no_message_is_of_a_stack(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.sock.sendall(b'Thread 0x1:\n  File "a", line 1 in f\n12\n\xff\n{"wish": "x"}\n{nonsense}\n')
    assert ours.receive() == [{"wish": "x"}]
    assert ours.stack == ["Thread 0x1:", '  File "a", line 1 in f', "12", "\ufffd", "{nonsense}"]


def test_a_line_without_an_end_is_not_kept(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    for _ in range(20):
        theirs.sock.sendall(b"x" * 50_000)
        ours.receive()
    assert len(ours._received) <= 65_536


def test_the_end_is_seen_and_sending_to_it_is_no_error(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.send({"wish": "bye"})
    theirs.close()
    assert ours.receive() == [{"wish": "bye"}]
    assert ours.closed
    ours.send({"retire": True})


def test_a_peer_that_does_not_read_is_not_waited_for(ends: tuple[Channel, Channel]) -> None:
    ours, _ = ends
    for _ in range(10_000):
        ours.send({"beat": "x" * 1000})


def test_a_start_is_handed_over(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    start = Start(config=Config("main:app"), listeners=(5,), path=("/a",), beat=2.5, parent=1)
    ours.send_start(start)
    ours.send({"retire": True})
    received = theirs.receive_start()
    assert (received.config, received.listeners, received.path) == (start.config, (5,), ("/a",))
    assert theirs.receive() == [{"retire": True}]


def test_no_start_from_one_that_is_gone(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.close()
    with pytest.raises(EOFError, match="gone"):
        theirs.receive_start()
