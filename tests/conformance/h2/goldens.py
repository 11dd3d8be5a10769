"""Golden connections: golden/*.toml has all that a client sends, frame by frame in hex, why, and what has to come of it.

`error` names the code of the GOAWAY that ends the connection; each of `streams` has a status and a body, or the code that it is
`reset` with. However the bytes are cut into reads, the outcome is the same.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.h2_frames import Code
from tests.support.h2_reader import Reader, Stream

FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Golden:
    """One file."""

    name: str
    why: str
    sent: tuple[bytes, ...]
    error: str
    streams: Mapping[int, Mapping[str, Any]]

    @property
    def raw(self) -> bytes:
        return b"".join(self.sent)

    def settled(self, reader: Reader) -> bool:
        """Whether all has come that has to."""
        return bool(reader.error) or (
            not self.error and all(reader.stream(number).over for number in self.streams)
        )

    def check(self, reader: Reader) -> None:
        """Raises AssertionError if it came out differently."""
        assert Code(reader.error).name == (self.error or "NO_ERROR"), reader.goaways
        for number, wanted in self.streams.items():
            assert outcome(reader.stream(number)) == wanted, number


def outcome(stream: Stream) -> dict[str, Any]:
    """As a file has it."""
    if not stream.ended:
        return {"reset": None if stream.code is None else Code(stream.code).name}
    return {"status": stream.status, "body": stream.body.decode()}


def load(path: Path) -> Golden:
    found = tomllib.loads(path.read_text("utf-8"))
    streams = {int(number): wanted for number, wanted in found.get("streams", {}).items()}
    sent = tuple(bytes.fromhex(frame) for frame in found["sent"])
    return Golden(path.stem, found["why"], sent, found.get("error", ""), streams)


ALL = [load(path) for path in sorted(FOLDER.glob("*.toml"))]
