"""What `scripts/compile.py` compiles: the hot modules, all but those that say why not. That it works, the image shows."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts.compile import CompileHook, matching
from tests.unit.test_architecture import SOURCE, package

ROOT = Path(__file__).resolve().parents[2]
HOOKS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "hooks"
]
TABLE: dict[str, Any] = HOOKS["custom"]
FOLDER = SOURCE.parent


def hook() -> CompileHook:
    nothing: Any = None
    return CompileHook(str(ROOT), TABLE, nothing, nothing, str(ROOT), "wheel")


def test_every_hot_module_is_compiled_or_excepted() -> None:
    hot = {
        f"{'/'.join(module.name.split('.'))}.py"
        for module in package()
        if module.hot and not module.is_package
    }
    chosen = matching(FOLDER, TABLE["modules"])
    assert hot <= chosen
    assert matching(FOLDER, TABLE["except"]) <= chosen | matching(FOLDER, ["pronghorn/*/__init__.py"])


def caught_under_one_name(tree: ast.AST) -> list[str]:
    """Names that one function gives to an exception of ours, and then to one of another type.

    What others have defined is any object to the compiler: `except h11.RemoteProtocolError` may come first.
    """
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        handlers = [node for node in ast.walk(function) if isinstance(node, ast.ExceptHandler)]
        types: dict[str, list[ast.expr]] = {}
        for handler in sorted(handlers, key=lambda handler: handler.lineno):
            if handler.name and handler.type:
                types.setdefault(handler.name, []).append(handler.type)
        found += [
            f"{function.name}: {name}"
            for name, (first, *others) in types.items()
            if isinstance(first, ast.Name) and any(ast.unparse(other) != first.id for other in others)
        ]
    return found


def test_no_name_is_for_exceptions_of_two_types() -> None:
    """A compiled variable has the type that it was given first: the second exception is a TypeError there, and only there."""
    compiled = matching(FOLDER, TABLE["modules"]) - matching(FOLDER, TABLE["except"])
    found = {file: caught_under_one_name(ast.parse((FOLDER / file).read_text())) for file in sorted(compiled)}
    assert {file: names for file, names in found.items() if names} == {}


def test_one_name_for_two_types_is_noticed() -> None:
    text = "def f():\n try: g()\n except A as exc: pass\n except B as exc: pass"
    assert caught_under_one_name(ast.parse(text)) == ["f: exc"]


@pytest.mark.parametrize("key", ["modules", "except"])
def test_no_pattern_is_left_over(key: str) -> None:
    assert [pattern for pattern in TABLE[key] if not matching(FOLDER, [pattern])] == []


@pytest.mark.parametrize(("wanted", "version"), [("", "standard"), ("0", "standard"), ("1", "editable")])
def test_nothing_is_compiled_unasked(monkeypatch: pytest.MonkeyPatch, wanted: str, version: str) -> None:
    monkeypatch.setenv("PRONGHORN_COMPILE", wanted)
    build_data: dict[str, Any] = {"force_include": {}}
    hook().initialize(version, build_data)
    assert build_data == {"force_include": {}}


def test_only_who_compiles_needs_mypyc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRONGHORN_COMPILE", raising=False)
    assert hook().dependencies() == []
    monkeypatch.setenv("PRONGHORN_COMPILE", "1")
    assert hook().dependencies() == TABLE["requires"]
