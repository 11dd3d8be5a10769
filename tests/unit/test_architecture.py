"""The arrows of docs/architecture.md, checked: who may import whom, and what keeps the hot modules compilable.

The rules are data. Every module of the package belongs to a unit, which is its folder or, at the top, itself; a unit
that is not in the table fails, so that a new one is placed before it is used. Imports inside functions and under
TYPE_CHECKING count: an arrow is an arrow.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "pronghorn"
SOURCE = Path(__file__).resolve().parents[2] / "server" / PACKAGE

# Anyone may import these; they import nothing of the package.
LEAVES = {"errors", "types", "_version"}

# Unit -> the units it may import, besides itself and the leaves. `config` appears only for those who may see Config.
ALLOWED: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "wire": set(),
    "asgi": {"wire"},
    "net": {"asgi", "wire"},
    # Beside asgi, and injected: nothing below runtime and worker imports them.
    # Of asgi it knows the type of what is observed, which compiled code needs.
    "observe": {"asgi", "wire"},
    "middleware": {"wire"},
    "importer": set(),
    # The options: what a value may be, one declaration each, Config, and where its values come from.
    "kinds": set(),
    "web_kinds": {"kinds"},
    "declare": {"kinds"},
    "headings": {"declare"},
    "agreement": {"declare"},
    "env_file": set(),
    "config": {"agreement", "declare", "env_file", "headings", "kinds", "web_kinds"},
    "sources": {"agreement", "config", "declare", "env_file", "kinds"},
    # The command: its words sorted, and what it tells about itself.
    "flags": {"declare"},
    "usage": {"declare", "flags", "headings"},
    "runtime": {"config", "importer", "net", "asgi", "wire", "observe", "middleware"},
    "worker": {"config", "runtime", "net", "asgi", "wire", "observe", "middleware"},
    "supervise": {"config", "importer", "runtime", "worker", "net", "observe"},
    # Looks at a deployment from outside.
    "doctor": {"observe", "supervise"},
    "cli": {
        *("agreement", "config", "sources", "declare", "kinds", "flags", "usage"),
        *("importer", "runtime", "worker", "supervise", "observe", "doctor"),
    },
    # Gunicorn's worker classes stand where the command stands: above everything, with a process manager of their own.
    "gunicorn_settings": {"config", "sources"},
    "gunicorn_admin": {"config", "sources", "worker", "supervise", "net", "observe"},
    "workers": {"config", "gunicorn_settings", "importer", "runtime", "worker", "supervise", "observe"},
    "__init__": {"cli", "config", "worker"},
    "__main__": {"cli"},
    "main": {"cli", "config", "worker"},
}

# Unit -> the distributions' packages it may import. No entry: the standard library only.
THIRD_PARTY: dict[str, set[str]] = {
    "wire": {"httptools", "h11", "h2", "hpack", "hyperframe", "websockets", "wsproto"},
    "observe": {"pythonjsonlogger", "prometheus_client", "yaml"},
    "runtime": {"uvloop"},
    "worker": {"uvloop"},
    "supervise": {"watchfiles"},
    "gunicorn_settings": {"gunicorn"},
    "workers": {"gunicorn"},
    "middleware": {"a2wsgi"},
    "env_file": {"dotenv"},
}

# Sans-I/O: bytes in, calls out. Whatever would touch the outside or wait for it has no business in wire/.
OUTSIDE = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
}
NOT_IN = {"wire": OUTSIDE, "asgi": OUTSIDE - {"asyncio", "logging"}}

PROTOCOLS = {"BaseProtocol", "BufferedProtocol", "DatagramProtocol", "Protocol", "SubprocessProtocol"}


@dataclass(frozen=True)
class Module:
    """One file of the package: its dotted path inside the package, and what it says."""

    path: tuple[str, ...]
    source: str
    is_package: bool = False

    @property
    def unit(self) -> str:
        return self.path[0] if self.path else "__init__"

    @property
    def name(self) -> str:
        return ".".join((PACKAGE, *self.path))

    @property
    def hot(self) -> bool:
        """Whether this module stays compilable: wire/, asgi/ and net/*_connection.py."""
        return self.unit in {"wire", "asgi"} or (self.unit == "net" and self.path[-1].endswith("_connection"))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and absolute dotted name of everything imported; `from a import b` gives a.b."""
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    around = (PACKAGE, *self.path) if self.is_package else (PACKAGE, *self.path)[:-1]
                    above = around[: len(around) - node.level + 1]
                    base = ".".join((*above, base) if base else above)
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"


def package() -> list[Module]:
    modules = []
    for file in sorted(SOURCE.rglob("*.py")):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        path = parts[:-1] if is_package else parts
        modules.append(Module(path, file.read_text(), is_package))
    return modules


def unit_of(dotted: str, units: set[str]) -> str:
    """The unit that a dotted name of the package lies in; a name of the package itself (`__version__`, ...) is its face's."""
    first = dotted.split(".")[1:2]
    return first[0] if first and first[0] in units else "__init__"


def wrong_arrows(module: Module) -> list[str]:
    units = set(ALLOWED)
    if module.unit not in units:
        return [f"{module.name}: no place in the table of units; docs/architecture.md says where it belongs"]
    allowed = ALLOWED[module.unit] | LEAVES | {module.unit}
    problems = []
    for line, dotted in module.imports():
        top = dotted.split(".")[0]
        where = f"{module.name}:{line}"
        if top == PACKAGE:
            target = unit_of(dotted, units)
            if target not in allowed:
                problems.append(f"{where}: {module.unit} may not import {target} ({dotted})")
        elif top in sys.stdlib_module_names or top == "_typeshed":
            if top in NOT_IN.get(module.unit, ()):
                problems.append(f"{where}: {module.unit} does no I/O and knows nothing of {top}")
        elif top not in THIRD_PARTY.get(module.unit, ()):
            problems.append(f"{where}: {module.unit} may not import the library {top}")
    return problems


def not_compilable(module: Module) -> list[str]:
    """What the hot modules do without: asyncio's base classes, closures, *args."""
    if not module.hot:
        return []
    problems = []
    from_asyncio = {
        dotted.rpartition(".")[2] for _, dotted in module.imports() if dotted.split(".")[0] == "asyncio"
    } & PROTOCOLS
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                text = ast.unparse(base)
                if (
                    text.startswith("asyncio.") and text.rpartition(".")[2] in PROTOCOLS
                ) or text in from_asyncio:
                    problems.append(
                        f"{module.name}:{node.lineno}: {node.name} inherits from asyncio's {text}"
                    )
        elif isinstance(node, functions):
            if node.args.vararg:
                problems.append(f"{module.name}:{node.lineno}: {node.name} takes *{node.args.vararg.arg}")
            problems += [
                f"{module.name}:{inner.lineno}: a closure in {node.name}"
                for inner in ast.walk(node)
                if inner is not node and isinstance(inner, (*functions, ast.Lambda))
            ]
    return problems


@pytest.mark.parametrize("module", package(), ids=lambda module: module.name)
def test_imports_follow_the_arrows(module: Module) -> None:
    assert wrong_arrows(module) == []


@pytest.mark.parametrize("module", [m for m in package() if m.hot], ids=lambda module: module.name)
def test_hot_modules_stay_compilable(module: Module) -> None:
    assert not_compilable(module) == []


def test_the_table_has_no_cycle() -> None:
    placed: list[str] = []
    remaining = dict(ALLOWED)
    while remaining:
        free = [unit for unit, targets in remaining.items() if targets <= set(placed)]
        assert free, f"a cycle among {sorted(remaining)}"
        placed += free
        for unit in free:
            del remaining[unit]


def test_only_the_upper_units_see_config() -> None:
    seeing = {unit for unit, targets in ALLOWED.items() if "config" in targets}
    # `sources` and what Gunicorn is read with fill Config, `__init__` and `main` hand it to the user; nobody else may know it.
    assert seeing - {"sources", "gunicorn_admin", "gunicorn_settings", "__init__", "main"} == {
        *("cli", "runtime", "worker", "supervise", "workers")
    }


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        (("wire", "x"), "from pronghorn.asgi.http import Cycle", "wire may not import asgi"),
        (("wire", "x"), "from ..net import flow", "wire may not import net"),
        (("wire", "x"), "import pronghorn.net.flow", "wire may not import net"),
        (("wire", "x"), "import asyncio", "knows nothing of asyncio"),
        (("wire", "x"), "def f():\n    import click", "may not import the library click"),
        (("net", "x"), "from pronghorn.config import Config", "net may not import config"),
        (("net", "x"), "from pronghorn import Config", "net may not import __init__"),
        (("net", "x"), "from pronghorn.observe.access import AccessLog", "net may not import observe"),
        (("observe", "x"), "from .. import config", "observe may not import config"),
        (("worker", "x"), "from pronghorn.supervise import policy", "worker may not import supervise"),
        (("errors",), "from pronghorn.config import Config", "errors may not import config"),
        (("novel", "x"), "", "no place in the table"),
    ],
)
def test_a_wrong_arrow_is_found(path: tuple[str, ...], source: str, complaint: str) -> None:
    problems = wrong_arrows(Module(path, source))
    assert len(problems) == 1
    assert complaint in problems[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            ("wire", "x"),
            "import re\nimport h11\nfrom .ports import Inbound\nfrom pronghorn.errors import UserError",
        ),
        (("worker", "x"), "from pronghorn.config import Config\nfrom pronghorn.net.sockets import Listener"),
        (("cli",), "import os\nfrom pronghorn import _version\nfrom .config import Config"),
    ],
)
def test_a_right_arrow_is_not(path: tuple[str, ...], source: str) -> None:
    assert wrong_arrows(Module(path, source)) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        (
            ("net", "h1_connection"),
            "import asyncio\nclass C(asyncio.Protocol): ...",
            "inherits from asyncio's",
        ),
        (
            ("net", "h1_connection"),
            "from asyncio import Protocol\nclass C(Protocol): ...",
            "inherits from asyncio's",
        ),
        (("wire", "x"), "def f():\n    return lambda: 1", "a closure in f"),
        (("asgi", "x"), "async def f():\n    async def g(): ...", "a closure in f"),
        (("asgi", "x"), "def f(*things): ...", "takes *things"),
    ],
)
def test_what_cannot_be_compiled_is_found(path: tuple[str, ...], source: str, complaint: str) -> None:
    problems = not_compilable(Module(path, source))
    assert len(problems) == 1
    assert complaint in problems[0]


def test_a_port_of_typing_is_no_protocol_of_asyncio() -> None:
    assert (
        not_compilable(Module(("wire", "ports"), "from typing import Protocol\nclass P(Protocol): ...")) == []
    )
