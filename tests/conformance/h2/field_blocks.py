"""RFC 7541: field blocks that no decoder may take."""

from __future__ import annotations

from tests.conformance.h2.case import Case, Served, connection_error
from tests.support.h2_frames import Code, block, head, headers, integer, literal

ERROR = connection_error(Code.COMPRESSION_ERROR)
BLOCK = block(head())


def refused(section: str, name: str, fields: bytes, *, ahead: bool = False) -> Case:
    """A GET with this in its block: behind the fields, or `ahead` of them."""
    fragment = fields + BLOCK if ahead else BLOCK + fields
    return Case(f"hpack-{section}", name, [headers(1, fragment)], ERROR)


def value(coded: bytes) -> bytes:
    """A field whose value is this string in Huffman code."""
    return b"\x00\x01x" + integer(len(coded), 7, 0x80) + coded


CASES = [
    refused("2.3.3", "an index of no table", integer(70, 7, 0x80)),
    refused("2.3.3", "the name of an index of no table", literal(70, b"value")),
    refused("2.3.3", "an index of an entry that was evicted", literal(b"x", b"y", kind=0x40) + b"\xbf"),
    refused("4.2", "a new size of the table behind a field", b"\x20"),
    refused("5.1", "an integer without an end", b"\xff" * 9 + b"\x7f"),
    refused("5.1", "an integer of 2 GiB as a length", b"\x00" + integer(2**31, 7) + b"x"),
    refused("5.1", "an integer of zeros (CVE-2017-2428)", b"\xff" + b"\x80" * 4000 + b"\x01"),
    refused("5.2", "padding of more than seven bits", value(b"\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")),
    refused("5.2", "padding with zeros", value(b"\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")),
    refused("5.2", "the end of a string in Huffman code", value(b"\xff\xff\xff\xfc")),
    refused("6.1", "index 0", b"\x80"),
    refused("6.2", "a name longer than the block", b"\x00\x7fname"),
    refused("6.2", "a value longer than the block", b"\x00\x01x\x7fvalue"),
    refused("6.3", "a table over what SETTINGS allow", integer(2**20, 5, 0x20), ahead=True),
    Case("hpack-6.3", "the size that SETTINGS allow", [headers(1, integer(4096, 5, 0x20) + BLOCK)], Served()),
]
