"""Patterns of paths, part by part: `*.py`, `templates/*.html`, `assets/**/*.css`, `/etc/app/*.toml`.

A pattern that does not begin with a slash may begin at any part of the path, as with Uvicorn (`pathlib.PurePath.match`): `*.py`
is about names, `tests/*` about what lies in any folder of that name. `*`, `?` and `[...]` stay within one part, and `**` as a
whole part is any number of parts, also none; at the end, at least one. Capitals count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

#: Any number of parts.
ANY = "**"


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern: its parts, and whether the first one has to be the first of the path."""

    parts: tuple[str, ...]
    anchored: bool = False

    @classmethod
    def of(cls, text: str) -> Glob:
        """The pattern that `text` is; slashes too many and `.` say nothing."""
        return cls(tuple(part for part in text.split("/") if part not in {"", "."}), text.startswith("/"))

    def fit(self, parts: Sequence[str]) -> list[str] | None:
        """For each part of a path the part of this pattern that stands for it; None where they do not match."""
        if not self.parts:
            return None
        if self.anchored or ANY in self.parts:
            return _fit(self.parts if self.anchored else (ANY, *self.parts), parts)
        # Most patterns are about the end of the path, and this is asked of thousands.
        free = len(parts) - len(self.parts)
        if free < 0 or not all(map(fnmatchcase, parts[free:], self.parts)):
            return None
        return [ANY] * free + list(self.parts)


def literal(part: str) -> bool:
    """Whether a part of a pattern, or a whole one, stands for itself alone."""
    return not any(wild in part for wild in "*?[")


def stem(part: str) -> str:
    """What a part of a pattern begins with, up to its first wildcard."""
    return part[: next((at for at, char in enumerate(part) if char in "*?["), len(part))]


def _fit(pattern: Sequence[str], parts: Sequence[str]) -> list[str] | None:
    if not pattern:
        return None if parts else []
    head, tail = pattern[0], pattern[1:]
    if head == ANY:
        for taken in range(0 if tail else 1, len(parts) + 1):
            rest = _fit(tail, parts[taken:])
            if rest is not None:
                return [ANY] * taken + rest
    elif parts and fnmatchcase(parts[0], head):
        rest = _fit(tail, parts[1:])
        if rest is not None:
            return [head, *rest]
    return None
