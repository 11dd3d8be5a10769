"""A logging configuration of the user's: a dictionary, or a JSON, YAML or ini file.

Uvicorn's names in it are read as ours. Everything else is the business of ``logging.config``, whose
complaints are passed on in one line.
"""

from __future__ import annotations

import configparser
import json
import logging.config
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pronghorn.errors import UsageError

Source = str | os.PathLike[str] | Mapping[str, Any]

_FORMATTERS = {
    "uvicorn.logging.DefaultFormatter": "pronghorn.observe.logs.DefaultFormatter",
    "uvicorn.logging.AccessFormatter": "pronghorn.observe.logs.AccessFormatter",
    "uvicorn.logging.ColourizedFormatter": "pronghorn.observe.logs.DefaultFormatter",
}


def apply(source: Source) -> None:
    """Hand the configuration to ``logging.config``. Raises ``UsageError`` for all that is wrong with it."""
    if isinstance(source, Mapping):
        _apply_dict(source, "the dictionary")
        return
    path = Path(source)
    suffix = path.suffix.lower()
    text = _read(path)
    if suffix == ".json":
        try:
            loaded = json.loads(text)
        except ValueError as exc:
            raise _refused(f"{path} is not JSON: {exc}") from exc
        _apply_dict(loaded, str(path))
    elif suffix in (".yaml", ".yml"):
        _apply_dict(_load_yaml(path, text), str(path))
    else:
        _apply_ini(path, text)


def mapped_name(name: str) -> str:
    """Read ``uvicorn`` and ``uvicorn.x`` as ``pronghorn`` and ``pronghorn.x``; leave other names alone."""
    head, dot, tail = name.partition(".")
    return f"pronghorn{dot}{tail}" if head == "uvicorn" else name


def mapped(config: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a dictConfig with Uvicorn's names read as ours; where it names both, ours stand."""
    result = {"disable_existing_loggers": False, **config}
    loggers = result.get("loggers")
    if isinstance(loggers, Mapping):
        result["loggers"] = {mapped_name(name): value for name, value in loggers.items()} | {
            name: value for name, value in loggers.items() if mapped_name(name) == name
        }
    formatters = result.get("formatters")
    if isinstance(formatters, Mapping):
        result["formatters"] = {name: _mapped_formatter(value) for name, value in formatters.items()}
    return result


def _mapped_formatter(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        key: _FORMATTERS.get(item, item) if key in ("()", "class") and isinstance(item, str) else item
        for key, item in value.items()
    }


def _apply_dict(config: Any, name: str) -> None:
    if not isinstance(config, Mapping):
        raise _refused(f"{name} holds {type(config).__name__}, not a table of logging settings")
    try:
        logging.config.dictConfig(mapped(config))
    except (ValueError, TypeError, AttributeError, ImportError, LookupError, OSError) as exc:
        raise _refused(f"{name} is not a logging configuration: {_chain(exc)}") from exc


def _apply_ini(path: Path, text: str) -> None:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text, str(path))
        for section in parser.sections():
            options = parser[section]
            if "qualname" in options:
                options["qualname"] = mapped_name(options["qualname"])
            if "class" in options:
                options["class"] = _FORMATTERS.get(options["class"], options["class"])
        logging.config.fileConfig(parser, disable_existing_loggers=False)
    except (
        *(configparser.Error, ValueError, TypeError, NameError, SyntaxError),
        *(AttributeError, ImportError, LookupError, RuntimeError, OSError),
    ) as exc:
        raise _refused(f"{path} is not a logging configuration: {_chain(exc)}") from exc


def _load_yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415 - optional
    except ImportError as exc:
        raise _refused(f"{path} is YAML, and PyYAML is not installed", "Install pronghorn[yaml]") from exc
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise _refused(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise _refused(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise _refused(f"{path} is not UTF-8: {exc}") from exc


def _chain(exc: BaseException | None) -> str:
    """Join an exception and its causes; dictConfig says where in the first and why in the last."""
    said: list[str] = []
    while exc is not None:
        said.append(str(exc) or type(exc).__name__)
        exc = exc.__cause__
    return ": ".join(said)


def _refused(message: str, hint: str | None = None) -> UsageError:
    return UsageError(message, option="--log-config", hint=hint)
