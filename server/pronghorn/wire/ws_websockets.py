"""The WebSocket codec over `websockets`: the fast one, and the default.

Of the library it takes what is in C, the unmasking of payloads (RFC 6455 §5.3). Its own reader is a chain of generators that is
resumed several times a frame; here a frame that is whole, which nearly every one is, is read where it lies. The others go
through a state machine that takes a payload as it comes, unmasks, inflates and checks it at once, so that what is wrong or too
large is noticed at the byte where it is, and no header makes anybody reserve memory.
"""

import codecs
import zlib
from typing import Final

from .ports import MessageSink
from .ws_close import CONTROL_PAYLOAD, INVALID_DATA, PROTOCOL_ERROR, TOO_BIG, Violation, read_close
from .ws_deflate import Deflate, Inflater, MessageTooLargeError
from .ws_frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, FrameWriter, NoSink, Write

try:
    from websockets.speedups import apply_mask
except ImportError:  # where the library was installed without its C part
    from websockets.utils import apply_mask

_MASK: Final = 0x80
_FINAL_TEXT: Final = FIN | TEXT
_FINAL_BINARY: Final = FIN | BINARY

_Utf8 = codecs.getincrementaldecoder("utf-8")


class WebsocketsCodec(FrameWriter):
    """`ports.WebSocketCodec` over websockets."""

    __slots__ = (
        "_buffer",
        "_compressed",
        "_content",
        "_done",
        "_final",
        "_inflater",
        "_left",
        "_mask",
        "_max_size",
        "_opcode",
        "_sink",
        "_utf8",
        "held",
    )

    def __init__(self, sink: MessageSink, write: Write, max_size: int, deflate: Deflate | None) -> None:
        super().__init__(write, deflate)
        self._sink: MessageSink = sink
        self._max_size = max_size
        self.held = False
        self._buffer = b""  # what is not read yet: part of a header, or whatever came while `held`
        self._done = False  # behind a Close frame or a violation, and then it is held for good
        # The message that is under way: its opcode, or 0; what is there of it, inflated; and whether it is deflated.
        self._opcode = 0
        self._content = bytearray()
        self._compressed = False
        self._inflater: Inflater | None = None
        self._utf8: codecs.IncrementalDecoder | None = None  # checks a text that comes in pieces
        # The frame whose payload is under way: bytes still to come, -1 between frames; its mask from there on; FIN.
        self._left = -1
        self._mask = b""
        self._final = False

    def release(self) -> None:
        self._done = self.held = True
        self._buffer = b""
        self._content = bytearray()
        self._sink = NoSink()

    def feed(self, data: bytes) -> None:
        if self._done:
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at = 0
        size = len(data)
        try:
            while at < size and not self.held:
                if self._left < 0:
                    if size - at < 6:  # no frame of a client is shorter
                        taken = self._read_header(data, at, size)
                        if not taken:
                            break
                        at += taken
                        continue
                    # §5.2: a message in one frame, without an extension, masked, and all of it there.
                    first = data[at]
                    length = data[at + 1] - _MASK
                    if first in (_FINAL_TEXT, _FINAL_BINARY) and not self._opcode and 0 <= length < 127:
                        start = at + 6
                        if length == 126 and size - at >= 8:
                            length = data[at + 2] << 8 | data[at + 3]
                            start = at + 8
                        end = start + length
                        if end <= size and length <= self._max_size and (length >= 126 or start == at + 6):
                            payload = apply_mask(data[start:end], data[start - 4 : start])
                            at = end
                            if first == _FINAL_TEXT:
                                self._sink.on_message(payload.decode("utf-8"))
                            else:
                                self._sink.on_message(payload)
                            continue
                    taken = self._read_header(data, at, size)
                    if not taken:
                        break
                    at += taken
                else:
                    end = min(at + self._left, size)
                    self._read_payload(data[at:end])
                    at = end
        except Violation as exc:
            self._fail(exc.code, exc.reason)
        except UnicodeDecodeError:
            self._fail(INVALID_DATA, "invalid UTF-8")
        except MessageTooLargeError:
            self._fail(TOO_BIG, "message too big")
        except zlib.error:
            self._fail(INVALID_DATA, "invalid compressed data")
        else:
            if at < size and not self._done:
                self._buffer = data[at:] if at else data

    def _read_header(self, data: bytes, at: int, size: int) -> int:
        """Read a header, and a control frame with it; 0 if it is not all there, or else how many bytes were read.

        Raises `Violation`.
        """
        first = data[at]
        opcode = first & 0x0F
        if first & 0x30 or (first & RSV1 and (self._agreed is None or opcode not in (TEXT, BINARY))):
            # §5.2: "MUST be 0 unless an extension is negotiated"; RFC 7692 §6 has it in the first frame of a message alone.
            raise Violation(PROTOCOL_ERROR, "reserved bits set")
        if opcode > PONG or BINARY < opcode < CLOSE:
            raise Violation(PROTOCOL_ERROR, "reserved opcode")
        if opcode >= CLOSE and not first & FIN:
            raise Violation(PROTOCOL_ERROR, "fragmented control frame")
        if opcode == CONTINUATION and not self._opcode:
            raise Violation(PROTOCOL_ERROR, "continuation of nothing")
        if opcode in (TEXT, BINARY) and self._opcode:
            raise Violation(PROTOCOL_ERROR, "new message inside another")
        if size - at < 2:
            return 0
        second = data[at + 1]
        if not second & _MASK:
            # §5.1: "The server MUST close the connection upon receiving a frame that is not masked."
            raise Violation(PROTOCOL_ERROR, "frame of a client that is not masked")
        length = second & 0x7F
        if opcode >= CLOSE:
            if length > CONTROL_PAYLOAD:
                raise Violation(PROTOCOL_ERROR, "control frame too long")
            end = at + 6 + length
            if end > size:
                return 0
            self._control(opcode, apply_mask(data[at + 6 : end], data[at + 2 : at + 6]))
            return 6 + length
        start = at + 2
        if length >= 126:
            wide = 2 if length == 126 else 8
            if size - start < wide:
                return 0
            length = int.from_bytes(data[start : start + wide], "big")
            # §5.2: "the minimal number of bytes MUST be used", and "the most significant bit MUST be 0".
            if length < 126 or (wide == 8 and (length < 65_536 or length >> 63)):
                raise Violation(PROTOCOL_ERROR, "length not in its shortest form")
            start += wide
        compressed = first & RSV1 != 0 if opcode else self._compressed
        if not compressed and len(self._content) + length > self._max_size:
            raise MessageTooLargeError
        if size - start < 4:
            return 0
        if opcode:
            self._opcode = opcode
            self._compressed = compressed
            if opcode == TEXT:
                self._utf8 = _Utf8()
        self._mask = data[start : start + 4]
        self._final = first & FIN != 0
        self._left = length
        if not length:
            self._read_payload(b"")
        return start + 4 - at

    def _read_payload(self, data: bytes) -> None:
        """The next bytes of the payload that is under way."""
        size = len(data)
        self._left -= size
        if size:
            data = apply_mask(data, self._mask)
            turned = size & 3
            if turned and self._left:
                self._mask = self._mask[turned:] + self._mask[:turned]
        last = not self._left and self._final
        if self._compressed:
            data = self._inflate(data, last=last)
        if self._utf8 is not None:
            self._utf8.decode(data, last)
        self._content += data
        if self._left:
            return
        self._left = -1
        if last:
            opcode, content = self._opcode, self._content
            self._opcode = 0
            self._content = bytearray()
            self._utf8 = None
            self._sink.on_message(content.decode("utf-8") if opcode == TEXT else bytes(content))

    def _inflate(self, data: bytes, *, last: bool) -> bytes:
        inflater = self._inflater
        if inflater is None:
            assert self._agreed is not None
            inflater = self._inflater = Inflater(self._agreed)
        room = self._max_size - len(self._content)
        content = inflater.piece(data, room)
        if last:
            content += inflater.end(room - len(content))
        return content

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._sink.on_ping(payload)
        elif opcode == PONG:
            self._sink.on_pong(payload)
        else:
            code, reason = read_close(payload)
            self._done = self.held = True
            self._sink.on_close(code, reason)

    def _fail(self, code: int, reason: str) -> None:
        if not self._done:
            self._done = self.held = True
            self._content = bytearray()
            self._sink.on_violation(code, reason)
