"""What nghttp tells of frames."""

from __future__ import annotations

import re


def frames(report: bytes) -> str:
    """What `nghttp --verbose` tells, without colours and times."""
    text = re.sub(r"\x1b\[\d*m", "", report.decode("latin-1"))
    return re.sub(r"^\[ *\d+\.\d+\] ", "", text, flags=re.MULTILINE)
