"""What the command tells about itself: its help and its version. Imported for those who ask."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import textwrap

from pronghorn._version import __version__
from pronghorn.declare import Option
from pronghorn.flags import Command
from pronghorn.headings import GROUPS

# Lines that are longer are hard to read, and of a terminal that is narrower nobody would expect a table.
_WIDEST, _NARROWEST = 98, 50
_INDENT = "  "
# A flag that is longer has its help below, not beside it.
_LONGEST_FLAG = 30


def version() -> str:
    """Server, Python and platform in one line, as Uvicorn has it; and whether the hot modules are compiled (`scripts/compile.py`)."""
    from_python = f"{platform.python_implementation()} {platform.python_version()}"
    compiled = ", compiled" if _compiled() else ""
    return f"Running pronghorn {__version__} with {from_python} on {platform.system()}{compiled}"


def _compiled() -> bool:
    """Whether this is an installation whose hot modules went through mypyc."""
    spec = importlib.util.find_spec("pronghorn.wire.ports")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


def help_of(command: Command) -> str:
    """The help of a command: how it is called, every flag under its heading, and what else there is to know."""
    width = max(min(shutil.get_terminal_size().columns - 2, _WIDEST), _NARROWEST)
    sections: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
    for told in command.options:
        if told.flag:
            sections.setdefault(told.group, []).append((_spelled(told), _meaning(told)))
    own = sections.setdefault("This command", [])
    own += command.switches.items()
    parts = [
        f"Usage: {command.name} [OPTIONS] {command.operand}".rstrip(),
        _paragraph(command.summary, width),
        *(f"{title}:\n{_table(rows, width)}" for title, rows in sections.items() if rows),
        _paragraph(command.epilog, width),
    ]
    return "\n\n".join(parts)


def _spelled(told: Option) -> str:
    return f"{told.flag} / {told.negative}" if told.switch else f"{told.flag} {told.kind.metavar}"


def _meaning(told: Option) -> str:
    text = told.help
    if told.shown_default:
        text += f"  [default: {told.shown_default}]"
    return text


def _paragraph(text: str, width: int) -> str:
    return textwrap.fill(text, width, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _table(rows: list[tuple[str, str]], width: int) -> str:
    """Two columns, the second one wrapped."""
    column = min(max(len(flag) for flag, _ in rows), _LONGEST_FLAG) + 4
    lines = []
    for flag, meaning in rows:
        wrapped = textwrap.wrap(meaning, width - column)
        beside = f"{_INDENT}{flag}".ljust(column) if len(flag) <= column - 4 else ""
        if not beside:
            lines.append(_INDENT + flag)
        for number, line in enumerate(wrapped):
            lines.append((beside if number == 0 and beside else " " * column) + line)
    return "\n".join(lines)
