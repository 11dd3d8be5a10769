"""Which file systems are another machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pronghorn.supervise import watch_mounts
from pronghorn.supervise.watch_mounts import kind_of, remote

# As in proc_pid_mountinfo(5): fields before the dash vary in number, and spaces are written in octal.
TABLE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:41 / /srv/app rw,nosuid - nfs4 server:/export rw,vers=4.2
31 30 0:42 / /srv/app/local rw master:2 propagate_from:1 - xfs /dev/sdb rw
32 22 0:43 / /mnt/two\040words rw - 9p C:\134 rw
33 22 0:44 / /twice rw - ext4 /dev/sdc rw
34 33 0:45 / /twice rw - fuse.sshfs user@host: rw
35 22 0:46 / /proc rw
nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/u", "ext4"),
        ("/srv/app", "nfs4"),
        ("/srv/app/src", "nfs4"),
        ("/srv/application", "ext4"),
        ("/srv/app/local/src", "xfs"),
        ("/mnt/two words/src", "9p"),
        ("/twice/x", "fuse.sshfs"),
        ("/proc/self", "ext4"),
    ],
)
def test_the_kind_of_file_system_of_a_path(path: str, kind: str) -> None:
    assert kind_of(path, TABLE) == kind


def test_no_table_no_kind() -> None:
    assert kind_of("/", "") == ""


def test_the_first_folder_of_another_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *arguments, **options: TABLE)
    assert remote(["/home/u", "/srv/app/local"]) is None
    assert remote(["/home/u", "/srv/app/src", "/twice"]) == "/srv/app/src (nfs4)"


def test_without_a_table_every_file_system_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert remote(["/srv/app"]) is None


def test_this_machine_has_a_root() -> None:
    table = Path("/proc/self/mountinfo")
    if not table.exists():
        pytest.skip("not Linux")
    assert kind_of("/", table.read_text(errors="surrogateescape"))
    assert "" not in watch_mounts.REMOTE
