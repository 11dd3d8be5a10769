"""What a message may be, in bytes and fields, before it is refused.

The limits bound the memory a peer can claim before an application has seen a byte of its request. RFC 9112 §3 asks
for request lines of at least 8000 bytes; the rest follows what proxies in front of us accept by default.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Limits of one request, in bytes unless said otherwise; `body` None means no limit."""

    line: int = 8190  # the request line: 414 above it
    fields: int = 100  # number of header fields: 431 above it
    field_bytes: int = 65_536  # names and values of the header section together: 431 above it
    body: int | None = None  # 413 above it
