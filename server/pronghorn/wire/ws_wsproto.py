"""The WebSocket codec over `wsproto`: pure Python, for platforms without compiled modules and as a second opinion.

The library reads frames. What it leaves to others is done here: how large a message may become. It inflates whatever it is
given before anybody could ask, so compression is an extension of our own in its place, which counts as it goes.
"""

import io
import zlib
from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from .ports import MessageSink
from .ws_close import INVALID_DATA, TOO_BIG
from .ws_deflate import Deflate, Inflater, MessageTooLargeError
from .ws_frames import FrameWriter, NoSink, Write

_REASONS: Final = {INVALID_DATA: "invalid data", TOO_BIG: "message too big"}


class _Limits(Extension):
    """Counts the bytes of a message, inflated if it has to be, and ends it at the first one too many."""

    name = "pronghorn-limits"

    def __init__(self, max_size: int, agreed: Deflate | None) -> None:
        self._max_size = max_size
        self._agreed = agreed
        self._inflater: Inflater | None = None
        self._size = 0  # of the message under way
        self._control = False  # whether the frame under way is none of a message
        self._compressed = False

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        if self._control:
            return RsvBits(False, False, False)
        if opcode is not Opcode.CONTINUATION:
            if self._agreed is not None:
                self._compressed = rsv.rsv1
        elif rsv.rsv1:
            return CloseReason.PROTOCOL_ERROR
        if not self._compressed and self._size + payload_length > self._max_size:
            return CloseReason.MESSAGE_TOO_BIG
        return RsvBits(self._agreed is not None, False, False)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        if self._control:
            return data
        if self._compressed:
            if self._inflater is None:
                assert self._agreed is not None
                self._inflater = Inflater(self._agreed)
            try:
                data = self._inflater.piece(data, self._max_size - self._size)
            except MessageTooLargeError:
                return CloseReason.MESSAGE_TOO_BIG
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._size += len(data)
        return data

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if self._control or not fin:
            return None
        rest = None
        if self._compressed and self._inflater is not None:
            try:
                rest = self._inflater.end(self._max_size - self._size)
            except MessageTooLargeError:
                return CloseReason.MESSAGE_TOO_BIG
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._size = 0
        self._compressed = False
        return rest


class WsprotoCodec(FrameWriter):
    """`ports.WebSocketCodec` over wsproto."""

    __slots__ = ("_binary", "_done", "_frames", "_sink", "_text", "held")

    def __init__(self, sink: MessageSink, write: Write, max_size: int, deflate: Deflate | None) -> None:
        super().__init__(write, deflate)
        self._sink: MessageSink = sink
        self.held = False
        self._done = False  # behind a Close frame or a violation
        self._frames = FrameProtocol(client=False, extensions=[_Limits(max_size, deflate)])
        # A message that comes in pieces.
        self._text: io.StringIO | None = None
        self._binary: bytearray | None = None

    def release(self) -> None:
        self._done = True
        self._text = self._binary = None
        self._sink = NoSink()

    def feed(self, data: bytes) -> None:
        if self._done:
            return
        if data:
            self._frames.receive_bytes(data)
        try:
            while not self.held and not self._done:
                # One at a time: whoever is called for one of them may hold the next one up.
                frame = next(self._frames.received_frames(), None)
                if frame is None:
                    return
                self._take(frame.opcode, frame.payload, last=frame.message_finished)
        except ParseFailed as exc:
            self._done = True
            self._text = self._binary = None
            code = int(exc.code)
            self._sink.on_violation(code, _REASONS.get(code, "protocol error"))

    def _take(self, opcode: Opcode, payload: object, *, last: bool) -> None:
        if opcode is Opcode.TEXT:
            assert isinstance(payload, str)
            self._take_text(payload, last=last)
        elif opcode is Opcode.BINARY:
            assert isinstance(payload, bytes)
            self._take_binary(payload, last=last)
        elif opcode is Opcode.PING:
            assert isinstance(payload, bytes)
            self._sink.on_ping(payload)
        elif opcode is Opcode.PONG:
            assert isinstance(payload, bytes)
            self._sink.on_pong(payload)
        else:
            assert isinstance(payload, tuple)
            self._done = True
            code, reason = payload
            self._sink.on_close(int(code), reason)

    def _take_text(self, piece: str, *, last: bool) -> None:
        text = self._text
        if text is None:
            if last:
                self._sink.on_message(piece)
                return
            text = self._text = io.StringIO()
        text.write(piece)
        if last:
            self._text = None
            self._sink.on_message(text.getvalue())

    def _take_binary(self, piece: bytes, *, last: bool) -> None:
        content = self._binary
        if content is None:
            if last:
                self._sink.on_message(piece)
                return
            content = self._binary = bytearray()
        content += piece
        if last:
            self._binary = None
            self._sink.on_message(bytes(content))
