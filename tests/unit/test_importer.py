"""Finding the application, and a sentence of its own for each way that can fail."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pronghorn.errors import StartupError, UsageError, UserError
from pronghorn.importer import import_app, import_string, interface_of

_serial = itertools.count()

APP = "async def app(scope, receive, send): pass\n"


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test puts on the path, or imports from there, is gone after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], str]:
    """Write a module in tmp_path and return its name, another one each time."""

    def write(source: str) -> str:
        name = f"application_{next(_serial)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def fails(app: Any, folder: Path, *, factory: bool = False) -> UserError:
    with pytest.raises(UserError) as caught:
        import_app(app, factory=factory, app_dir=str(folder))
    assert str(caught.value).isprintable()
    return caught.value


def test_a_function_in_a_module(module: Callable[[str], str], tmp_path: Path) -> None:
    name = module(APP)
    found = import_app(f"{name}:app", app_dir=str(tmp_path))
    assert found is sys.modules[name].app


def test_a_dotted_attribute_in_a_package(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "web.py").write_text(
        f"class site:\n    class inner:\n        {APP.replace('async', '@staticmethod' + chr(10) + '        async', 1)}"
    )
    assert callable(import_app("shop.web:site.inner.app", app_dir=str(tmp_path)))


def test_the_application_itself_is_returned_untouched() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Not called."""

    assert import_app(app) is app


def test_the_folder_comes_first_on_the_path_and_only_once(
    module: Callable[[str], str], tmp_path: Path
) -> None:
    name = module(APP)
    for _ in range(2):
        import_app(f"{name}:app", app_dir=str(tmp_path))
    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize("name", ["main", "main.py", ""])
def test_no_colon_is_a_usage_error(name: str, tmp_path: Path) -> None:
    error = fails(name, tmp_path)
    assert isinstance(error, UsageError)
    assert str(error) == f"APP: {name!r} has no colon. Write module:attribute, such as main:app"


@pytest.mark.parametrize(
    "name", [":app", "main:", "main:app:x", "a/b:app", "main:app()", ".main:app", "main:app."]
)
def test_what_is_no_module_and_attribute_is_a_usage_error(name: str, tmp_path: Path) -> None:
    error = fails(name, tmp_path)
    assert isinstance(error, UsageError)
    assert (
        str(error)
        == f"APP: {name!r} is not a module and an attribute. Write module:attribute, such as main:app"
    )


def test_no_such_module(tmp_path: Path) -> None:
    error = fails("zzqqx:app", tmp_path)
    assert isinstance(error, StartupError)
    assert str(error) == f"APP: no module named 'zzqqx'. Looked in {str(tmp_path)!r} and on Python's path"
    assert not error.show_cause


def test_no_such_module_but_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    assert str(fails("mian:app", tmp_path)) == "APP: no module named 'mian'. Did you mean main?"


def test_no_such_module_in_a_package(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "server.py").touch()
    assert str(fails("pack.sever:app", tmp_path)) == "APP: no module named 'pack.sever'. Did you mean server?"


def test_a_module_taken_for_a_package(module: Callable[[str], str], tmp_path: Path) -> None:
    name = module(APP)
    error = fails(f"{name}.app:app", tmp_path)
    assert str(error) == f"APP: no module named '{name}.app', '{name}' is not a package"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import zzqqx\n", "ModuleNotFoundError: No module named 'zzqqx'"),
        ("from os import zzqqx\n", "ImportError: cannot import name 'zzqqx' from 'os'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def app(:\n", "SyntaxError: invalid syntax"),
        ("raise RuntimeError\n", "RuntimeError"),
        ("raise RuntimeError('one\\ntwo')\n", "RuntimeError: one"),
        ("raise SystemExit('no DATABASE_URL')\n", "SystemExit: no DATABASE_URL"),
    ],
)
def test_a_module_that_fails_is_told_from_one_that_is_missing(
    module: Callable[[str], str], tmp_path: Path, source: str, told: str
) -> None:
    name = module(source)
    error = fails(f"{name}:app", tmp_path)
    assert isinstance(error, StartupError)
    assert str(error).startswith(f"APP: importing {name!r} failed: {told}")
    assert error.show_cause
    assert error.__cause__ is not None


def test_a_module_that_misses_one_of_its_own_name_is_not_missing_itself(tmp_path: Path) -> None:
    package = tmp_path / "selfish"
    package.mkdir()
    (package / "__init__.py").write_text("import selfish.gone\n")
    assert fails("selfish:app", tmp_path).show_cause
    assert fails("selfish.gone:app", tmp_path).show_cause


def test_no_such_attribute(module: Callable[[str], str], tmp_path: Path) -> None:
    name = module("application = print\n")
    error = fails(f"{name}:aplication", tmp_path)
    assert isinstance(error, StartupError)
    assert str(error) == f"APP: module {name!r} has no attribute 'aplication'. Did you mean application?"


