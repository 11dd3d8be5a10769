"""`make install-systemd` and `make uninstall-systemd`: as often as one likes, and never over what somebody has changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.stack import ROOT
from tests.systemd.machine import Machine

SETTINGS = "/etc/pronghorn/pronghorn.env"
UNIT = "/usr/local/lib/systemd/system/pronghorn.service"
SANDBOX = "/usr/local/lib/systemd/system/pronghorn@.service.d/20-sandbox.conf"
RECORD = "/usr/local/share/pronghorn/installed.sha256"


class Staged:
    """A folder that stands for /, as for a package."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = ""

    def make(self, target: str, **variables: str) -> None:
        given = [f"{name}={value}" for name, value in {"DESTDIR": str(self.root), **variables}.items()]
        done = subprocess.run(["make", target, *given], cwd=ROOT, capture_output=True, text=True, check=False)
        self.said = done.stdout + done.stderr
        assert done.returncode == 0, self.said

    def path(self, inside: str) -> Path:
        return self.root / inside[1:]

    def files(self) -> dict[str, tuple[int, int, bytes]]:
        """Path to inode, mode and content."""
        return {
            f"/{path.relative_to(self.root)}": (
                path.stat().st_ino,
                path.stat().st_mode & 0o777,
                path.read_bytes(),
            )
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    staged = Staged(tmp_path / "root")
    staged.root.mkdir()
    staged.make("install-systemd")
    return staged


def shipped_earlier(staged: Staged, inside: str, text: str) -> None:
    """Has it that the last version shipped this file with that text."""
    path, record = staged.path(inside), staged.path(RECORD)
    path.write_text(text)
    sum_of = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    lines = [line for line in record.read_text().splitlines() if not line.endswith(f"  {inside}")]
    record.write_text("\n".join([*lines, f"{sum_of}  {inside}"]) + "\n")


def test_a_package_gets_files_and_nothing_else(staged: Staged) -> None:
    files = staged.files()
    assert {UNIT, SANDBOX, SETTINGS, RECORD, "/usr/local/lib/sysusers.d/pronghorn.conf"} <= files.keys()
    assert {mode for path, (_, mode, _) in files.items() if path != SETTINGS} == {0o644}
    assert files[SETTINGS][1] == 0o640
    assert not staged.path("/usr/local/lib/pronghorn").exists(), "the server is the package's own business"


def test_a_second_time_changes_nothing(staged: Staged) -> None:
    before = staged.files()
    staged.make("install-systemd")
    after = staged.files()
    del before[RECORD], after[RECORD]
    assert after == before
    assert "Nothing has changed." in staged.said


@pytest.mark.parametrize(
    ("prefix", "units"), [("/usr", "/usr/lib/systemd/system"), ("/opt/ph", "/etc/systemd/system")]
)
def test_another_prefix(tmp_path: Path, prefix: str, units: str) -> None:
    staged = Staged(tmp_path)
    staged.make("install-systemd", PREFIX=prefix)
    files = staged.files()
    assert (
        f"ExecStart={prefix}/lib/pronghorn/bin/pronghorn\n".encode() in files[f"{units}/pronghorn.service"][2]
    )
    assert f"{prefix}/share/pronghorn/examples/hello/main.py" in files
    assert [path for path, (_, _, content) in files.items() if b"/usr/local/" in content] == []
    staged.make("uninstall-systemd", PREFIX=prefix)
    assert staged.files() == {}


@pytest.mark.parametrize("changed", [SETTINGS, UNIT, SANDBOX])
def test_what_somebody_has_changed_stays_and_the_new_one_is_beside_it(staged: Staged, changed: str) -> None:
    path = staged.path(changed)
    shipped = path.read_text()
    path.write_text("# mine\n")
    staged.make("install-systemd")
    assert path.read_text() == "# mine\n"
    assert path.with_name(f"{path.name}.new").read_text() == shipped
    assert (
        f"{changed} was changed and stays as it is; the new one is beside it: {changed}.new\n" in staged.said
    )
    # Once it is what is shipped there is nothing to compare any more.
    path.write_text(shipped)
    staged.make("install-systemd")
    assert not path.with_name(f"{path.name}.new").exists()


def test_what_nobody_has_changed_is_renewed(staged: Staged) -> None:
    new = staged.path(SETTINGS).read_text()
    shipped_earlier(staged, SETTINGS, "# an earlier version\n")
    staged.make("install-systemd")
    assert staged.path(SETTINGS).read_text() == new
    assert staged.files()[SETTINGS][1] == 0o640
    assert not staged.path(f"{SETTINGS}.new").exists()


def test_what_is_shipped_no_more_goes_unless_it_was_changed(staged: Staged) -> None:
    gone, kept = "/etc/pronghorn/gone.env", "/etc/pronghorn/kept.env"
    shipped_earlier(staged, gone, "# old\n")
    shipped_earlier(staged, kept, "# old\n")
    staged.path(kept).write_text("# mine\n")
    staged.make("install-systemd")
    assert not staged.path(gone).exists()
    assert staged.path(kept).read_text() == "# mine\n"


def test_uninstall_leaves_what_was_changed(staged: Staged) -> None:
    staged.path(SETTINGS).write_text("# mine\n")
    theirs = staged.path("/etc/pronghorn/shop.env")
    theirs.write_text("# for pronghorn@shop\n")
    staged.make("uninstall-systemd")
    assert staged.files().keys() == {SETTINGS, "/etc/pronghorn/shop.env"}
    assert f"{SETTINGS} was changed and stays" in staged.said


def test_what_is_not_there_cannot_be_uninstalled(tmp_path: Path) -> None:
    done = subprocess.run(
        ["scripts/install-systemd", "uninstall"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "DESTDIR": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "error: nothing is installed there" in done.stderr


# Everything but what changes by itself, and the lists of users, in which pronghorn stays.
LISTING = (
    r"find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /src -o -path /var/log -o -path /var/lib/systemd "
    r"-o -path '/etc/*passwd*' -o -path '/etc/*group*' -o -path '/etc/*shadow*' -o -name __pycache__ \) -prune -o -print | sort"
)


def test_a_machine_is_as_it_was_but_for_what_was_changed(machine: Machine) -> None:
    machine.copy_repository()
    before = machine.shell(LISTING).splitlines()
    machine.run("make", "install-systemd", folder="/src")
    assert machine.state("pronghorn.socket") == "inactive dead", "nothing is started"
    assert machine.attempt("systemctl", "is-enabled", "pronghorn.socket").output == "disabled\n", (
        "nor enabled"
    )
    server = machine.run("readlink", "/usr/local/lib/pronghorn")
    machine.run("make", "install-systemd", folder="/src")
    assert machine.run("readlink", "/usr/local/lib/pronghorn") == server
    machine.systemctl("enable", "--now", "pronghorn.socket", "pronghorn.service")
    hello = machine.run("curl", "-sS", "--unix-socket", "/run/pronghorn/pronghorn.sock", "http://localhost/")
    assert "from Pronghorn" in hello, "the example"
    machine.shell(f"echo PRONGHORN_WORKERS=1 >>{SETTINGS}")
    machine.run("make", "uninstall-systemd", folder="/src")
    after = machine.shell(LISTING).splitlines()
    assert [path for path in before if path not in after] == []
    assert [path for path in after if path not in before] == [
        "/etc/pronghorn",
        SETTINGS,
        "/var/cache/pronghorn",
        "/var/lib/pronghorn",
    ]
    assert machine.state("pronghorn.service") == "inactive dead"
    assert machine.run("systemctl", "--no-pager", "--no-legend", "--failed") == ""
