"""The server's side of one HTTP/2 connection, without I/O: bytes in, calls out; frames out through a `write` (RFC 9113).

Built on the parts of the h2 library: its codec of HPACK, its registries of settings and errors; and checked against its client in
the tests. The state machine is our own. h2's treats what is wrong with one request as the end of all requests of its connection,
has no answer to a head that is too large, and takes two thirds of a small request's time in events that nobody needs
(docs/adr/0038-http2.md has the figures).

Here are requests and their bodies; `h2_control` takes the other frames, `h2_blocks` reads header blocks, `h2_request` makes heads of them,
`h2_sending` is the way out. What goes wrong is one of two things (§5.4): a `StreamFault` resets one stream, a `ConnectionFault` ends all with GOAWAY.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from . import h2_frames as frames
from .h2_blocks import HeaderBlocks
from .h2_control import Control, H2Sink
from .h2_faults import ConnectionFault, StreamFault
from .h2_frames import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    LARGEST,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    WINDOW,
)
from .h2_request import H2HeadBuilder, Malformed
from .h2_settings import OwnSettings
from .h2_stream import Stream
from .limits import RequestLimits
from .ports import RequestError, RequestHead

_PREFACE_SIZE: Final = len(PREFACE)


class H2Wire(Control):
    """One connection. `write` collects frames; calls go to the sink.

    `others` are what the owner counts against the limit of concurrent streams beside them: work for streams that are gone.
    """

    __slots__ = (
        "_blocks",
        "_limits",
        "_rest",
        "builder",
        "failed",
        "others",
    )

    def __init__(
        self, sink: H2Sink, write: Callable[[Any], object], limits: RequestLimits, own: OwnSettings
    ) -> None:
        super().__init__(sink, write, own)
        self._limits = limits
        self._rest = b""
        self._blocks = HeaderBlocks(limits, own.max_frame_size)
        self.builder = H2HeadBuilder(limits, connect=own.connect)
        self.others = 0
        self.failed = False

    def __repr__(self) -> str:
        return f"<H2Wire {len(self.streams)} streams, last {self.last}, windows {self.receive_window} in, {self.send_window} out>"

    def begin(self) -> None:
        """Our preface (§3.4)."""
        own, limits = self._own, self._limits
        self._write(frames.settings(own.values(limits.field_bytes + 32 * limits.fields)))
        if own.connection_window > WINDOW:
            self._write(frames.window_update(0, own.connection_window - WINDOW))

    @property
    def within_block(self) -> bool:
        """Whether a header block has begun and not ended."""
        return self._blocks.stream != 0

    # Bytes in.

    def feed(self, data: bytes, now: int) -> None:
        """Take in what has come, at the time `now`, in ticks."""
        if self.failed:
            return
        self._now = now
        if self._rest:
            data = self._rest + data
        place = 0
        try:
            if not self._greeted:
                if data[:_PREFACE_SIZE] != PREFACE[: len(data)]:
                    raise ConnectionFault(PROTOCOL_ERROR, "no preface")
                if len(data) < _PREFACE_SIZE:
                    self._rest = data
                    return
                self._greeted = 1
                place = _PREFACE_SIZE
            self._rest = b""
            self._read(data, place)
        except ConnectionFault as fault:
            self.fail(fault.code, fault.reason)

    def _read(self, data: bytes, place: int) -> None:
        size = len(data)
        largest = self._own.max_frame_size
        while size - place >= 9:
            length = data[place] << 16 | data[place + 1] << 8 | data[place + 2]
            if length > largest:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a frame above the size that was allowed")
            begin = place + 9
            place = begin + length
            if place > size:
                place = begin - 9
                break
            number = int.from_bytes(data[begin - 4 : begin], "big") & LARGEST
            try:
                self._frame(data[begin - 6], data[begin - 5], number, data[begin:place])
            except StreamFault as fault:
                self._reset_for(fault)
            if self.failed:
                return
        self._rest = data[place:]

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        blocks = self._blocks
        if blocks.stream:
            if kind != frames.CONTINUATION or number != blocks.stream:
                raise ConnectionFault(PROTOCOL_ERROR, "a header block that does not go on")
            if not payload:
                self._count("empty")
            block = blocks.go_on(flags, payload)
            if block is not None:
                self._complete(blocks.flags, number, block)
        elif kind == frames.HEADERS:
            self._headers(flags, number, payload)
        elif kind == frames.DATA:
            self._data(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, number, payload)
            return
        elif kind == frames.RST_STREAM:
            self._rst_stream(number, payload)
        elif kind == frames.PING:
            self._ping(flags, number, payload)
        elif kind == frames.PRIORITY:
            self._priority(number, payload)
        elif kind == frames.GOAWAY:
            if number or len(payload) < 8:
                raise ConnectionFault(PROTOCOL_ERROR if number else FRAME_SIZE_ERROR, "an invalid GOAWAY")
            self._count("other")
            self._sink.on_goaway()
        elif kind == frames.PRIORITY_UPDATE:
            self._priority_update(number, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(PROTOCOL_ERROR, "a client that pushes")
        elif kind == frames.CONTINUATION:
            raise ConnectionFault(PROTOCOL_ERROR, "a CONTINUATION of nothing")
        else:
            self._count("other")  # §5.5: unknown ones are ignored
        if self._greeted < 2:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS do not come first")

    # Requests.

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:  # nor 0
            raise ConnectionFault(PROTOCOL_ERROR, "HEADERS on a stream that no client may open")
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS too short for their priority")
            depends = int.from_bytes(payload[:4], "big") & LARGEST
            payload = payload[5:]
            if depends == number:
                # What depends on itself cannot be (RFC 7540 §5.3.1); the block has to be read all the same.
                flags |= _SELF
        if not flags & frames.END_HEADERS:
            if not payload:
                self._count("empty")
            self._blocks.begin(number, flags, payload)
        else:
            self._complete(flags, number, payload)

    def _complete(self, flags: int, number: int, block: bytes) -> None:
        """A whole header block: a request, or the trailers of one."""
        stream = self.streams.get(number)
        ended = flags & frames.END_STREAM != 0
        if number > self.last and not flags & _SELF:
            known = self._blocks.known(block)
            if known is not None:
                self._begin_request(number, known, ended)
                return
        fields = self._blocks.decode(block)
        if flags & _SELF:
            self._open_fault(number, stream, "a stream that depends on itself")
        if stream is not None:
            self._trailers(stream, fields, ended)
            return
        if number <= self.last:
            self._check_opened(number)
            if number in self._resets:
                return  # §5.4.2: it was on its way when we reset the stream
            raise ConnectionFault(STREAM_CLOSED, "HEADERS on a stream that is closed")
        try:
            head = self.builder.build(fields)
        except Malformed as malformed:  # two names: a variable of compiled code has one type
            self._reach(number)
            raise StreamFault(number, PROTOCOL_ERROR, str(malformed)) from malformed
        except RequestError as error:
            if self._admit(number):
                self._sink.on_refused(number, error, ended)
            return
        self._blocks.keep(block, head)
        self._begin_request(number, head, ended)

    def _admit(self, number: int) -> bool:
        """Whether a new stream is served."""
        self._reach(number)
        self._calm.work += 1
        if number > self.final:
            self._forget_later(number)  # §6.8: the client knows, and asks somebody else
            return False
        if len(self.streams) + self.others >= self._own.max_concurrent_streams:
            self._count("refused")
            self.reset(number, REFUSED_STREAM)
            return False
        return True

    def _begin_request(self, number: int, head: RequestHead, ended: bool) -> None:
        if not self._admit(number):
            return
        if ended and head.content_length:
            raise StreamFault(number, PROTOCOL_ERROR, "a body shorter than its Content-Length")
        stream = self._sink.on_request(number, head, ended)
        stream.expected = head.content_length
        self._open(stream, ended=ended)
        self._prioritise(stream, head.headers)
        self._sink.on_ready(stream)

    def _open_fault(self, number: int, stream: Stream | None, reason: str) -> None:
        if stream is None and number > self.last:
            self._reach(number)
        raise StreamFault(number, PROTOCOL_ERROR, reason)

    def _reach(self, number: int) -> None:
        """A stream was opened. Those that were left out are closed by that, and never existed (§5.1.1)."""
        if number > self.last + 2 or (number != 1 and not self.last):
            self._gaps.append((self.last, number))
        self.last = number

    def _open(self, stream: Stream, *, ended: bool) -> None:
        stream.remote_closed = ended
        stream.send_window = self.peer.initial_window
        initial = self._own.initial_window
        # Until it has acknowledged ours, the peer goes by the default (§6.5.3).
        stream.receive_window = initial if self._settled else max(initial, WINDOW)
        self.streams[stream.id] = stream

    def adopt(self, stream: Stream, *, ended: bool) -> None:
        """Open a stream that did not begin with HEADERS: the first one after an upgrade, or one that we push."""
        if stream.id & 1:
            self.last = stream.id
        self._open(stream, ended=ended)

    def _trailers(self, stream: Stream, fields: Iterable[tuple[bytes, bytes]], ended: bool) -> None:
        if stream.remote_closed:
            raise StreamFault(stream.id, STREAM_CLOSED, "HEADERS behind the end of the request")
        if not ended:
            raise StreamFault(stream.id, PROTOCOL_ERROR, "HEADERS inside a body")
        try:
            self.builder.check_trailers(fields)
        except Malformed as exc:
            raise StreamFault(stream.id, PROTOCOL_ERROR, str(exc)) from exc
        self._end_remote(stream)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        if not number:
            raise ConnectionFault(PROTOCOL_ERROR, "DATA without a stream")
        size = len(payload)
        if size > self.receive_window:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self.receive_window -= size
        data = _unpadded(payload) if flags & frames.PADDED else payload
        stream = self.streams.get(number)
        if stream is None:
            self._give_back(size)
            self._check_opened(number)
            if number not in self._resets:
                raise StreamFault(number, STREAM_CLOSED, "DATA on a stream that is closed")
            self._count("other")
            return
        if stream.remote_closed:
            self._give_back(size)
            raise StreamFault(number, STREAM_CLOSED, "DATA behind the end of the request")
        if size > stream.receive_window:
            self._give_back(size)
            raise StreamFault(number, FLOW_CONTROL_ERROR, "more DATA than the stream's window")
        stream.receive_window -= size
        stream.received += len(data)
        ended = flags & frames.END_STREAM != 0
        expected = stream.expected
        if expected is not None and stream.received > expected:
            self._give_back(size)
            raise StreamFault(number, PROTOCOL_ERROR, "a body longer than its Content-Length")
        if size > len(data):
            self.consumed(stream, size - len(data))
        if data:
            self._calm.work += 1
            stream.on_data(data)
        elif not ended:
            self._count("empty")
        if ended and not stream.closed:
            self._end_remote(stream)

    def _end_remote(self, stream: Stream) -> None:
        if stream.expected is not None and stream.received != stream.expected:
            raise StreamFault(stream.id, PROTOCOL_ERROR, "a body shorter than its Content-Length")
        stream.remote_closed = True
        if stream.local_closed:
            self._close(stream)
        stream.on_end()

    # Ends.

    def release(self) -> None:
        """Nothing more will be fed. The wire lets go of its sink, which holds it in turn."""
        self.failed = True
        self._write = _nowhere
        del self._sink

    def _reset_for(self, fault: StreamFault) -> None:
        self._count("fault")
        stream = self.streams.get(fault.stream)
        self.reset(fault.stream, fault.code)
        self._sink.on_malformed(fault.stream, fault.reason)
        if stream is not None:
            stream.on_reset(fault.code)

    def go_away(self, *, final: bool) -> None:
        """GOAWAY without an error: first that there is an end to come, then, with `final`, what is still served (§6.8)."""
        if final:
            self.final = self.last
        self._write(frames.goaway(self.last if final else LARGEST, frames.NO_ERROR))

    def fail(self, code: int, reason: str) -> None:
        """End the connection for an error."""
        if not self.failed:
            self.failed = True
            self._write(frames.goaway(self.last, code, reason.encode("ascii", "replace")))
            self._sink.on_fault(code, reason)


_SELF: Final = 0x100  # beside the flags of a frame: it depends on itself


def _nowhere(data: Any) -> None:
    """Where frames go once the connection is lost."""


def _unpadded(payload: bytes) -> bytes:
    """A payload without its padding (§6.1). Raises `ConnectionFault`."""
    if not payload:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]