def test_no_such_attribute_further_in(module: Callable[[str], str], tmp_path: Path) -> None:
    name = module("class site: pass\n")
    assert str(fails(f"{name}:site.app", tmp_path)) == f"APP: '{name}.site' has no attribute 'app'"


@pytest.mark.parametrize(
    ("source", "told"), [("app = 5\n", "an object of type int"), ("import os as app\n", "a module")]
)
def test_what_cannot_be_called(module: Callable[[str], str], tmp_path: Path, source: str, told: str) -> None:
    name = module(source)
    assert str(fails(f"{name}:app", tmp_path)) == f"APP: {name}:app is not callable, it is {told}"


# Factories


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Not called."""


def test_a_factory_is_called_once() -> None:
    calls = []

    def make() -> Any:
        calls.append(1)
        return application

    assert import_app(make, factory=True) is application
    assert calls == [1]


def test_a_factory_that_nobody_announced_is_used_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert import_app(lambda: application) is application
    assert "--factory" in caplog.text


class Called:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Not called."""


def wrapper(*arguments: Any) -> Any:
    """What a decorator without functools.wraps leaves."""


def old_style(scope: Any) -> Any:
    """What ASGI 2 calls."""


def defaults(scope: Any = None, receive: Any = None, send: Any = None) -> Any:
    """Can be called either way, so it is what it was said to be."""


@pytest.mark.parametrize("app", [application, Called(), wrapper, old_style, defaults, print, dict])
def test_what_can_be_called_as_an_application_is_not_taken_for_a_factory(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert import_app(app) is app
    assert caplog.text == ""


def test_a_class_of_applications_is_a_factory(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(import_app(Called), Called)
    assert "--factory" in caplog.text


async def asynchronous() -> Any:
    """A factory must not be a coroutine function: there is no loop to run it in when it is called."""


def broken() -> Any:
    raise RuntimeError("no database")


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (application, "--factory: application cannot be a factory, it does not accept a call without arguments. Leave --factory out"),
        (asynchronous, "--factory: the factory asynchronous is asynchronous"),
        (broken, "APP: the factory broken failed: RuntimeError: no database"),
        (dict, "--factory: the factory dict returned an object of type dict, which is not callable"),
    ],
)  # fmt: skip
def test_a_factory_that_cannot_be_one(factory: Any, told: str, tmp_path: Path) -> None:
    error = fails(factory, tmp_path, factory=True)
    assert isinstance(error, StartupError)
    assert str(error).startswith(told)


def test_any_object_can_be_named(module: Callable[[str], str], tmp_path: Path) -> None:
    name = module("value = 5\n")
    assert import_string(f"{name}:value", app_dir=str(tmp_path)) == 5


# Which interface it is


class Asgi3:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Asgi3Instance:
    """As Starlette's endpoints: the instance is what is awaited."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


class Asgi2:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


class Wsgi:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...

    def __iter__(self) -> Any: ...


class Configured:
    def __init__(self, debug: bool = False) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


async def asgi3(scope: Any, receive: Any, send: Any) -> None: ...


async def anything(*arguments: Any) -> None: ...


def passed_on(scope: Any, receive: Any, send: Any) -> Any: ...


def wrapped(*arguments: Any, **named: Any) -> Any: ...


def asgi2(scope: Any) -> Any: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


def maker(config: Any = None) -> Any: ...


def four(a: Any, b: Any, c: Any, d: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        *((app, "asgi3") for app in (asgi3, anything, Asgi3(), Asgi3().__call__, Asgi3Instance, passed_on)),
        *((app, "asgi3") for app in (wrapped, functools.partial(asgi3), functools.partial(four, 1))),
        *((app, "asgi2") for app in (asgi2, Asgi2, functools.partial(wsgi, 1))),
    ],
)
def test_the_interface_is_told_by_how_it_can_be_called(app: Any, interface: str) -> None:
    assert interface_of(app) == interface


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (
            wsgi,
            "wsgi is called with two arguments, as a WSGI application is. If it is one say --interface wsgi",
        ),
        (Wsgi(), "Wsgi is called with two arguments, as a WSGI application is. "),
        (WsgiClass, "WsgiClass is called with two arguments, as a WSGI application is. "),
        (Asgi3, "Asgi3 is a class of applications, not an application. Name an instance of it"),
        (Configured, "Configured is a class of applications, not an application. Name an instance of it"),
        (
            maker,
            "maker can be called without arguments, or with one: it is no application of ASGI 3. If it makes",
        ),
        (four, "four cannot be called as an ASGI application is. One is called as app(scope, receive, send)"),
    ],
)
def test_what_speaks_neither_is_told_what_to_do(app: Any, said: str) -> None:
    with pytest.raises(StartupError) as caught:
        interface_of(app)
    assert str(caught.value).startswith(f"APP: {said}")
