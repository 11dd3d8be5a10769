"""The server's side of one HTTP/2 connection, without I/O: bytes in, calls out; frames out through a `write` (RFC 9113).

Built on the parts of the h2 library: its codec of HPACK, its registries of settings and errors; and checked against its client in
the tests. The state machine is our own. h2's treats what is wrong with one request as the end of all requests of its connection,
has no answer to a head that is too large, and takes two thirds of a small request's time in events that nobody needs
(docs/adr/0038-http2.md has the figures).

What goes wrong is one of two things (§5.4): a `StreamFault` resets one stream, a `ConnectionFault` ends all with GOAWAY. Header
blocks are decoded in any case, since the table that they share would be wrong for the next one (§4.3).

Sending is in turns: a piece that fits is written at once if nobody waits; else it waits with its stream, and `pump` gives each
stream one frame after the other, within the windows. `pump` is called by the owner, who knows when the transport has room.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from hpack import Decoder, HPACKError, OversizedHeaderListError

from . import h2_frames as frames
from .h2_calm import Calm
from .h2_frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
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
from .h2_settings import OwnSettings, PeerSettings
from .h2_stream import Stream, Turns
from .limits import RequestLimits
from .ports import RequestError, RequestHead

#: Streams that we have reset, and gaps between those that were opened, of which the last ones are known.
_REMEMBERED: Final = 256
_GAPS: Final = 32
#: A list of fields is decoded up to this many times the limit, so that it can be answered; beyond that it is a bomb.
_BOMB: Final = 4
#: Frames that one header block may come in.
_CONTINUATIONS: Final = 32
#: Bytes of a frame's payload that we send, whatever more the peer allows: a frame is a turn.
_TURN: Final = 16_384

#: Heads that are known by their block, and the size of a block that is kept.
_HEADS: Final = 16
_SMALL_BLOCK: Final = 64

_PREFACE_SIZE: Final = len(PREFACE)


class StreamFault(Exception):
    """What came on one stream is wrong: it is reset."""

    def __init__(self, stream: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.stream = stream
        self.code = code
        self.reason = reason


class ConnectionFault(Exception):
    """Nothing on this connection can be trusted any more."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class H2Sink(Protocol):
    """Who is called for what comes in. A stream that `on_request` makes is called itself for what comes on it."""

    def on_request(self, number: int, head: RequestHead, ended: bool) -> Stream:
        """A new stream with its request; `ended` if there is no body. It is among `H2Wire.streams` when `on_ready` is called."""

    def on_ready(self, stream: Stream) -> None:
        """Now it may be answered."""

    def on_refused(self, number: int, error: RequestError, ended: bool) -> None:
        """A new stream whose request is to be answered with an error by the server itself."""

    def on_malformed(self, stream: int, reason: str) -> None:
        """A stream was reset by us for what came on it, for the log."""

    def on_fault(self, code: int, reason: str) -> None:
        """The connection is over. GOAWAY has been written if there was a reason to."""

    def on_settings_acknowledged(self) -> None: ...

    def on_pong(self, payload: bytes) -> None: ...

    def on_goaway(self) -> None:
        """The peer will open no more streams."""


