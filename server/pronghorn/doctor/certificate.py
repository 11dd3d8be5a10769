"""Until when a certificate is good: its `validity`, found in the DER encoding (RFC 5280 section 4.1, X.690 section 8.1).

The ssl module tells that only of a certificate that it has verified. What is needed here is two steps into the structure.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0  # [0] EXPLICIT, which certificates of version 1 do not have
_UTC_TIME: Final = 0x17
_FIRST: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?", re.ASCII)


def first_of(pem: str) -> bytes:
    """The first certificate of a file, which is the server's own, as DER. Raises ValueError if there is none."""
    found = _FIRST.search(pem)
    if found is None:
        raise ValueError("no certificate in PEM form")
    return ssl.PEM_cert_to_DER_cert(found[0])


def not_after(der: bytes) -> dt.datetime:
    """The last moment at which the certificate is good, in UTC. Raises ValueError for what is no certificate."""
    try:
        body = _content(_content(der, 0, _SEQUENCE), 0, _SEQUENCE)
        # version, serialNumber, signature, issuer; then validity.
        at = _end(body, 0) if body[0] == _VERSION else 0
        for _ in range(3):
            at = _end(body, at)
        validity = _content(body, at, _SEQUENCE)
        at = _end(validity, 0)
        kind, text = validity[at], _content(validity, at).decode("ascii")
        # Two digits of a year are those of 1950 to 2049 (section 4.1.2.5.1).
        if kind == _UTC_TIME:
            text = ("19" if text[:2] >= "50" else "20") + text
        return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)
    except (IndexError, UnicodeDecodeError) as exc:
        raise ValueError("not a certificate") from exc


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins, and how long it is."""
    length, start = data[at + 1], at + 2
    if length & 0x80:
        width = length & 0x7F
        length, start = int.from_bytes(data[start : start + width], "big"), start + width
    if start + length > len(data):
        raise ValueError("not a certificate")
    return start, length


def _content(data: bytes, at: int, tag: int | None = None) -> bytes:
    if tag is not None and data[at] != tag:
        raise ValueError("not a certificate")
    start, length = _header(data, at)
    return data[start : start + length]


def _end(data: bytes, at: int) -> int:
    start, length = _header(data, at)
    return start + length
