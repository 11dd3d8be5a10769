"""curl as the tests run it, and what it makes of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.conformance.h2_clients.kit import Origin, ensured, run

Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """`informational` has the heads with 1xx, by status; `trailers` is what came behind the body."""

    version: str
    status: int
    fields: dict[str, str]
    body: bytes
    informational: list[tuple[int, Fields]]
    trailers: Fields


class Curl:
    """Asks one server, in one way."""

    def __init__(self, origin: Origin, folder: Path, *way: str) -> None:
        self._origin, self._folder = origin, folder
        self._way = way or (("--http2",) if origin.tls else ("--http2-prior-knowledge",))
        self._command = ensured("curl", "curl")

    def __call__(self, path: str, *options: str, data: bytes = b"") -> Answer:
        dump = self._folder / "heads"
        printed = self.plain(
            "--dump-header",
            str(dump),
            "--write-out",
            "\n%{http_version}",
            *options,
            self.url(path),
            data=data,
        )
        heads = [
            _parse(head) for head in dump.read_bytes().decode("latin-1").split("\r\n\r\n") if head.strip()
        ]
        # curl writes trailers down like a head without a first line.
        final = next(index for index, (status, _) in enumerate(heads) if status >= 200)
        status, fields = heads[final]
        trailers = [field for _, more in heads[final + 1 :] for field in more]
        content, _, version = printed.rpartition(b"\n")
        return Answer(version.decode(), status, dict(fields), content, heads[:final], trailers)

    def url(self, path: str) -> str:
        return f"{self._origin.url}{path}"

    def plain(self, *words: str, data: bytes = b"") -> bytes:
        """What it prints."""
        trusting = ["--cacert", str(self._origin.folder / "ca.pem")] if self._origin.tls else []
        return run(self._command, "--silent", "--show-error", *self._way, *trusting, *words, data=data)


def _parse(head: str) -> tuple[int, Fields]:
    lines = [line for line in head.split("\r\n") if line]
    status = int(lines.pop(0).split(" ")[1]) if lines[0].startswith("HTTP/") else 0
    pairs = (line.split(":", 1) for line in lines)
    return status, [(name.lower(), value.strip()) for name, value in pairs]
