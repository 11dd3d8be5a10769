"""Header blocks as they come: put together from their frames, decoded, and known again (RFC 9113 §4.3, RFC 7541).

Blocks are decoded in any case, since the table that they share would be wrong for the next one. A block that is made of references
to the tables alone means the same as long as those stay as they are; clients that ask again and again send such blocks, and their heads
are kept.
"""

from collections.abc import Iterable
from typing import Final

from hpack import Decoder, HPACKError, OversizedHeaderListError

from .h2_faults import ConnectionFault
from .h2_frames import COMPRESSION_ERROR, END_HEADERS, ENHANCE_YOUR_CALM
from .limits import RequestLimits
from .ports import RequestHead

#: A list of fields is decoded up to this many times the limit, so that it can be answered; beyond that it is a bomb.
_BOMB: Final = 4
#: Frames that one header block may come in.
_CONTINUATIONS: Final = 32
#: Heads that are known by their block, and the size of a block that is kept.
_HEADS: Final = 16
_SMALL_BLOCK: Final = 64


class HeaderBlocks:
    """Those of one connection. `stream` is the one whose block has begun and not ended, or 0, and `flags` are of its HEADERS frame."""

    __slots__ = ("_continuations", "_decoder", "_heads", "_largest", "_pieces", "flags", "stream")

    def __init__(self, limits: RequestLimits, max_frame_size: int) -> None:
        size = limits.field_bytes + 32 * limits.fields
        self._largest = size + max_frame_size
        self._pieces: list[bytes] = []
        self._continuations = 0
        self._decoder = Decoder(_BOMB * size)
        self._heads: dict[bytes, RequestHead] = {}
        self.stream = 0
        self.flags = 0

    def begin(self, stream: int, flags: int, payload: bytes) -> None:
        """The first piece of a block that goes on."""
        self.stream, self.flags = stream, flags
        self._pieces.append(payload)

    def go_on(self, flags: int, payload: bytes) -> bytes | None:
        """A further piece; returns the block once it is whole. Raises `ConnectionFault` for one without end (CVE-2024-27316)."""
        self._continuations += 1
        self._pieces.append(payload)
        if self._continuations > _CONTINUATIONS or sum(map(len, self._pieces)) > self._largest:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block without end")
        if not flags & END_HEADERS:
            return None
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._continuations = 0
        self.stream = 0
        return block

    def known(self, block: bytes) -> RequestHead | None:
        """The head that such a block had the last time, for another request."""
        head = self._heads.get(block)
        return None if head is None else head.again()

    def keep(self, block: bytes, head: RequestHead) -> None:
        """Know a head again, if its block is one of references alone."""
        if len(block) <= _SMALL_BLOCK and min(block) >= 0x80:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[block] = head.again()

    def decode(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        """The fields. Raises `ConnectionFault`."""
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
