"""Which files count for `--reload`: pure, once the folders have been looked up.

A file counts if it lies in a watched folder, fits one of the includes, and nothing on the way to it from the watched folder is
excluded: neither a folder that was named, nor a folder or file that fits one of the excludes. What is above the watched folder
is nobody's business: a project below `~/.local` is watched like any other.

What an include spells out is not excluded by a pattern, since whoever wrote `--reload-include .env` meant it. To spell out is
to name without wildcards; against an exclude of ours it is enough to begin as that does (`.env*` and our `.*`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from pronghorn.errors import UsageError

from .watch_globs import ANY, Glob, literal, stem

#: What is included in any case, unless it is excluded.
INCLUDES = ("*.py",)
#: Uvicorn's four, of which the second and third miss what they mean; that; and folders of code that is not the application's.
EXCLUDES = (
    *(".*", ".py[cod]", ".sw.*", "~*"),
    *("*.py[cod]", "*.sw?", "*~"),
    *("__pycache__", "node_modules", "site-packages"),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The watched folders, which are absolute, and what counts in them. Paths to ask about are absolute and have no `..`."""

    roots: tuple[str, ...]
    includes: tuple[Glob, ...]
    excludes: tuple[Glob, ...] = ()
    #: Folders whose content never counts.
    closed: tuple[str, ...] = ()
    #: What relative patterns are relative to in folders below it; in others, to the watched folder.
    here: str = "/"

    def wanted(self, path: str | os.PathLike[str]) -> bool:
        """Whether a change of this file counts, be it there or gone."""
        path = os.fspath(path)
        root = self.root_of(path)
        if root is None or any(_within(path, folder) for folder in self.closed):
            return False
        parts, first = self._parts(path, root)
        whole = path.split("/")[1:]
        for include in self.includes:
            fitted = include.fit(whole if include.anchored else parts)
            if fitted is not None and self._open(whole, parts, first, fitted[-len(parts) :]):
                return True
        return False

    def enters(self, folder: str | os.PathLike[str]) -> bool:
        """Whether anything in this folder can be wanted: what is below the others need not be looked at."""
        folder = os.fspath(folder)
        if folder in self.roots:
            return True
        root = self.root_of(folder)
        if root is None or any(_within(folder, closed) for closed in self.closed):
            return False
        parts, first = self._parts(folder, root)
        # Each part as the include that may lead through it spells it; which one is known only when the file is.
        through = [part for include in self.includes for part in include.parts[:-1] if part != ANY]
        return all(
            any(
                self._open_at(folder.split("/")[1:], parts, at, part)
                for part in ["", *(part for part in through if fnmatchcase(parts[at], part))]
            )
            for at in range(first, len(parts))
        )

    def root_of(self, path: str) -> str | None:
        """The watched folder that a path is in, the innermost of several."""
        return max(
            (root for root in self.roots if path != root and _within(path, root)), key=len, default=None
        )

    def _parts(self, path: str, root: str) -> tuple[list[str], int]:
        """A path as relative patterns see it, and which of its parts is the first below the watched folder."""
        base = self.here if _within(root, self.here) else root
        return _split(path, base), len(_split(root, base))

    def _open(self, whole: list[str], parts: list[str], first: int, fitted: Sequence[str]) -> bool:
        return all(self._open_at(whole, parts, at, fitted[at]) for at in range(first, len(parts)))

    def _open_at(self, whole: list[str], parts: list[str], at: int, spelled: str) -> bool:
        """Whether no exclude stops us at this part of the path, which an include spells like that."""
        if spelled and literal(spelled):
            return True
        name, upto = parts[at], parts[: at + 1]
        if _ours(name, spelled):
            return False
        above = whole[: len(whole) - len(parts) + at + 1]
        return not any(
            exclude.fit(above if exclude.anchored else upto) is not None for exclude in self.excludes
        )


def select(
    folders: Iterable[str],
    includes: Iterable[str] = (),
    excludes: Iterable[str] = (),
    *,
    app_dir: str | None = None,
    here: str | None = None,
) -> Selection:
    """What `--reload-dir`, `--reload-include` and `--reload-exclude` say, seen from the current folder.

    A folder that is named by an include is watched, one that is named by an exclude is left out. Without any folder, the current
    one is watched. The folder of `--app-dir` always is.

    Raises UsageError for a folder that does not exist, and where the excludes leave none.
    """
    here = os.path.realpath(here or os.getcwd())  # noqa: PTH109  # strings throughout: the polling has thousands of them
    roots = [_folder(folder, here, "--reload-dir") for folder in folders]
    patterns = []
    for text in filter(None, includes):
        if literal(text) and os.path.isdir(os.path.join(here, text)):  # noqa: PTH112, PTH118
            roots.append(_folder(text, here, "--reload-include"))
        else:
            patterns.append(text)
    roots = roots or [here]
    if app_dir is not None:
        roots.append(_folder(app_dir, here, "--app-dir"))
    closed: list[str] = []
    barred = []
    for text in filter(None, excludes):
        path = os.path.join(here, text)  # noqa: PTH118
        if literal(text) and os.path.isdir(path):  # noqa: PTH112
            closed += _names(path)
        else:
            barred.append(text)
    left = [root for root in dict.fromkeys(roots) if not any(_within(root, folder) for folder in closed)]
    if not left:
        raise UsageError("leaves no folder to watch", option="--reload-exclude")
    return Selection(
        roots=tuple(left),
        includes=tuple(Glob.of(_absolute(text, here)) for text in dict.fromkeys((*INCLUDES, *patterns))),
        excludes=tuple(Glob.of(_absolute(text, here)) for text in dict.fromkeys(barred)),
        closed=tuple(dict.fromkeys(closed)),
        here=here,
    )


def _folder(text: str, here: str, option: str) -> str:
    path = os.path.join(here, text)  # noqa: PTH118
    if not os.path.isdir(path):  # noqa: PTH112
        there = os.path.lexists(path)
        raise UsageError(f"{text!r} is not a folder" if there else f"no such folder: {text!r}", option=option)
    return os.path.realpath(path)


def _names(path: str) -> list[str]:
    """A folder that may be, or be behind, a symbolic link: as it is reached, and where it is."""
    path = os.path.normpath(path)
    parent, name = os.path.split(path)
    return [path, os.path.join(os.path.realpath(parent), name), os.path.realpath(path)]  # noqa: PTH118


def _absolute(text: str, here: str) -> str:
    """A pattern that climbs (`../shared/*.html`) as an absolute one, others as they are."""
    return os.path.normpath(os.path.join(here, text)) if ".." in text.split("/") else text  # noqa: PTH118


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith("/") else folder + "/")


def _split(path: str, base: str) -> list[str]:
    return [part for part in path[len(base) :].split("/") if part]


@lru_cache(maxsize=4096)
def _ours(name: str, spelled: str) -> bool:
    """Whether one of our own excludes is about this part of a path, and not what the include that spells it so is about."""
    return any(
        fnmatchcase(name, exclude)
        and spelled != exclude
        and not (stem(exclude) and spelled.startswith(stem(exclude)))
        for exclude in EXCLUDES
    )