class H2Wire:
    """One connection. `write` collects frames; `calls` go to the sink; `streams` are those that are open, by their number.

    `others` are what the owner counts against the limit of concurrent streams beside them: work for streams that are gone.
    """

    __deletable__ = ("_sink",)  # mypyc asks to be told
    __slots__ = (
        "_block",
        "_calm",
        "_continuations",
        "_decoder",
        "_fresh_table",
        "_gaps",
        "_greeted",
        "_headers_flags",
        "_headers_stream",
        "_heads",
        "_limits",
        "_now",
        "_own",
        "_resets",
        "_rest",
        "_returned",
        "_settled",
        "_sink",
        "_turns",
        "_urgencies",
        "_write",
        "builder",
        "failed",
        "final",
        "held",
        "last",
        "others",
        "peer",
        "pushed",
        "receive_window",
        "send_window",
        "sent",
        "streams",
    )

    def __init__(
        self, sink: H2Sink, write: Callable[[Any], object], limits: RequestLimits, own: OwnSettings
    ) -> None:
        self._sink = sink
        self._write = write
        self._limits = limits
        self._own = own
        self._calm = Calm()
        self._now = 0
        self._rest = b""
        self._greeted = 0  # 1 once the preface has come, 2 once SETTINGS has
        self._settled = False  # whether the peer has acknowledged our settings
        # A header block that goes on.
        self._block: list[bytes] = []
        self._headers_stream = 0
        self._headers_flags = 0
        self._continuations = 0
        self._decoder = Decoder(_BOMB * (limits.field_bytes + 32 * limits.fields))
        self._heads: dict[bytes, RequestHead] = {}
        self._fresh_table = True
        self._turns = Turns()
        self._urgencies: dict[int, bytes] = {}  # of streams that are still to come
        # Those that we have reset: more may be on its way for them. And pairs of streams between which none was opened.
        self._resets: dict[int, None] = {}
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_GAPS)
        self.builder = H2HeadBuilder(limits, connect=own.connect)
        self.streams: dict[int, Stream] = {}
        self.others = 0
        self.peer = PeerSettings()
        self.last = 0  # the highest stream of the peer
        self.pushed = 0  # and of ours
        #: The last stream that is served, once GOAWAY has said so.
        self.final = LARGEST
        self.failed = False
        #: Set by the owner while the transport has enough.
        self.held = False
        self.receive_window = own.connection_window
        self._returned = 0
        self.send_window = WINDOW
        self.sent = 0  # bytes of DATA, for whoever looks whether anything moves

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
        return self._headers_stream != 0

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
        if self._headers_stream:
            if kind != frames.CONTINUATION or number != self._headers_stream:
                raise ConnectionFault(PROTOCOL_ERROR, "a header block that does not go on")
            self._continue(flags, payload)
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

    def _count(self, kind: str) -> None:
        """What a peer may do now and then. Raises `ConnectionFault` where it does nothing else."""
        if self._calm.lost(kind, self._now):
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"too many frames: {kind}")

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
            self._headers_stream, self._headers_flags = number, flags
            self._block.append(payload)
            return
        self._complete(flags, number, payload)

    def _continue(self, flags: int, payload: bytes) -> None:
        """A further piece of a header block, which may not go on for ever (CVE-2024-27316)."""
        self._continuations += 1
        self._block.append(payload)
        if not payload:
            self._count("empty")
        limits = self._limits
        if (
            self._continuations > _CONTINUATIONS
            or sum(map(len, self._block)) > limits.field_bytes + 32 * limits.fields + self._own.max_frame_size
        ):
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block without end")
        if flags & frames.END_HEADERS:
            number, self._headers_stream = self._headers_stream, 0
            block = b"".join(self._block)
            self._block.clear()
            self._continuations = 0
            self._complete(self._headers_flags, number, block)

    def _complete(self, flags: int, number: int, block: bytes) -> None:
        """A whole header block: a request, or the trailers of one."""
        stream = self.streams.get(number)
        known = self._heads.get(block)
        if known is not None and stream is None and number > self.last and not flags & _SELF:
            self._begin_request(number, known.again(), flags & frames.END_STREAM != 0)
            return
        fields = self._decode(block)
        ended = flags & frames.END_STREAM != 0
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
        except Malformed as exc:
            self._reach(number)
            raise StreamFault(number, PROTOCOL_ERROR, str(exc)) from exc
        except RequestError as exc:
            if self._admit(number):
                self._sink.on_refused(number, exc, ended)
            return
        if len(block) <= _SMALL_BLOCK and min(block) >= 0x80:
            # Nothing but references to the tables. As long as those stay as they are, it means the same again.
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[block] = head.again()
        self._begin_request(number, head, ended)

    def _admit(self, number: int) -> bool:
        """Whether a new stream is served."""
        self._reach(number)
        self._calm.work += 1
        if number > self.final:
            return False  # §6.8: the client knows, and asks somebody else
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

    def _decode(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        entries = self._decoder.header_table.dynamic_entries
        size, newest = len(entries), entries[0] if entries else None
        try:
            fields: Iterable[tuple[bytes, bytes]] = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            raise ConnectionFault(
                ENHANCE_YOUR_CALM, "a header block that decodes into far too much"
            ) from None
        except (HPACKError, IndexError, ValueError) as exc:
            raise ConnectionFault(COMPRESSION_ERROR, "a header block that is not HPACK") from exc
        if len(entries) != size or (size and entries[0] is not newest):
            self._heads.clear()  # the table has changed, and with it what references mean
        return fields

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

    # The rest of what comes.

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS on a stream")
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS of an impossible size")
        self._count("settings")
        if flags & frames.ACK:
            self._settled = True
            self._sink.on_settings_acknowledged()
            if self._greeted < 2:
                raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS do not come first")
            return
        self._greeted = 2
        self.take_settings(payload)
        self._write(frames.ACKNOWLEDGED)

    def take_settings(self, payload: bytes) -> None:
        """The peer's settings. Raises `ConnectionFault`."""
        before = self.peer.initial_window
        code = self.peer.take(payload)
        if code:
            raise ConnectionFault(code, "an impossible setting")
        change = self.peer.initial_window - before
        if change:
            # §6.9.2: of every stream, and it may become negative.
            for stream in self.streams.values():
                stream.send_window += change
                if stream.send_window > LARGEST:
                    raise ConnectionFault(FLOW_CONTROL_ERROR, "a window above the largest there is")
                self._queue(stream)

    def _window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        increment = int.from_bytes(payload, "big") & LARGEST
        self._count("window")
        if not number:
            if not increment:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self.send_window += increment
            if self.send_window > LARGEST:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "a window above the largest there is")
            return
        stream = self.streams.get(number)
        if stream is None:
            self._check_opened(number)
            return
        if not increment:
            raise StreamFault(number, PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        stream.send_window += increment
        if stream.send_window > LARGEST:
            raise StreamFault(number, FLOW_CONTROL_ERROR, "a window above the largest there is")
        self._queue(stream)

    def _rst_stream(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
        if not number:
            raise ConnectionFault(PROTOCOL_ERROR, "RST_STREAM without a stream")
        self._check_opened(number)
        self._count("reset")
        stream = self.streams.get(number)
        if stream is not None:
            self._close(stream)
            stream.on_reset(int.from_bytes(payload, "big"))

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PING of a wrong size")
        self._count("ping")
        if flags & frames.ACK:
            self._sink.on_pong(payload)
        else:
            self._write(frames.ping(payload, ack=True))

    def _priority(self, number: int, payload: bytes) -> None:
        """RFC 7540's priorities mean nothing any more (RFC 9113 §5.3.2), but they have to be sound."""
        if not number:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY without a stream")
        self._count("priority")
        stream = self.streams.get(number)
        if len(payload) != 5:
            if stream is None:
                raise ConnectionFault(FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
            raise StreamFault(number, FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        if int.from_bytes(payload[:4], "big") & LARGEST == number:
            if stream is None:
                raise ConnectionFault(PROTOCOL_ERROR, "a stream that depends on itself")
            raise StreamFault(number, PROTOCOL_ERROR, "a stream that depends on itself")

    def _priority_update(self, number: int, payload: bytes) -> None:
        """RFC 9218 §7.1."""
        if number:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
        if len(payload) < 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PRIORITY_UPDATE of a wrong size")
        self._count("priority")
        about = int.from_bytes(payload[:4], "big") & LARGEST
        if not about:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE about no stream")
        stream = self.streams.get(about)
        if stream is not None:
            _apply_priority(stream, payload[4:])
        elif about > self.last and about & 1 and len(self._urgencies) < self._own.max_concurrent_streams:
            self._urgencies[about] = payload[4:]

    def _prioritise(self, stream: Stream, headers: list[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            if name == b"priority":
                _apply_priority(stream, value)
        if self._urgencies:
            # §7.1: what comes in a frame goes before what the request says.
            update = self._urgencies.pop(stream.id, None)
            if update is not None:
                _apply_priority(stream, update)

    def _check_opened(self, number: int) -> None:
        """§5.1: nothing but HEADERS and priorities may come on a stream that is idle."""
        if number > (self.last if number & 1 else self.pushed):
            raise ConnectionFault(PROTOCOL_ERROR, "a frame on a stream that was never opened")
        for below, above in self._gaps:
            if below < number < above and number & 1:
                raise ConnectionFault(PROTOCOL_ERROR, "a frame on a stream that was left out")

    # Flow control of what comes.

    def consumed(self, stream: Stream, size: int) -> None:
        """So much of the body was taken: the peer may send as much again, once it is worth a frame."""
        self._give_back(size)
        if stream.remote_closed or stream.closed:
            return
        stream.returned += size
        if 2 * stream.returned >= self._own.initial_window:
            stream.receive_window += stream.returned
            self._write(frames.window_update(stream.id, stream.returned))
            stream.returned = 0

    def _give_back(self, size: int) -> None:
        """The same for the window of the connection."""
        self._returned += size
        if 2 * self._returned >= self._own.connection_window:
            self.receive_window += self._returned
            self._write(frames.window_update(0, self._returned))
            self._returned = 0

    # Frames out.

    def send_head(self, stream: Stream, block: bytes, *, end: bool) -> None:
        """The head of a response; with `end` all of it."""
        if self._fresh_table:
            self._fresh_table = False
            block = _NO_TABLE + block
        if len(block) <= _TURN:
            flags = frames.END_HEADERS | frames.END_STREAM if end else frames.END_HEADERS
            self._write(frames.frame_head(len(block), frames.HEADERS, flags, stream.id) + block)
        else:
            flags = frames.END_STREAM if end else 0
            size = self.peer.max_frame_size
            self._write(frames.header_frames(frames.HEADERS, stream.id, flags, block, size))
        if end:
            self._end_local(stream)

    def send_push(self, stream: Stream, number: int, block: bytes) -> None:
        """PUSH_PROMISE of stream `number` (§6.6)."""
        if self._fresh_table:
            self._fresh_table = False
            block = _NO_TABLE + block
        size = self.peer.max_frame_size
        ahead = number.to_bytes(4, "big")
        self._write(frames.header_frames(frames.PUSH_PROMISE, stream.id, 0, block, size, ahead))

    def send_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """A piece of a body; with `end` the last one. It is written at once if there is room for it and nobody waits."""
        size = len(data)
        if stream.pending_size:
            if size:
                stream.pending.append(data)
                stream.pending_size += size
            stream.ending = end
        elif not size:
            if end:
                self._finish(stream)
        elif (
            size <= stream.send_window
            and size <= self.send_window
            and size <= _TURN
            and not self.held
            and not self._turns.waiting
        ):
            self._frame_data(stream, size, end=end)
            self._write(data)
            if end:
                self._end_local(stream)
        else:
            stream.pending.append(data)
            stream.pending_size = size
            stream.ending = end
            self._queue(stream)

    def send_trailers(self, stream: Stream, block: bytes) -> None:
        """The fields behind the body, and the end."""
        stream.trailers = block
        stream.ending = True
        if not stream.pending_size:
            self._finish(stream)

    def _frame_data(self, stream: Stream, size: int, *, end: bool) -> None:
        self._write(frames.frame_head(size, frames.DATA, frames.END_STREAM if end else 0, stream.id))
        stream.send_window -= size
        stream.sent += size
        self.send_window -= size
        self.sent += size
        self._calm.work += 1

    def _queue(self, stream: Stream) -> None:
        """Give a stream a turn, if it has something to send and a window for it."""
        if stream.pending_size and stream.send_window > 0 and not stream.queued:
            self._turns.add(stream)

    @property
    def waiting(self) -> bool:
        """Whether `pump` would send anything."""
        return self._turns.waiting > 0 and self.send_window > 0 and not self.held

    def pump(self, budget: int) -> None:
        """Send up to `budget` bytes, or a frame more, of what waits."""
        turns = self._turns
        while budget > 0 and self.send_window > 0:
            stream = turns.take()
            if stream is None:
                return
            waiting = stream.pending_size
            size = min(waiting, _TURN, stream.send_window, self.send_window)
            if size <= 0:
                continue  # it is gone, or comes back with its window
            last = size == waiting and stream.ending and not stream.trailers
            self._frame_data(stream, size, end=last)
            self._write_pending(stream, size)
            budget -= size
            if last:
                self._end_local(stream)
            elif size < waiting:
                if stream.send_window > 0:
                    turns.again(stream)
            elif stream.ending:
                self._finish(stream)
            stream.on_sent(size)

    def _write_pending(self, stream: Stream, size: int) -> None:
        """Write the first `size` bytes of what waits."""
        stream.pending_size -= size
        pending = stream.pending
        while size:
            piece = pending.popleft()
            length = len(piece)
            if length > size:
                rest: Any = memoryview(piece)
                self._write(rest[:size])
                pending.appendleft(rest[size:])
                return
            self._write(piece)
            size -= length

    def _finish(self, stream: Stream) -> None:
        """All of the body is out: its end is due."""
        if stream.trailers:
            self.send_head(stream, stream.trailers, end=True)
        else:
            self._frame_data(stream, 0, end=True)
            self._end_local(stream)

    def _end_local(self, stream: Stream) -> None:
        stream.local_closed = True
        if stream.remote_closed:
            self._close(stream)
        else:
            stream.on_answered()

    # Ends.

    def _close(self, stream: Stream) -> None:
        stream.closed = True
        stream.pending.clear()
        stream.pending_size = 0
        self.streams.pop(stream.id, None)
        stream.on_closed()

    def drop(self, stream: Stream) -> None:
        """Close a stream without a word: the connection is over."""
        self._close(stream)

    def release(self) -> None:
        """Nothing more will be fed. The wire lets go of its sink, which holds it in turn."""
        self.failed = True
        self._write = _nowhere
        del self._sink

    def reset(self, number: int, code: int) -> None:
        """RST_STREAM, and the stream is gone; its owner is not told, who may be the one that calls."""
        stream = self.streams.get(number)
        if stream is not None:
            self._close(stream)
        self._resets[number] = None
        if len(self._resets) > _REMEMBERED:
            del self._resets[next(iter(self._resets))]
        self._write(frames.rst_stream(number, code))

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

    def ping(self, payload: bytes) -> None:
        self._write(frames.ping(payload))

    def fail(self, code: int, reason: str) -> None:
        """End the connection for an error."""
        if not self.failed:
            self.failed = True
            self._write(frames.goaway(self.last, code, reason.encode("ascii", "replace")))
            self._sink.on_fault(code, reason)


_SELF: Final = 0x100  # beside the flags of a frame: it depends on itself
_NO_TABLE: Final = b"\x20"  # RFC 7541 §6.3: our fields never need a table


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


def _apply_priority(stream: Stream, value: bytes) -> None:
    """RFC 9218 §4: a dictionary of structured fields, of which two keys matter; what is unsound is ignored."""
    urgency, incremental = 3, False
    for item in value.split(b","):
        key, _, number = item.strip(b" \t").partition(b"=")
        if key == b"u" and len(number) == 1 and b"0" <= number <= b"7":
            urgency = number[0] - 0x30
        elif key == b"i":
            incremental = number in (b"", b"?1")
    stream.urgency = urgency
    stream.incremental = incremental
