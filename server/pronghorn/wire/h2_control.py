"""What an HTTP/2 connection is told beside requests: settings, windows, priorities, signs of life (RFC 9113 §6, RFC 9218).

Each of these frames is cheap to send, and counted.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from . import h2_frames as frames
from .h2_faults import ConnectionFault, StreamFault
from .h2_frames import ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, LARGEST, PROTOCOL_ERROR
from .h2_sending import Sending
from .h2_settings import OwnSettings
from .h2_stream import Stream
from .ports import RequestError, RequestHead

#: Gaps between the streams that were opened, of which the last ones are known.
_GAPS: Final = 32


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


class Control(Sending):
    """What `H2Wire` has beside its requests."""

    __deletable__ = ("_sink",)  # mypyc asks to be told
    __slots__ = (
        "_gaps",
        "_greeted",
        "_now",
        "_own",
        "_returned",
        "_settled",
        "_sink",
        "_urgencies",
        "final",
        "last",
        "pushed",
        "receive_window",
    )

    def __init__(self, sink: H2Sink, write: Callable[[Any], object], own: OwnSettings) -> None:
        super().__init__(write)
        self._sink = sink
        self._own = own
        self._now = 0
        self._greeted = 0  # 1 once the preface has come, 2 once SETTINGS has
        self._settled = False  # whether the peer has acknowledged our settings
        self._urgencies: dict[int, bytes] = {}  # of streams that are still to come
        # Pairs of streams between which none was opened.
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_GAPS)
        self.last = 0  # the highest stream of the peer
        self.pushed = 0  # and of ours
        #: The last stream that is served, once GOAWAY has said so.
        self.final = LARGEST
        self.receive_window = own.connection_window
        self._returned = 0

    def _count(self, kind: str) -> None:
        """What a peer may do now and then. Raises `ConnectionFault` where it does nothing else."""
        if self._calm.lost(kind, self._now):
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"too many frames: {kind}")

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
