"""The commands of README.md, as the tests that run them read them.

Each block of shell commands has a line `<!-- run: KIND -->` just above it. The kind says which test runs it; a block
without one, or with a kind that no test knows, fails `tests/unit/test_readme.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"

# Kind -> where its commands are run.
KINDS = {
    "once": "tests/unit/test_readme.py",  # ends by itself
    "serve": "tests/unit/test_readme.py",  # each line starts a server
    "install": "tests/unit/test_readme.py",  # into an environment of the test's own
    "stack": "tests/integration/test_readme.py",  # in order, with a project name and a port of the test's own
    "systemd": "tests/systemd/test_install.py",  # on a machine with a real systemd
    "load": "tests/integration/test_loadtest.py",
    "ci": ".ci/run",  # the tests cannot run themselves
}


@dataclass(frozen=True)
class Block:
    """A block of shell commands: its kind (None where the line above it is missing) and its lines."""

    kind: str | None
    commands: tuple[str, ...]


def blocks(text: str | None = None) -> list[Block]:
    """Every shell block, in order."""
    matches = re.finditer(
        r"(?:^<!-- run: (?P<kind>\S+) -->\n)?^```(?:sh|bash|shell|console)\n(?P<body>.*?)^```$",
        README.read_text() if text is None else text,
        re.MULTILINE | re.DOTALL,
    )
    return [Block(m["kind"], tuple(line for line in m["body"].splitlines() if line.strip())) for m in matches]


def commands(kind: str) -> list[str]:
    """Every command of a kind, in order."""
    return [command for block in blocks() if block.kind == kind for command in block.commands]


def python_blocks() -> list[str]:
    """What the page shows in Python: an application with FastAPI, settings of Django, and the application that it then serves."""
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def python_block() -> str:
    """The application that the page serves."""
    return python_blocks()[-1]
