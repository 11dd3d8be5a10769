"""A machine with a real systemd: a privileged container whose PID 1 it is, Debian bookworm.

Its processes are processes of this machine, so a socket in it is reached from here by way of /proc/PID/root, and a load that a test
makes runs outside of what it loads.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.stack import ROOT, docker, new_name
from tests.support.waiting import until

#: Of a command on the machine, in seconds; a `systemctl` that waits for longer waits for ever.
PATIENCE = 300

#: What systemd needs of an engine. On cgroup v1 it has to see the tree that it is in; on v2 a namespace of its own would do as well.
_RUN = [
    "--privileged",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--hostname=machine",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp",
    "--label=org.pronghorn.test=systemd",
]


def image() -> str:
    """The name of the machine's image, which is made first if it is not there; a minute or more, told on stderr."""
    done = subprocess.run(
        [ROOT / "scripts/systemd-machine", "image"], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip()


@dataclass(frozen=True)
class Done:
    """What became of a command: its exit code, and both of its streams."""

    code: int
    output: str
    errors: str


class Machine:
    """One that has booted. Commands run as root unless another user is named."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: systemd's process id on this machine, the outer one.
        self.pid = int(docker("inspect", "--format", "{{.State.Pid}}", name))
        self._mark: list[str] = []

    # ---- Commands ----

    def attempt(self, *command: str, user: str = "root", folder: str = "/") -> Done:
        """A command that may fail."""
        full = ["docker", "exec", f"--user={user}", f"--workdir={folder}", self.name, *command]
        done = subprocess.run(full, capture_output=True, text=True, check=False, timeout=PATIENCE)
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *command: str, user: str = "root", folder: str = "/") -> str:
        """What it prints; its failure is the test's."""
        done = self.attempt(*command, user=user, folder=folder)
        assert done.code == 0, f"{shlex.join(command)}: exit code {done.code}\n{done.output}{done.errors}"
        return done.output

    def shell(self, script: str) -> str:
        """What a script prints, of which every line has to succeed."""
        return self.run("bash", "-euo", "pipefail", "-c", script)

    # ---- Files ----

    def path(self, inside: str) -> Path:
        """Where a file of the machine is on this one."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """A file, and the folders it is in."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def read(self, inside: str) -> str:
        return self.path(inside).read_text()

    def copy_repository(self, to: str = "/src") -> None:
        """What git has or would take, as it is in the working tree."""
        listing = subprocess.run(
            ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        present = b"\0".join(
            name for name in listing.split(b"\0") if name and (ROOT / name.decode()).exists()
        )
        packed = subprocess.run(
            ["tar", "--create", "--null", "--no-recursion", "--files-from=-"],
            cwd=ROOT,
            input=present,
            capture_output=True,
            check=True,
        ).stdout
        self.path(to).mkdir(parents=True, exist_ok=True)
        unpack = [
            "docker",
            "exec",
            "--interactive",
            self.name,
            "tar",
            "--extract",
            "--no-same-owner",
            f"--directory={to}",
        ]
        subprocess.run(unpack, input=packed, check=True)

    # ---- systemd ----

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", "--no-pager", *arguments)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def state(self, unit: str) -> str:
        """`active`, `failed` and so on, and what it is in detail: `active running`."""
        return f"{self.show(unit, 'ActiveState')} {self.show(unit, 'SubState')}"

    def reaches(self, unit: str, state: str, seconds: float = 60) -> None:
        """Waits until a unit's `state` is this one."""
        until(lambda: self.state(unit) == state, f"{unit} is {state}, not {self.state(unit)}", seconds)

    def journal(self, *arguments: str) -> list[dict[str, str]]:
        """Records with their fields, oldest first; `arguments` are journalctl's."""
        text = self.run("journalctl", "--no-pager", "--output=json", "--all", *arguments)
        return [json.loads(line) for line in text.splitlines()]

    def mark(self) -> None:
        """From now on `messages` are those that come after this."""
        shown = self.run("journalctl", "--no-pager", "--lines=0", "--show-cursor")
        self._mark = [f"--after-cursor={shown.partition('cursor: ')[2].strip()}"]

    def messages(self, unit: str) -> list[str]:
        """What a unit has said, and what systemd has said of it."""
        return [str(record["MESSAGE"]) for record in self.journal(f"--unit={unit}", *self._mark)]


@contextmanager
def booted(machine_image: str, network: str = "none") -> Iterator[Machine]:
    """A machine that has booted, until the block is left; `network` is docker's, by default there is the loopback alone."""
    name = new_name()
    docker("run", "--detach", f"--name={name}", f"--network={network}", *_RUN, machine_image)
    try:
        machine = Machine(name)
        until(
            lambda: machine.attempt("systemctl", "is-system-running").output.strip() == "running",
            "it boots",
            180,
        )
        yield machine
    finally:
        docker("rm", "--force", "--volumes", name)
