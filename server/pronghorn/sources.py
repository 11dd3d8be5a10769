"""Where the options of a command come from, and which of them wins.

A flag, then PRONGHORN_<NAME>, then UVICORN_<NAME>, then the table in the pyproject.toml of the folder, then the default. A variable
that is set but empty counts as not set, as `${NAME:-}` leaves it in compose files and units. Everything comes in by argument, so
that the order can be tested without a process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pronghorn.agreement import check_together, without_effect
from pronghorn.config import OPTIONS, Config
from pronghorn.declare import Option
from pronghorn.errors import UsageError, UserError, did_you_mean

PREFIXES = ("PRONGHORN_", "UVICORN_")
TABLES = ("pronghorn", "uvicorn")
DEFAULT = "default"

# What Kubernetes puts into the environment of every container beside a Service called "pronghorn".
_SERVICE_LINK = r"(SERVICE_(HOST|PORT)(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?)"


@dataclass(slots=True)
class Resolution:
    """The value of every option, where each came from (`sources`, "default" included), and what deserves a warning."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def config(self) -> Config:
        """The Config of these values; UsageError if there is no application."""
        if self.values["app"] is None:
            raise UsageError(
                "no application was given", option="APP", hint="Give module:attribute, such as main:app"
            )
        # The env file has been loaded already: an empty environment keeps Config from looking anywhere else.
        return Config(**self.values, environ={})

    def is_given(self, name: str) -> bool:
        """True if anybody asked for this option, whatever the value."""
        return self.sources[name] != DEFAULT

    def blame(self, error: UserError) -> None:
        """Add to an error from further down, which knows the option, the source that only is known here."""
        if error.option is None:
            return
        for name, told in OPTIONS.items():
            if error.option in {name, _label(told)}:
                error.option = _label(told)
                if error.source is None and self.sources[name] not in {DEFAULT, _label(told)}:
                    error.source = self.sources[name]


def resolve(flags: Mapping[str, Any], environ: MutableMapping[str, str], folder: Path) -> Resolution:
    """Put together what the flags, the environment and the folder's pyproject.toml say.

    `flags` has only what was given: text, a boolean for a switch, a list of text for what may be repeated. The env file, if there is
    one, is loaded into `environ`. Raises UsageError naming the option and the source.
    """
    found = Resolution()
    table, table_source = _table(folder, found)
    for name, told in OPTIONS.items():
        given = _given(told, flags, environ, table, table_source)
        if given is not None:
            found.values[name], found.sources[name] = given
    if "env_file" in found.values:
        from pronghorn.env_file import load_env_file  # noqa: PLC0415  # few have one

        added = load_env_file(found.values["env_file"], environ)
        for variable in (item for item in added if item.startswith(PREFIXES)):
            found.warnings.append(
                f"{variable} is for the application there: an env file does not configure the server (from --env-file)"
            )
    for name, told in OPTIONS.items():
        if name in found.values:
            continue
        ambient = environ.get(told.ambient) if told.ambient else None
        if told.ambient and ambient:
            found.values[name], found.sources[name] = told.read_ambient(ambient), told.ambient
        else:
            found.values[name], found.sources[name] = told.fresh_default(), DEFAULT
    # As `python -m` has it; a program that makes its own Config has its own path.
    if found.values["app_dir"] is None:
        found.values["app_dir"] = "."
    try:
        check_together(found.values, OPTIONS, code=False)
    except UserError as exc:
        found.blame(exc)
        raise
    found.warnings += [*_unknown_variables(environ), *_without_effect(found)]
    return found


def _label(told: Option) -> str:
    return told.flag or "APP"


def _given(
    told: Option,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    table: Mapping[str, Any],
    table_source: str,
) -> tuple[Any, str] | None:
    """The value that was asked for and by whom, or None."""
    if told.name in flags:
        value = flags[told.name]
        if isinstance(value, str):
            value = told.read_text(value, None)
        elif isinstance(value, list):
            value = told.read_flags(value)
        return value, _label(told)
    for prefix in PREFIXES:
        variable = prefix + told.variable
        text = environ.get(variable)
        if text:
            try:
                return told.read_text(text, variable), variable
            except UsageError as exc:
                if told.name == "port" and text.startswith("tcp://"):
                    exc.hint = (
                        "Kubernetes sets it for a Service of that name, enableServiceLinks: false stops that"
                    )
                raise
    if told.name in table:
        return told.read_table(table[told.name], table_source), table_source
    return None


def _table(folder: Path, found: Resolution) -> tuple[dict[str, Any], str]:
    """The keys of [tool.pronghorn], or else of [tool.uvicorn], and what to call their source."""
    path = folder / "pyproject.toml"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}, ""
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise UsageError(f"pyproject.toml cannot be read: {reason}") from None
    import tomllib  # noqa: PLC0415  # most starts have no such file and save the import

    try:
        tools = tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"pyproject.toml is not valid TOML: {exc}") from None
    present = [name for name in TABLES if isinstance(tools, dict) and name in tools]
    if not present:
        return {}, ""
    if len(present) > 1:
        found.warnings.append("[tool.uvicorn] in pyproject.toml is not used: [tool.pronghorn] is there too")
    source = f"[tool.{present[0]}] in pyproject.toml"
    table = tools[present[0]]
    if not isinstance(table, dict):
        raise UsageError(f"{source} is not a table")
    for key in table:
        if key not in OPTIONS:
            raise UsageError(f"unknown option {key!r}", source=source, hint=did_you_mean(key, OPTIONS))
    return table, source


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Warnings for PRONGHORN_ variables that no option reads: most often a slip of the pen."""
    prefix = PREFIXES[0]
    known = {prefix + told.variable for told in OPTIONS.values()}
    warnings = []
    for variable in sorted(environ):
        if not variable.startswith(prefix) or variable in known:
            continue
        if re.fullmatch(_SERVICE_LINK, variable.removeprefix(prefix)):
            continue
        hint = did_you_mean(variable, known)
        warnings.append(f"{variable} is set but no option reads it" + (f". {hint}" if hint else ""))
    return warnings


def _without_effect(found: Resolution) -> list[str]:
    """Warnings for options that were asked for and that other options make idle."""
    warnings = []
    for name, why in without_effect(found.values, OPTIONS):
        if found.is_given(name):
            flag, source = OPTIONS[name].flag, found.sources[name]
            whence = "" if source == flag else f" (from {source})"
            warnings.append(f"{flag} has no effect {why}{whence}")
    return warnings
