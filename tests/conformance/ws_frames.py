"""Golden frames: what a client sends, and every call that has to come of it, with either codec and however it is cut.

A row that RFC 6455 or RFC 7692 has a sentence for names it. Beyond `MAX_SIZE` bytes a message is too big.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from tests.support.ws import BINARY, CLOSE, FIN, PING, PONG, RSV1, TEXT, binary, close, deflated, frame, text

MAX_SIZE = 100_000

EURO = "€uro".encode()


@dataclass(frozen=True)
class Row:
    name: str
    raw: bytes
    calls: tuple[tuple[Any, ...], ...]
    deflate: bool = False


def violation(name: str, raw: bytes, code: int, *before: tuple[Any, ...], deflate: bool = False) -> Row:
    # What follows has to be ignored.
    return Row(name, raw + text("ignored") + close(), (*before, ("violation", code)), deflate)


def header(first: int, second: int, *more: int) -> bytes:
    return bytes((first, second, *more)) + b"mask" + b"payload"


def last_block(data: bytes) -> bytes:
    """A message whose one block says that it is the last (RFC 7692 §7.2.3.5)."""
    stream = zlib.compressobj(wbits=-15)
    return frame(FIN | RSV1 | TEXT, stream.compress(data) + stream.flush(zlib.Z_FINISH) + b"\0")


def context(*messages: bytes) -> bytes:
    """Messages of one stream, each referring to those before it."""
    stream = zlib.compressobj(wbits=-15)
    return b"".join(
        frame(FIN | RSV1 | TEXT, (stream.compress(one) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4])
        for one in messages
    )


def deflated_in(sizes: list[int], data: bytes, control: bytes = b"") -> bytes:
    stream = zlib.compressobj(wbits=-15)
    raw = (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    out, at = b"", 0
    for number, size in enumerate(sizes):
        out += frame((RSV1 | TEXT) if number == 0 else 0, raw[at : at + size]) + control
        at += size
    return out + frame(FIN, raw[at:])


_BAD_TEXT = {
    "a byte that begins nothing": b"\xff",
    "continuation without a beginning": b"\x80",
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "half a character": EURO[:2],
}

ROWS = [
    # Messages.
    Row("text", text("hello"), (("text", "hello"),)),
    Row("text beyond ASCII", text("κόσμε €"), (("text", "κόσμε €"),)),
    Row("empty text", text(""), (("text", ""),)),
    Row("empty binary", binary(b""), (("binary", b""),)),
    Row("binary that is no UTF-8", binary(b"\xff\0\x80"), (("binary", b"\xff\0\x80"),)),
    *(
        Row(f"text of {size}", text("x" * size), (("text", "x" * size),))
        for size in (1, 2, 3, 4, 5, 125, 126, 127, 128, 65_535, 65_536, MAX_SIZE)
    ),
    Row("a mask of zeros", frame(FIN | TEXT, b"hello", mask=bytes(4)), (("text", "hello"),)),
    Row(
        "several messages",
        text("a") + binary(b"b") + text("c"),
        (("text", "a"), ("binary", b"b"), ("text", "c")),
    ),
    # Fragments (§5.4).
    Row("two fragments", frame(TEXT, b"hel") + frame(FIN, b"lo"), (("text", "hello"),)),
    Row(
        "fragments, some of them empty",
        frame(BINARY) + frame(0) + frame(0, b"a") + frame(0) + frame(FIN),
        (("binary", b"a"),),
    ),
    Row(
        "a character across fragments",
        frame(TEXT, EURO[:1]) + frame(0, EURO[1:2]) + frame(FIN, EURO[2:]),
        (("text", "€uro"),),
    ),
    Row(
        "control frames between fragments",
        frame(TEXT, b"hel")
        + frame(FIN | PING, b"1")
        + frame(0, b"l")
        + frame(FIN | PONG, b"2")
        + frame(FIN, b"o")
        + text("x"),
        (("ping", b"1"), ("pong", b"2"), ("text", "hello"), ("text", "x")),
    ),
    Row("Close between fragments", frame(TEXT, b"hel") + close(1001), (("close", 1001, ""),)),
    violation("continuation of nothing", frame(FIN, b"x"), 1002),
    violation("continuation behind a whole message", text("a") + frame(0, b"x"), 1002, ("text", "a")),
    violation("a message inside another", frame(TEXT, b"a") + text("b"), 1002),
    violation("a binary message inside a text", frame(TEXT, b"a") + frame(FIN | BINARY, b"b"), 1002),
    # Control frames (§5.5).
    Row("ping", frame(FIN | PING, b"are you there"), (("ping", b"are you there"),)),
    Row("empty ping", frame(FIN | PING), (("ping", b""),)),
    Row("ping of 125", frame(FIN | PING, b"p" * 125), (("ping", b"p" * 125),)),
    Row("pong that nobody asked for", frame(FIN | PONG, b"x"), (("pong", b"x"),)),
    violation("ping of 126", frame(FIN | PING, b"p" * 126), 1002),
    violation("fragmented ping", frame(PING, b"p"), 1002),
    violation("fragmented Close", frame(CLOSE, b"\x03\xe8"), 1002),
    violation("Close of 126", frame(FIN | CLOSE, b"\x03\xe8" + b"r" * 124), 1002),
    # Close (§5.5.1, §7.4).
    Row("Close", close(1000), (("close", 1000, ""),)),
    Row("Close with a reason", close(4000, "g€nug"), (("close", 4000, "g€nug"),)),
    Row("Close without a code", close(None), (("close", 1005, ""),)),
    Row("what comes behind Close", close(1000) + text("ignored") + b"\xff" * 9, (("close", 1000, ""),)),
    *(
        Row(f"Close {code}", close(code), (("close", code, ""),))
        for code in (1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4999)
    ),
    *(
        violation(f"Close {code}", close(code), 1002)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    ),
    violation("Close with half a code", frame(FIN | CLOSE, b"\x03"), 1002),
    violation("Close with a reason that is no UTF-8", frame(FIN | CLOSE, b"\x03\xe8\xff"), 1007),
    # Headers (§5.1, §5.2).
    violation("not masked", frame(FIN | TEXT, b"hello", mask=None), 1002),
    violation("ping that is not masked", frame(FIN | PING, b"", mask=None), 1002),
    *(
        violation(f"reserved bits {bits:#04x}", frame(FIN | TEXT | bits, b"x"), 1002)
        for bits in (0x10, 0x20, 0x40, 0x70)
    ),
    *(violation(f"opcode {code:#x}", frame(FIN | code, b"x"), 1002) for code in (0x3, 0x7, 0xB, 0xF)),
    violation("125 in two bytes", header(FIN | TEXT, 0xFE, 0, 125), 1002),
    violation("65535 in eight bytes", header(FIN | BINARY, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF), 1002),
    violation("a length of 64 bits", header(FIN | BINARY, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0), 1002),
    # UTF-8 (§8.1).
    *(violation(f"text, {name}", frame(FIN | TEXT, b"ok" + bad), 1007) for name, bad in _BAD_TEXT.items()),
    *(
        violation(f"text in fragments, {name}", frame(TEXT, b"ok") + frame(FIN, bad), 1007)
        for name, bad in _BAD_TEXT.items()
    ),
    violation("bad text in a fragment that is not the last", frame(TEXT, b"\xff") + frame(0, b"x"), 1007),
    violation("long text that is bad at its end", frame(FIN | TEXT, b"x" * 70_000 + b"\xff"), 1007),
    # Sizes (§10.4).
    violation("a message that is too big", frame(FIN | TEXT, b"x" * (MAX_SIZE + 1)), 1009),
    violation(
        "a header that promises too much",
        header(FIN | BINARY, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF),
        1009,
    ),
    violation(
        "fragments that are too big together", frame(BINARY, b"x" * 60_000) + frame(FIN, b"x" * 60_000), 1009
    ),
    Row(
        "as large as a message may be, in fragments",
        frame(BINARY, b"x" * 60_000) + frame(FIN, b"x" * 40_000),
        (("binary", b"x" * MAX_SIZE),),
    ),
    # Compression (RFC 7692).
    Row("compressed", deflated(b"hello" * 9), (("text", "hello" * 9),), True),
    Row("compressed binary", deflated(b"\0" * 300, FIN | RSV1 | BINARY), (("binary", b"\0" * 300),), True),
    Row("compressed, of nothing", frame(FIN | RSV1 | TEXT, b"\0"), (("text", ""),), True),
    Row(
        "compressed to two bytes, then plain",
        deflated(b"") + text("plain"),
        (("text", ""), ("text", "plain")),
        True,
    ),
    Row(
        "each refers to the one before",
        context(b"one and the same", b"one and the same", b"one"),
        (("text", "one and the same"), ("text", "one and the same"), ("text", "one")),
        True,
    ),
    Row("compressed in fragments", deflated_in([1, 3], b"hello" * 50), (("text", "hello" * 50),), True),
    Row(
        "pings between compressed fragments",
        deflated_in([2, 2], b"hello" * 50, frame(FIN | PING, b"p")),
        (("ping", b"p"), ("ping", b"p"), ("text", "hello" * 50)),
        True,
    ),
    Row(
        "a last block",
        last_block(b"hello") + last_block(b"again"),
        (("text", "hello"), ("text", "again")),
        True,
    ),
    Row("compressed to the limit", deflated(b"x" * MAX_SIZE), (("text", "x" * MAX_SIZE),), True),
    violation("compressed, too big by one", deflated(b"x" * (MAX_SIZE + 1)), 1009, deflate=True),
    violation(
        "a bomb (CVE-2018-1000518)", deflated(bytes(50_000_000), FIN | RSV1 | BINARY), 1009, deflate=True
    ),
    violation("compressed text that is no UTF-8", deflated(b"ok\xff"), 1007, deflate=True),
    violation("no DEFLATE", frame(FIN | RSV1 | TEXT, b"\xff" * 9), 1007, deflate=True),
    violation("a compressed ping", frame(FIN | RSV1 | PING, b"x"), 1002, deflate=True),
    violation(
        "RSV1 on a fragment that is not the first",
        frame(TEXT, b"a") + frame(FIN | RSV1, b"b"),
        1002,
        deflate=True,
    ),
    violation("RSV2 beside RSV1", frame(FIN | TEXT | 0x60, b"x"), 1002, deflate=True),
]
assert len({row.name for row in ROWS}) == len(ROWS)
