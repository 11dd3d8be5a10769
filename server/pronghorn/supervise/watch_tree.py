"""The wanted files as they are on the disk, to be compared with what they were.

A file has changed when its device, inode, size or time of change differs, so one that was replaced by another counts, also when
that brought its time along. Symbolic links are followed: a file behind one has changed when the file has, and a folder behind
one is looked through, each folder once. A folder that holds `pyvenv.cfg` is a virtual environment, whose files are not ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

from .watch_filter import Selection

_Stamp = tuple[int, int, int, int]
_ENVIRONMENT = "pyvenv.cfg"


class Tree:
    """What the wanted files of a selection were when they were last looked at; at first it knows of none."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._files: dict[str, _Stamp] = {}
        # Those that were looked through, to tell one that has gone from any other name.
        self._folders: set[str] = set()
        # Most files are told by their name alone, and a look meets every one of them.
        last = (include.parts[-1] for include in selection.includes if include.parts)
        self._named = re.compile("|".join(map(translate, last))).match
        self._enters = lru_cache(maxsize=None)(selection.enters)

    def refresh(self) -> set[str]:
        """Look at all of them; returns those that have come, changed or gone since."""
        self._folders.clear()
        before, self._files = self._files, self._read(self._selection.roots)
        after = self._files
        if after == before:
            return set()
        return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}

    def heed(self, path: str) -> set[str]:
        """Look at one path that something is said to have happened to; returns the files that this concerns.

        A folder stands for what has changed in it, since its files may have come before anybody could be told about them, and
        one that has gone for all that was in it.
        """
        if not self._enters(os.path.dirname(path)):  # noqa: PTH120  # as in all of this module: strings are cheap
            return set()
        if os.path.isdir(path):  # noqa: PTH112
            if not self._enters(path) or self._foreign(path):
                return set()
            found = self._read([path])
            changed = {file for file, stamp in found.items() if self._files.get(file) != stamp}
            self._files |= found
            return changed
        if path in self._files or self._selection.wanted(path):
            if self._foreign(path):
                return set()
            try:
                self._files[path] = _stamp(path)
            except OSError:
                self._files.pop(path, None)
            return {path}
        if path not in self._folders:
            return set()
        below = path + "/"
        gone = {file for file in self._files if file.startswith(below)}
        for file in gone:
            del self._files[file]
        self._folders.discard(path)
        return gone

    def _foreign(self, path: str) -> bool:
        """Whether a path is, or lies in, a virtual environment below its watched folder."""
        root = self._selection.root_of(path)
        while root is not None and len(path) > len(root):
            if os.path.exists(f"{path}/{_ENVIRONMENT}"):  # noqa: PTH110
                return True
            path = os.path.dirname(path)  # noqa: PTH120
        return False

    def _read(self, tops: Iterable[str]) -> dict[str, _Stamp]:
        selection, known, named = self._selection, self._files, self._named
        found: dict[str, _Stamp] = {}
        seen: set[tuple[int, int]] = set()
        # Folders behind links come last: one that can be reached without is known by that path.
        folders, links = sorted(tops, reverse=True), list[str]()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            try:
                status = os.stat(folder)  # noqa: PTH116
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as listing:
                    entries = list(listing)
            except OSError:  # gone meanwhile, or closed to us
                continue
            if folder not in selection.roots and any(entry.name == _ENVIRONMENT for entry in entries):
                continue
            self._folders.add(folder)
            for entry in entries:
                path = entry.path
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a link that leads in a circle
                    is_folder = False
                if is_folder:
                    if self._enters(path):
                        (links if entry.is_symlink() else folders).append(path)
                elif path in known or (named(entry.name) and selection.wanted(path)):
                    try:
                        found[path] = _stamp(path)
                    except OSError:
                        continue
            links.sort()
        return found


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:  # or a link that leads nowhere, which may be led elsewhere
        status = os.lstat(path)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
