"""The process that workers are forked from, and its supervisor."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from pronghorn.supervise import preload, process
from pronghorn.supervise.channel import Channel
from pronghorn.supervise.process import Preloader
from tests.support import kernel


def test_a_supervisor_that_was_killed_before_it_had_read_everything_is_gone() -> None:
    supervisor, ours = Channel.pair()
    ours.send({"ready": []})
    # The kernel resets a connection whose end is closed with something in it.
    supervisor.close()
    assert preload._receive(ours) == (b"", [])
    ours.close()


def test_a_supervisor_that_left_in_order_is_gone() -> None:
    supervisor, ours = Channel.pair()
    supervisor.close()
    assert preload._receive(ours) == (b"", [])
    ours.close()


@pytest.fixture
def ends() -> Iterator[tuple[Preloader, Channel]]:
    """What the supervisor knows of one, and the end of the channel that is its own."""
    ours, theirs = Channel.pair()
    preloader = Preloader(
        pid=os.getpid(),
        slot=-1,
        channel=ours,
        generation=0,
        lifetime=None,
        started=0.0,
        since=0.0,
        heard=0.0,
    )
    yield preloader, theirs
    ours.close()
    theirs.close()


def asked(theirs: Channel) -> Channel:
    """The channel of the process that is to be forked."""
    word, (descriptor,) = preload._receive(theirs)
    assert word == b"fork"
    return Channel(socket.socket(fileno=descriptor))


def test_a_fork_that_comes_too_late_is_not_taken_for_the_next_one(
    ends: tuple[Preloader, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    preloader, theirs = ends
    with monkeypatch.context() as patch:
        patch.setattr(process, "_FORK", 0.05)
        with pytest.raises(OSError, match="does not answer"):
            preloader.fork((), 0.0)
    late = asked(theirs)
    with pytest.raises(EOFError):  # it has no supervisor, and goes
        late.receive_start()
    theirs.send({"forked": 1001})
    theirs.send({"ended": [1001, 0]})
    answer = threading.Timer(0.2, theirs.send, [{"forked": 1002}])
    answer.start()

    pid, channel = preloader.fork((), 0.0)

    answer.join()
    forked = asked(theirs)
    channel.send({"for": pid})
    assert (pid, preloader.take_ended(), forked.receive()) == (1002, [(1001, 0)], [{"for": 1002}])
    for one in (late, forked, channel):
        one.close()


def test_a_process_to_fork_from_that_is_gone_leaves_nothing_open(ends: tuple[Preloader, Channel]) -> None:
    preloader, theirs = ends
    theirs.close()
    before = set(kernel.descriptors(os.getpid()))

    with pytest.raises(OSError, match="Broken pipe"):
        preloader.fork((), 0.0)

    # Readers of earlier tests' pipes may close theirs meanwhile.
    assert set(kernel.descriptors(os.getpid())) <= before
