"""The life of an HTTP/1.1 connection, whatever is asked over it: what is waited for and until when, and how it ends.

Nothing may stay open for ever without something moving. Each phase of a connection has its deadline: waiting for a
request, for the rest of a head, for the next piece of a body, for the peer to read. Only while the application works
is there none. And what moves has to move at a pace: a byte now and then would hold a connection for days.
"""

import asyncio
from collections import deque
from typing import Final

from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.states import OPEN
from pronghorn.wire.h1_response import H1Response
from pronghorn.wire.ports import HttpParser, RequestError

from . import files
from .deadlines import NEVER
from .flow import Outbox, Pace, ReadGate, WriteGate, unread
from .refusals import count_refusal
from .service import Service

# What the connection waits for; decides what a deadline means.
REQUEST: Final = 0  # the first byte of a request
HEAD: Final = 1  # the rest of a head
BODY: Final = 2  # the next piece of a body
ANSWER: Final = 3  # the application
TAKER: Final = 4  # the application, to take what has come of a body, or to ask for it
READER: Final = 5  # the peer, to read what was written
CLOSE: Final = 6  # the end of the connection

#: Ticks for a peer to notice that the connection is being closed.
_LINGER: Final = 3


class H1Life:
    """A `Drainable`, and what `H1Connection` has beside its requests."""

    __slots__ = (
        "_active",
        "_incoming",
        "_out",
        "_pace",
        "_parser",
        "_phase",
        "_queue",
        "_reads",
        "_response",
        "_served",
        "_service",
        "_task",
        "_transfer",
        "_transport",
        "_unwritten",
        "_writes",
        "bucket",
        "deadline",
    )

    _transport: asyncio.Transport
    _parser: HttpParser
    _out: Outbox
    _response: H1Response
    _reads: ReadGate

    def __init__(self, service: Service) -> None:
        self._service = service
        self._writes = WriteGate()
        self._active: HttpCycle | None = None  # being answered, or next to be
        self._incoming: HttpCycle | None = None  # being received
        self._queue: deque[HttpCycle] | None = None  # behind the active one; few peers send requests ahead
        self._task: asyncio.Task[None] | None = None  # of the active request, if it could not finish at once
        self._transfer: files.Transfer | None = None  # a file that is being sent
        self._served = 0
        self._unwritten = 0  # what was left to write when that was last looked at
        self._pace: Pace | None = None  # of the body that is waited for, or the last one that was
        self._phase = REQUEST
        self.deadline = NEVER
        self.bucket = NEVER

    def __repr__(self) -> str:
        phase = (
            *("waits for a request", "reads a head", "reads a body", "answers"),
            *("holds a body up", "writes", "closes"),
        )[self._phase]
        return f"<{type(self).__name__} {phase}, {self._served} served, active {self._active!r}>"

    # What is waited for.

    def _schedule(self) -> None:
        """Decide what is being waited for now, and until when."""
        service = self._service
        cycle = self._active
        if cycle is not None:
            if self._writes.paused or self._transfer is not None:
                if self._phase != READER:  # what the peer sends meanwhile does not give it more time to read
                    self._await_reader()
            elif cycle.ended:
                self._phase = ANSWER
                service.deadlines.disarm(self)
            else:
                self._await_body(cycle)
        elif self._incoming is not None:
            self._phase = BODY
            service.deadlines.arm(self, service.body_ticks)
        elif self._parser.idle:
            self._phase = REQUEST
            service.deadlines.arm(self, service.keep_alive_ticks)
        elif self._phase != HEAD:
            self._phase = HEAD
            service.deadlines.arm(self, service.header_ticks)

    def _await_body(self, cycle: HttpCycle) -> None:
        """Wait for the next piece of a body; or for the application, if the peer has to wait for that one first."""
        service = self._service
        deadlines = service.deadlines
        if self._reads.paused or cycle.head.expects_continue:
            self._phase = TAKER
            deadlines.disarm(self)
            return
        if self._phase != BODY or self._pace is None:
            self._phase = BODY
            self._pace = Pace(service.pace, service.body_ticks, cycle.bytes_in, deadlines.now)
        # Once a response has begun, the two may be talking to each other.
        elif self._pace.lost(cycle.bytes_in, deadlines.now) and cycle.state < OPEN:
            self.on_deadline()
            return
        deadlines.arm(self, service.body_ticks)

    def pause_writing(self) -> None:
        self._writes.pause()
        self._await_reader()

    def on_deadline(self) -> None:
        phase = self._phase
        if phase <= BODY and self._active is not None and not self._active.launched:
            return  # what was waited for is there, and has its turn in this iteration of the loop
        if phase == REQUEST:
            self._close(linger=False)
        elif phase == HEAD:
            self._refuse(RequestError(408, "request head took too long"))
        elif phase == BODY:
            cycle = self._active
            if cycle is None:
                self._service.meter.limit("timeout_body")
                self._close(linger=True)
            else:
                error = RequestError(408, "request body took too long", cycle.head)
                if self._give_up(cycle, error):
                    self._refuse(error)
        else:
            # A slow reader may be slow, but it has to read.
            waiting = self._transport.get_write_buffer_size() > 0 or self._transfer is not None
            if waiting and self._unwritten - self._left_to_write() >= max(1, self._service.pace):
                self._await_reader()
            else:
                if phase == READER:
                    self._service.meter.limit("timeout_read")
                self.abort()

    def _await_reader(self) -> None:
        self._unwritten = self._left_to_write()
        if self._phase != CLOSE:
            self._phase = READER
        self._service.deadlines.arm(self, self._service.body_ticks)

    def _left_to_write(self) -> int:
        size = unread(self._transport)
        return size if self._transfer is None else size + self._transfer.left

    # Ends.

    @property
    def fresh(self) -> bool:
        return not self._served

    @property
    def busy(self) -> bool:
        return self._active is not None or self._phase in (HEAD, BODY)

    def shutdown(self) -> None:
        if self.busy:
            self._response.keep_alive = False
            if self._active is not None and self._active.endless:
                self._active.hurry()
        elif self._phase != CLOSE:
            self._close(linger=False)

    def hurry(self) -> None:
        if self._active is not None:
            self._active.hurry()

    def end_stream(self) -> None:
        if self._active is not None:
            self._active.cut(self._task)

    def abort(self) -> None:
        self._phase = CLOSE
        self._out.clear()
        self._transport.abort()

    def _give_up(self, cycle: HttpCycle, error: RequestError | None = None) -> bool:
        """Take the rest of a request away from the application; true if it can still be answered by the server."""
        answerable = cycle.state < OPEN
        if answerable and error is not None:
            cycle.status = error.status  # what its client is told, and then the access log as well
        self._service.active -= 1
        self._active = None
        cycle.disconnect()
        if not answerable:
            self.abort()
        return answerable

    def _refuse(self, error: RequestError) -> None:
        """Answer in place of the application, and close: what follows on the connection cannot be trusted."""
        if self._phase == CLOSE:
            return
        count_refusal(self._service.meter, error)
        peer = self._transport.get_extra_info("peername")
        service = self._service
        service.context_of("" if error.head is None else error.head.request_id).run(
            service.logger.warning,
            "Invalid HTTP request received: %s (%d), from %s.",
            error.reason,
            error.status,
            f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a Unix socket",
        )
        self._response.refuse(error)
        self._close(linger=True)

    def _close(self, *, linger: bool) -> None:
        """Close once everything is written.

        With `linger` the peer may still be sending. Closing the socket on it would make the kernel answer with a reset,
        which can overtake the response; so only our half is closed, and what comes in is dropped for a while
        (RFC 9112 §9.6).
        """
        self._phase = CLOSE
        self._queue = None
        transport = self._transport
        self._out.flush()
        waiting = transport.get_write_buffer_size() > 0
        self._unwritten = self._left_to_write() if waiting else 0
        self._service.deadlines.arm(self, self._service.body_ticks if waiting else _LINGER)
        if linger and transport.can_write_eof():
            self._reads.release()
            transport.write_eof()
        else:
            transport.close()
