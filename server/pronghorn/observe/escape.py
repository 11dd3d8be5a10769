r"""What others wrote, made safe to print: one line, nothing a terminal would obey (CVE-2020-7694).

Two measures. What a client sent goes into a line with quoted fields, so there everything but plain ASCII is
written as ``\xNN``, the quote and the backslash included; the result is unambiguous, and is what nginx
does. A message of our own may hold names in any script, so there only what cannot be printed is escaped.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[^ !#-\[\]-~]")


def escape(text: str) -> str:
    r"""Write whatever is not printable ASCII, ``"`` and ``\`` as ``\xNN``, a byte of UTF-8 each.

    Clean text, which is nearly all, costs one scan and no copy.
    """
    return text if _UNSAFE.search(text) is None else _UNSAFE.sub(_hex, text)


def escape_bytes(data: bytes) -> str:
    r"""Do the same to bytes, each of which is itself or ``\xNN``."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02X}", data.decode("latin-1"))


def _hex(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def one_line(text: str) -> str:
    r"""Write whatever cannot be printed as Python would: ``\n``, ``\x1b``, ``\u2028``."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def lines(text: str) -> str:
    """Do the same to each line of a text that has several by right, such as a traceback."""
    return "\n".join(one_line(line.expandtabs()) for line in text.split("\n"))
