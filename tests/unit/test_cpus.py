"""How many workers `auto` is, from made-up trees of the kernel's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pronghorn.supervise import cpus

V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
OTHER = "20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n29 23 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(quotas: dict[str, str], group: str = "/", top: str = "/") -> dict[str, str]:
    """A version 2 hierarchy: `quotas` are cpu.max of folders, the empty name for the topmost."""
    files = {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": OTHER + V2.format(top=top)}
    folder = "sys/fs/cgroup/"
    return files | {f"{folder}{name}/cpu.max": text for name, text in quotas.items()}


def v1(quotas: dict[str, tuple[int, int]], group: str = "/", top: str = "/") -> dict[str, str]:
    """A version 1 hierarchy: quota and period of folders, named as above."""
    files = {
        "proc/self/cgroup": f"12:memory:/elsewhere\n4:cpu,cpuacct:{group}\n1:name=systemd:/x\n",
        "proc/self/mountinfo": OTHER + V1.format(top=top),
    }
    for name, (quota, period) in quotas.items():
        folder = f"sys/fs/cgroup/cpu,cpuacct/{name}"
        files |= {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}
    return files


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        (v2({"": "max 100000\n"}), 8),
        (v2({"": "200000 100000\n"}), 2),
        (v2({"": "50000 100000\n"}), 1),
        (v2({"": "150000 100000\n"}), 2),
        (v2({"": "1600000 100000\n"}), 8),
        (v2({"": "25000 10000\n"}), 3),
        # The process's own group, and those around it: the narrowest holds.
        (v2({"app.slice": "max 100000\n", "app.slice/web.service": "300000 100000\n"}, "/app.slice/web.service"), 3),
        (v2({"app.slice": "200000 100000\n", "app.slice/web.service": "max 100000\n"}, "/app.slice/web.service"), 2),
        (v2({"app.slice": "400000 100000\n", "app.slice/web.service": "500000 100000\n"}, "/app.slice/web.service"), 4),
        (v2({"other.slice": "100000 100000\n"}, "/app.slice/web.service"), 8),
        # In a container whose groups have no namespace: the mount shows our group at its top.
        (v2({"": "200000 100000\n"}, "/docker/abc", "/docker/abc"), 2),
        (v2({"": "max 100000\n", "inner": "300000 100000\n"}, "/docker/abc/inner", "/docker/abc"), 3),
        (v2({"": "200000 100000\n"}, "/docker/abc", "/elsewhere"), 2),
        (v2({"": "200000 100000\n"}, "/../sibling"), 2),
        # What cannot be read limits nothing.
        (v2({"": ""}), 8),
        (v2({"": "many few\n"}), 8),
        (v2({"": "100000\n"}), 8),
        (v2({"": "100000 0\n"}), 8),
        ({"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": "30 23\n - \n\n"}, 8),
        (v1({"": (-1, 100_000)}), 8),
        (v1({"": (200_000, 100_000)}), 2),
        (v1({"kubepods": (450_000, 100_000), "kubepods/pod1": (-1, 100_000)}, "/kubepods/pod1"), 5),
        (v1({"": (50_000, 50_000)}, "/docker/abc", "/docker/abc"), 1),
        # Both at once, as systemd had it for years: version 2 without controllers.
        (
            {
                **v1({"": (300_000, 100_000)}),
                "proc/self/cgroup": "4:cpu:/\n0::/user.slice\n",
                "proc/self/mountinfo": V1.format(top="/") + V2.format(top="/"),
            },
            3,
        ),
    ],
)  # fmt: skip
def test_quotas(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert cpus.available(tree(tmp_path, files), 8) == expected


def test_it_is_one_at_least(tmp_path: Path) -> None:
    assert cpus.available(tree(tmp_path, v2({"": "1000 100000\n"})), 8) == 1
    assert cpus.available(tmp_path, 0) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux has affinity")
def test_affinity_counts(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpus.available(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cpus.available(tmp_path) == len(allowed)


def test_a_number_is_that_many_and_auto_is_what_this_machine_gives() -> None:
    assert cpus.count(3) == 3
    assert 1 <= cpus.count("auto") == cpus.available() <= (os.cpu_count() or 1)
