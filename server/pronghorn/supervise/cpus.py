"""How many processors are ours: what `--workers auto` comes to.

A machine tells every container about all of its processors. What a container may use of them is a quota of CPU time, which its
control group has: `cpu.max` in version 2, `cpu.cfs_quota_us` in version 1 (docs.kernel.org, admin-guide/cgroup-v2.rst and
scheduler/sched-bwc.rst). The groups around it may have one too, and the narrowest holds. Affinity, as `taskset` and
cpusets set it, is another limit; the kernel has put both of those together already.

A quota is often no whole number, and is rounded up. With 1.5 processors and one process, half a processor is never used; with two
processes the kernel makes them wait now and then, when both are busy, and nothing is lost. There is no `2 * n + 1` here: that
formula is for processes that wait for their databases, and an event loop does not wait.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def count(workers: int | str) -> int:
    """The number of worker processes that an option's value, a number or "auto", asks for."""
    return workers if isinstance(workers, int) else available()


def available(root: Path = Path("/"), processors: int | None = None) -> int:
    """How many processes can be busy at a time, at least 1.

    `processors` is how many processors this process may run on, by default what the kernel says; the files are looked for below
    `root`. What cannot be read limits nothing.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return max(1, min([_affinity() if processors is None else processors, *map(math.ceil, quotas)]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(root: Path) -> Iterator[Path]:
    """The folders of our control group and of those around it, in every hierarchy that may limit CPU time."""
    paths = dict(_memberships(_read(root / "proc/self/cgroup")))
    for version, top, mounted in _mounts(_read(root / "proc/self/mountinfo")):
        if version not in paths:
            continue
        folder = root / mounted.lstrip("/")
        try:
            # In a container without a namespace of its own for groups, the mount shows a part of the tree: `top` and below.
            inner = PurePosixPath(paths[version]).relative_to(top)
        except ValueError:
            inner = PurePosixPath()
        if ".." in inner.parts:  # outside of the namespace, where there is nothing to be seen
            inner = PurePosixPath()
        yield folder / inner
        yield from (folder / above for above in inner.parents)


def _memberships(text: str) -> Iterator[tuple[int, str]]:
    """Version and path of each group we are in that may limit CPU time: cgroups(7), /proc/pid/cgroup."""
    for line in text.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield 2, path
        elif "cpu" in controllers.split(","):
            yield 1, path


def _mounts(text: str) -> Iterator[tuple[int, str, str]]:
    """Version, topmost group and folder of each hierarchy that is mounted: proc_pid_mountinfo(5)."""
    for line in text.splitlines():
        ours, _, theirs = line.partition(" - ")
        fields, kind = ours.split(), theirs.split()
        if len(fields) < 6 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield 2, fields[3], fields[4]
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield 1, fields[3], fields[4]


def _quota(folder: Path) -> float | None:
    """How many processors' worth of time a group gets, None for any number."""
    words = _read(folder / "cpu.max").split()
    if not words:
        words = [*_read(folder / "cpu.cfs_quota_us").split(), *_read(folder / "cpu.cfs_period_us").split()]
    try:
        quota, period = map(int, words)
    except ValueError:  # "max", or nothing there
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace")
    except OSError:
        return ""
