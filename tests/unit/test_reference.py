"""The reference is what the declarations say, and every way to fail has its exit code there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pronghorn.config import OPTIONS
from pronghorn.errors import StartupError, UsageError


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(repository / "scripts" / "reference"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_page_of_options_is_current(repository: Path) -> None:
    done = run(repository, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_notices_a_page_that_is_not(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (copy / "scripts").mkdir(parents=True)
    (copy / "scripts" / "reference").write_bytes((repository / "scripts" / "reference").read_bytes())
    (copy / "scripts" / "timeouts.py").symlink_to(repository / "scripts" / "timeouts.py")
    for shipped in repository.iterdir():
        if shipped.name not in {"docs", "scripts"}:
            (copy / shipped.name).symlink_to(shipped)
    assert run(copy, "--check").returncode == 1
    assert run(copy).returncode == 0
    page = copy / "docs" / "reference" / "options.md"
    assert page.read_text() == (repository / "docs" / "reference" / "options.md").read_text()
    assert run(copy, "--check").returncode == 0
    page.write_text(page.read_text().replace("8000", "8001"))
    assert run(copy, "--check").returncode == 1
    assert run(copy, "--chekc").returncode == 2


def test_every_option_has_its_row(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "options.md").read_text()
    for name, told in OPTIONS.items():
        (row,) = [line for line in page.splitlines() if f"| `{name}` |" in line]
        assert f"`{told.flag or 'APP'}" in row
        assert f"`PRONGHORN_{name.upper()}`" in row
        assert len(row.replace("\\|", "").split("|")) == 8


def test_exit_codes_are_documented(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "exit-codes.md").read_text()
    for code in (0, 143, UsageError.exit_code, StartupError.exit_code):
        assert f"\n| {code} |" in page
