"""From "module:attribute" to an object that can be called.

What goes wrong here goes wrong in front of a newcomer more often than anything else, so each fault has its own sentence: the
name has no colon, there is no such module, the module is there but fails (then its own traceback is what helps, and it is kept
as the cause), it has no such attribute, or what it names is no application.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from pronghorn.errors import StartupError, UsageError, did_you_mean

_OPTION = "APP"
_CALLED = "One is called as app(scope, receive, send)"
_FORM = "Write module:attribute, such as main:app"


def import_app(
    app: str | Callable[..., Any], *, factory: bool = False, app_dir: str | None = None
) -> Callable[..., Any]:
    """The application that `app` names, or `app` itself if it is no name.

    `app_dir` is put first on `sys.path`. With `factory` the object is called once, without arguments, and returns the
    application; an object that can only be called so is taken for a factory too, with a warning.

    Raises UsageError if the name is not of the form module:attribute, StartupError for everything else.
    """
    found = import_string(app, app_dir=app_dir) if isinstance(app, str) else app
    name = app if isinstance(app, str) else _named(app)
    if not callable(found):
        raise StartupError(f"{name} is not callable, it is {_a(found)}", option=_OPTION)
    if not factory:
        if not _takes_nothing(found):
            return found
        logging.getLogger("pronghorn.error").warning(
            "%s takes no arguments, so it is called as an application factory; say so with --factory.", name
        )
    return _call_factory(found, name)


def interface_of(app: Callable[..., Any]) -> str:
    """Tell "asgi3" and "asgi2" apart by how `app` can be called; what is neither is refused, a WSGI application too.

    An application of ASGI 3 is called once, as app(scope, receive, send), and awaited; one of ASGI 2 twice, as
    app(scope)(receive, send). What can be called in more than one way is taken for the newer.

    Raises StartupError.
    """
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        return "asgi3"
    name = _named(app)
    if inspect.isclass(app):
        if hasattr(app, "__await__"):  # its instances are what app(scope, receive, send) returns
            return "asgi3"
        if inspect.iscoroutinefunction(app.__call__) and _accepts(app.__call__, 4):  # self too
            raise StartupError(
                f"{name} is a class of applications, not an application",
                option=_OPTION,
                hint="Name an instance of it, or say --factory",
            )
    elif _accepts(app, 3, unknown=True):
        return "asgi3"
    if _accepts(app, 1):
        if _accepts(app, 0) and not inspect.isclass(app):
            raise StartupError(
                f"{name} can be called without arguments, or with one: it is no application of ASGI 3",
                option=_OPTION,
                hint="If it makes the application say --factory, if it is one of ASGI 2 say --interface asgi2",
            )
        return "asgi2"
    if _accepts(app, 2):
        raise StartupError(
            f"{name} is called with two arguments, as a WSGI application is",
            option=_OPTION,
            hint="If it is one say --interface wsgi",
        )
    raise StartupError(f"{name} cannot be called as an ASGI application is", option=_OPTION, hint=_CALLED)


def import_string(name: str, *, app_dir: str | None = None) -> Any:
    """The object that "module:attribute" names; the attribute may be dotted. Raises as `import_app` does."""
    module_name, colon, path = name.partition(":")
    if not colon:
        raise UsageError(f"{name!r} has no colon", option=_OPTION, hint=_FORM)
    if not all(part.isidentifier() for part in f"{module_name}.{path}".split(".")):
        raise UsageError(f"{name!r} is not a module and an attribute", option=_OPTION, hint=_FORM)
    if app_dir is not None:
        folder = str(Path(app_dir).absolute())
        if sys.path[:1] != [folder]:
            sys.path.insert(0, folder)
    found: Any = _import_module(module_name, app_dir)
    reached = module_name
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            kind = f"module {reached!r}" if isinstance(found, ModuleType) else f"{reached!r}"
            raise StartupError(
                f"{kind} has no attribute {part!r}",
                option=_OPTION,
                hint=did_you_mean(part, [known for known in dir(found) if not known.startswith("__")]),
            ) from None
        reached = f"{reached}.{part}"
    return found


def _import_module(name: str, app_dir: str | None) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # The module may be missing, or be there and miss another one. Only in the second case has any of its code run.
        if (
            exc.name is not None
            and f"{name}.".startswith(f"{exc.name}.")
            and not _ran_code(exc.__traceback__)
        ):
            raise _no_module(exc.name, app_dir) from None
        raise _failed(f"importing {name!r} failed", exc) from exc
    except (Exception, SystemExit) as exc:
        raise _failed(f"importing {name!r} failed", exc) from exc


def _no_module(missing: str, app_dir: str | None) -> StartupError:
    parent, _, leaf = missing.rpartition(".")
    if parent:
        package = sys.modules.get(parent)
        if package is not None and not hasattr(package, "__path__"):
            return StartupError(f"no module named {missing!r}, {parent!r} is not a package", option=_OPTION)
        folders = [Path(item) for item in getattr(package, "__path__", [])]
    else:
        folders = [Path(app_dir or sys.path[0] or ".")]
    known = {
        item.stem
        for folder in folders
        if folder.is_dir()
        for item in folder.iterdir()
        if item.stem.isidentifier() and (item.suffix == ".py" or (item / "__init__.py").is_file())
    }
    where = f" in {str(folders[0].absolute())!r}" if folders else ""
    return StartupError(
        f"no module named {missing!r}",
        option=_OPTION,
        hint=did_you_mean(leaf, known) or f"Looked{where} and on Python's path",
    )


def cause_text(cause: BaseException) -> str:
    """The application's traceback, from the first line that is the application's."""
    import traceback  # noqa: PLC0415  # only when something went wrong

    trace = cause.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(cause), cause, trace)).rstrip("\n")


def _is_machinery(file: str) -> bool:
    """True for a code object's file name that belongs to importing itself, not to what is imported."""
    return file.startswith("<frozen importlib") or file in {__file__, importlib.__file__}


