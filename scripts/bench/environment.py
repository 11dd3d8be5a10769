"""Where it runs: the servers' own virtual environment, the cores, and what a reader of the figures should know of both."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import resource
import subprocess
from pathlib import Path

from scripts.bench.servers import BenchError

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "bench.txt"
PACKAGES = (
    "pronghorn",
    "uvicorn",
    "granian",
    "gunicorn",
    "hypercorn",
    "uvloop",
    "httptools",
    "websockets",
    "wsproto",
    "h2",
    "zttp",
    "fastapi",
)


def prepare() -> Path:
    """The environment of $BENCH_PYTHON or the newest Python, made or renewed when its lock changed; its python.

    Each version has its own, and the checkout is installed into it every time, as a wheel with its hot modules compiled:
    measured is what is in the image.
    """
    wanted = os.environ.get("BENCH_PYTHON", "")
    base = subprocess.check_output(
        [ROOT / "scripts" / "python"], env={**os.environ, "PYTHON": wanted}, text=True
    ).strip()
    version = subprocess.check_output(
        [base, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    )
    folder = ROOT / f".venv-bench-{version.strip()}"
    key = f"{base} {hashlib.sha256(LOCK.read_bytes()).hexdigest()}"
    stamp, python = folder / ".ready", folder / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == key and python.exists()):
        subprocess.run([ROOT / "scripts" / "venv", folder, LOCK, base], check=True)
        stamp.write_text(key)
    _require_compiler(python)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-index"]
    # Whatever its version says, it is the checkout of this moment that is wanted.
    wheel = ["--no-deps", "--no-build-isolation", "--force-reinstall", str(ROOT)]
    subprocess.run([*pip, *wheel], check=True, env={**os.environ, "PRONGHORN_COMPILE": "1"})
    return python


def _require_compiler(python: Path) -> None:
    """What compiles the hot modules. Raises `BenchError` naming what is missing and cannot be installed for whatever Python this is."""
    subprocess.run([ROOT / "scripts" / "ensure", "gcc", "gcc"], check=True)
    code = "import sysconfig; print(sysconfig.get_path('include'))"
    headers = Path(subprocess.check_output([python, "-c", code], text=True).strip(), "Python.h")
    if not headers.exists():
        raise BenchError(
            f"{headers} is missing: install the headers of this Python (on Debian, python3-dev), or name another one, "
            "BENCH_PYTHON=/path/to/python"
        )


def cores() -> tuple[int, int] | None:
    """The core for the server and the one for the generator; None on a machine with one core."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else None


def allow_connections() -> int:
    """As many open files as the machine lets us have, for the servers started from here too; how many those are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def packages(python: Path) -> dict[str, str]:
    """The versions of what is compared, and of what they share."""
    code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    listed = subprocess.check_output([python, "-c", code, *PACKAGES], text=True).split()
    return dict(zip(PACKAGES, listed, strict=True))


def machine(python: Path) -> dict[str, object]:
    """What a reader of the figures needs to know about where they come from."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "commit": commit,
        "python": subprocess.check_output([python, "-V"], text=True).split()[1],
        "kernel": platform.release(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "pinned": cores() is not None,
    }
