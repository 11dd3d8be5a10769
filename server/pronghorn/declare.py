"""How an option is declared: once, with everything that is derived from it.

An `Option` says what an option is called, what it holds, what it starts as and what it is for. Flags, environment variables,
table keys, keywords, `--help`, `--print-config` and the reference page are all read from it, so none of them can disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from pronghorn.errors import UsageError
from pronghorn.kinds import Flag, Kind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One declared option.

    `name` is the keyword, the table's key and, in capitals after a prefix, the variable. `default_text` tells the default
    where the value alone would not. `ambient` is a variable of the platform that stands in for the default.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    group: str
    flag: str | None
    nullable: bool = False
    valued: bool = False
    default_text: str | None = None
    ambient: str | None = None
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable, without its prefix."""
        return self.name.upper()

    @property
    def switch(self) -> bool:
        """True for --x/--no-x; a boolean that takes a word, or any other option, is not."""
        return isinstance(self.kind, Flag) and not self.valued

    @property
    def negative(self) -> str:
        """The flag that switches a switch off."""
        return f"--no-{(self.flag or '').removeprefix('--')}"

    def fault(self, message: str, *, source: str | None, code: bool) -> UsageError:
        """The error that tells what is wrong with this option, by the name it was given under."""
        return UsageError(message, option=self.name if code else self.flag or "APP", source=source)

    def read_text(self, text: str, source: str | None) -> Any:
        """The value of a flag (source None) or a variable; UsageError if there is none in it."""
        return self._read(self.kind.from_text, text, source)

    def read_flags(self, given: Sequence[str]) -> Any:
        """The value of a flag that may be given several times; UsageError as above."""
        return self._read(self.kind.from_data, list(given), None)

    def read_table(self, value: Any, source: str) -> Any:
        """The value of a key in pyproject.toml; UsageError as above."""
        return self._read(self.kind.from_table, value, source)

    def read_ambient(self, text: str) -> Any:
        """The value of the platform's variable; UsageError as above."""
        return self.read_text(text, self.ambient)

    def _read(self, convert: Callable[[Any], Any], raw: Any, source: str | None) -> Any:
        try:
            return convert(raw)
        except ValueError as exc:
            raise self.fault(str(exc), source=source, code=False) from None

    def read_code(self, value: Any) -> Any:
        """The value of a keyword, None standing for the default; UsageError as above."""
        if value is None:
            return None if self.nullable else self.fresh_default()
        try:
            return self.kind.from_data(value)
        except ValueError as exc:
            raise self.fault(str(exc), source=None, code=True) from None

    def fresh_default(self) -> Any:
        """The default; a list is a new one each time."""
        return list(self.default) if isinstance(self.default, list) else self.default

    def show(self, value: Any) -> str:
        """The value for people to read; a secret is not shown."""
        if value is None or value in ("", []):
            return "-"
        if self.secret:
            return "******"
        if not isinstance(value, str) and callable(value):
            return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__qualname__)}"
        return self.kind.show(value)

    @property
    def shown_default(self) -> str:
        """The default for help and reference; empty when there is none."""
        if self.default_text is not None:
            return self.default_text
        return "" if self.default in (None, "", []) else self.kind.show(self.default)


class Group(str):
    """A heading of help and reference, and how the options under it are declared."""

    __slots__ = ()

    def option(
        self,
        kind: Kind,
        *,
        help: str,  # noqa: A002  # what the thing is called everywhere else
        default: Any = None,
        flag: str | None = None,
        nullable: bool = False,
        valued: bool = False,
        default_text: str | None = None,
        ambient: str | None = None,
        secret: bool = False,
    ) -> Any:
        """A dataclass field that declares an option. Its flag follows from the field's name unless `flag` gives another."""
        told = partial(
            Option,
            kind=kind,
            default=default,
            help=help,
            group=self,
            nullable=nullable or (default is None and ambient is None),
            valued=valued,
            default_text=default_text,
            ambient=ambient,
            secret=secret,
        )
        metadata = {"option": told, "flag": flag}
        if isinstance(default, list):
            return field(default_factory=lambda: list(default), repr=not secret, metadata=metadata)
        # None is "not given" to an option that has an ambient variable: Config looks it up when it is made.
        return field(default=None if ambient else default, repr=not secret, metadata=metadata)


def declared(config: type[DataclassInstance]) -> dict[str, Option]:
    """Every option that a dataclass declares, by name, in the order of its fields."""
    found: dict[str, Option] = {}
    for item in fields(config):
        told: Callable[..., Option] | None = item.metadata.get("option")
        if told is not None:
            flag = item.metadata["flag"]
            if flag is None:
                flag = f"--{item.name.replace('_', '-')}"
            found[item.name] = told(name=item.name, flag=flag)
    return found