def _ran_code(trace: TracebackType | None) -> bool:
    """True if the exception passed through code other than the import machinery."""
    while trace is not None:
        if not _is_machinery(trace.tb_frame.f_code.co_filename):
            return True
        trace = trace.tb_next
    return False


def _failed(what: str, exc: BaseException) -> StartupError:
    told = str(exc).strip().split("\n", 1)[0]
    return StartupError(
        f"{what}: {type(exc).__name__}" + (f": {told}" if told else ""), option=_OPTION, show_cause=True
    )


def _call_factory(factory: Callable[..., Any], name: str) -> Callable[..., Any]:
    if not _accepts(factory, 0, unknown=True):
        raise StartupError(
            f"{name} cannot be a factory, it does not accept a call without arguments",
            option="--factory",
            hint="Leave --factory out if it is the application itself",
        )
    try:
        app = factory()
    except (Exception, SystemExit) as exc:
        raise _failed(f"the factory {name} failed", exc) from exc
    if inspect.iscoroutine(app):
        app.close()
        raise StartupError(f"the factory {name} is asynchronous, a factory must not be", option="--factory")
    if not callable(app):
        raise StartupError(
            f"the factory {name} returned {_a(app)}, which is not callable", option="--factory"
        )
    application: Callable[..., Any] = app
    return application


def _takes_nothing(candidate: Callable[..., Any]) -> bool:
    """True for what can be called without arguments, and neither as app(scope, receive, send) nor as app(scope)."""
    return _accepts(candidate, 0) and not _accepts(candidate, 1) and not _accepts(candidate, 3)


def _accepts(candidate: Callable[..., Any], count: int, *, unknown: bool = False) -> bool:
    """True if it can be called with so many arguments; `unknown` for what has no signature, as compiled code may not."""
    try:
        inspect.signature(candidate).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return unknown
    return True


def _named(found: object) -> str:
    return str(getattr(found, "__qualname__", type(found).__qualname__))


def _a(found: object) -> str:
    return "a module" if isinstance(found, ModuleType) else f"an object of type {type(found).__name__}"
