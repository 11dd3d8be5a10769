"""Where the kernel does not tell about changes, because another machine makes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

#: File systems of another machine, or of the one that this is a guest of.
REMOTE = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.glusterfs", "fuse.sshfs"),
        *("9p", "drvfs", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "fuse.vmhgfs-fuse"),
    }
)


def remote(paths: Iterable[str]) -> str | None:
    """The first of these paths that lies on a file system of another machine, and its kind: "/app (nfs4)"."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return None
    kinds = ((path, kind_of(path, table)) for path in paths)
    return next((f"{path} ({kind})" for path, kind in kinds if kind in REMOTE), None)


def kind_of(path: str, table: str) -> str:
    """What kind of file system `path`, which is absolute and real, lies on; `table` as in proc_pid_mountinfo(5)."""
    found, kind = "", ""
    for line in table.splitlines():
        mount, _, source = line.partition(" - ")
        if not source:
            continue
        # A space in the mount point is written \040.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mount.split(" ")[4]).rstrip("/")
        # Of several mounts on one point the last one hides the others.
        if len(point) >= len(found) and (path == point or path.startswith(point + "/")):
            found, kind = point, source.split(" ")[0]
    return kind
