"""What a value may be: one class for each sort. Those that name something of the network or of HTTP are in `web_kinds`.

A `Kind` knows how its values are written as text (a flag's argument, an environment variable), how they look as data
(TOML, Python) and how they are shown. It raises ValueError (for a value of the wrong type too) with the fault alone; the
`Option` that reads through it adds which option it is and where the value came from. Reading is strict: what is not
clearly meant is a mistake, and is told so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pronghorn.errors import did_you_mean

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})

_IMPORT_STRING = r"[^\W\d][\w.]*:[^\W\d][\w.]*"


class Kind:
    """One sort of value. `metavar` stands for it in usage lines, `type` in the reference."""

    metavar: str = "TEXT"
    type: str = "text"
    repeatable: bool = False

    def __init__(self, *, metavar: str | None = None) -> None:
        if metavar is not None:
            self.metavar = metavar

    def from_text(self, text: str) -> Any:
        """The value that a flag's argument or an environment variable spells."""
        return text

    def from_data(self, value: Any) -> Any:
        """The value that TOML or Python gives. Text is read as a flag's would be, so port="8000" is a port."""
        if isinstance(value, str):
            return self.from_text(value)
        raise ValueError(f"expected {self.type}, not {value!r}")

    def from_table(self, value: Any) -> Any:
        """The value that a TOML table gives."""
        return self.from_data(value)

    def show(self, value: Any) -> str:
        """The value as one could write it."""
        return str(value)


class Text(Kind):
    """Any text."""


class ImportedApp(Kind):
    """The application: "module:attribute", or in code the application itself."""

    metavar = "APP"
    type = "module:attribute"

    def from_data(self, value: Any) -> Any:
        """Anything callable may be an application."""
        return value if callable(value) else super().from_data(value)


class Reference(ImportedApp):
    """A function by name, "module:attribute", or in code the function itself."""

    metavar = "MODULE:ATTRIBUTE"

    def from_text(self, text: str) -> str:
        """Whether there is one of that name is found out when it is imported."""
        if not re.fullmatch(_IMPORT_STRING, text):
            raise ValueError(f"{text!r} is not module:attribute")
        return text


class File(Kind):
    """A path that must lead to a file that can be read, or to a folder."""

    metavar = "PATH"

    def __init__(self, *, folder: bool = False) -> None:
        super().__init__()
        self.folder = folder
        self.type = "folder" if folder else "file"

    def from_text(self, text: str) -> str:
        """The path as it was given; whether it can be used is found out now, not at the first request."""
        path = Path(text)
        try:
            if self.folder:
                if not path.is_dir():
                    raise ValueError(
                        f"{text!r} is not a folder" if path.exists() else f"no such folder: {text!r}"
                    )
            elif path.is_dir():
                raise ValueError(f"{text!r} is a folder, not a file")
            else:
                with path.open("rb"):
                    pass
        except OSError as exc:
            reason = (exc.strerror or "cannot be read").lower()
            raise ValueError(
                f"no such file: {text!r}" if isinstance(exc, FileNotFoundError) else f"{text!r}: {reason}"
            ) from None
        return text

    def from_data(self, value: Any) -> Any:
        """Python may give a path object."""
        return super().from_data(os.fspath(value) if isinstance(value, os.PathLike) else value)


class LogConfig(File):
    """A logging configuration: a file, or in code the dictionary itself; the empty text is the server's own."""

    OWN = ""

    def from_text(self, text: str) -> str:
        """None, which Uvicorn's users give to leave logging alone, is another thing than the server's own."""
        return text if text == self.OWN else super().from_text(text)

    def from_data(self, value: Any) -> Any:
        """A dictionary is what `logging.config.dictConfig` takes."""
        return dict(value) if isinstance(value, Mapping) else super().from_data(value)


class SocketPath(Kind):
    """A path where a Unix socket is, or will be made."""

    metavar = "PATH"
    type = "path"

    def from_text(self, text: str) -> str:
        """Any path but the empty one, which would not be seen in the file system."""
        if not text:
            raise ValueError("the path is empty")
        return text

    def from_data(self, value: Any) -> Any:
        """Python may give a path object."""
        return super().from_data(os.fspath(value) if isinstance(value, os.PathLike) else value)


class FolderPath(SocketPath):
    """A path where a folder is, or will be made."""


class Whole(Kind):
    """A whole number within bounds, both included."""

    metavar = "INT"
    type = "whole number"

    def __init__(self, low: int = 0, high: int | None = None, *, metavar: str | None = None) -> None:
        super().__init__(metavar=metavar)
        self.low = low
        self.high = high

    def from_text(self, text: str) -> int:
        """Decimal digits alone: int() would take "1_0" and " 7 " and more that nobody means."""
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError(f"{text!r} is not a whole number")
        return self.from_data(int(text))

    def from_data(self, value: Any) -> int:
        """An integer; True is none."""
        if isinstance(value, bool) or not isinstance(value, int):
            number: int = super().from_data(value)
            return number
        if value < self.low or (self.high is not None and value > self.high):
            bounds = f"at least {self.low}" if self.high is None else f"between {self.low} and {self.high}"
            raise ValueError(f"{int(value)} is out of range, it must be {bounds}")
        return int(value)


class Processes(Whole):
    """How many processes: a number, or "auto" for as many as this machine gives us processors."""

    AUTO = "auto"
    metavar = "COUNT"
    type = "whole number or auto"

    def __init__(self) -> None:
        super().__init__(1)

    def from_text(self, text: str) -> Any:
        """What auto comes to is found out by whoever starts the processes."""
        return self.AUTO if text.lower() == self.AUTO else super().from_text(text)


class Size(Whole):
    """A number of bytes, with a suffix for larger units; at least a megabyte, since less was meant to have one."""

    metavar = "SIZE"
    type = "size"

    _UNITS = "KMGT"

    def __init__(self) -> None:
        super().__init__(1024**2)

    def from_text(self, text: str) -> int:
        """512M, 512MiB or 1.5G, of 1024 as systemd and container engines have them; nobody agrees on what MB is."""
        if found := re.fullmatch(r"([0-9]{1,15})(\.[0-9]{1,3})?([KMGT])(?:iB)?", text, re.IGNORECASE):
            unit = self._unit(found[3].upper())
            return self.from_data(int(found[1]) * unit + int(float(found[2] or 0) * unit))
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError(f"{text!r} is not a size such as 512M or 1.5G")
        return super().from_text(text)

    def from_data(self, value: Any) -> int:
        """An integer is a number of bytes."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < self.low:
            raise ValueError(
                f"{int(value)} is out of range, it must be at least 1M: write {int(value)}M or the like"
            )
        return super().from_data(value)

    def show(self, value: Any) -> str:
        """In the largest unit that it is a multiple of."""
        for unit in reversed(self._UNITS):
            if value % self._unit(unit) == 0:
                return f"{value // self._unit(unit)}{unit}"
        return str(value)

    def _unit(self, letter: str) -> int:
        factor: int = 1024 ** (self._UNITS.index(letter) + 1)
        return factor


class Seconds(Kind):
    """A duration in seconds, decimals allowed. `zero` tells whether none at all is a duration here."""

    metavar = "SECONDS"
    type = "seconds"

    def __init__(self, *, zero: bool = True) -> None:
        super().__init__()
        self.zero = zero

    def from_text(self, text: str) -> int | float:
        """Digits with or without decimals; no sign, exponent, nan or inf."""
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
            raise ValueError(f"{text!r} is not a number of seconds")
        return self.from_data(float(text) if "." in text else int(text))

    def from_data(self, value: Any) -> int | float:
        """A number that is not negative."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            number: int | float = super().from_data(value)
            return number
        if not 0 <= value < 1e12:  # also what nan and inf fail
            raise ValueError(f"{value!r} is out of range, it must be a number of seconds from 0")
        if value == 0 and not self.zero:
            raise ValueError("0 is out of range, it must be more than 0 seconds")
        return value


class Flag(Kind):
    """Yes or no."""

    metavar = "BOOLEAN"
    type = "boolean"

    def from_text(self, text: str) -> bool:
        """Only words that say yes or no; anything else is a mistake, not a yes."""
        word = text.strip().lower()
        if word in TRUE:
            return True
        if word in FALSE:
            return False
        raise ValueError(f"{text!r} is neither true nor false (true, false, 1, 0, yes, no, on, off)")

    def from_data(self, value: Any) -> bool:
        """A boolean, or a word for one."""
        if isinstance(value, bool):
            return value
        answer: bool = super().from_data(value)
        return answer

    def show(self, value: Any) -> str:
        """As TOML writes it."""
        return "true" if value else "false"


class Choice(Kind):
    """One of a few words; with `attribute`, or "module:attribute", or in code the object itself."""

    def __init__(self, words: tuple[str, ...], *, attribute: bool = False) -> None:
        self.words = words
        self.attribute = attribute
        listed = [*words, "module:attribute"] if attribute else words
        super().__init__(metavar=f"[{'|'.join(listed)}]")
        self.type = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"

    def from_text(self, text: str) -> str:
        """One of the words, in any case."""
        if text.lower() in self.words:
            return text.lower()
        if self.attribute and re.fullmatch(_IMPORT_STRING, text):
            return text
        near = did_you_mean(text.lower(), self.words)
        raise ValueError(f"{text!r} is not {self.type}" + (f". {near}" if near else ""))

    def from_data(self, value: Any) -> Any:
        """A word, or an object where one may be named."""
        return value if self.attribute and callable(value) else super().from_data(value)


class LogLevel(Choice):
    """A log level by name, or in code by number."""

    def from_data(self, value: Any) -> Any:
        """Python's levels are numbers."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return super().from_data(value)


class TlsVersion(Choice):
    """A version of TLS that is still one."""

    def __init__(self) -> None:
        super().__init__(("1.2", "1.3"))

    def from_data(self, value: Any) -> Any:
        """TOML and Python have a number where there are no quotes."""
        return super().from_data(str(value) if isinstance(value, float) else value)


class FileMode(Kind):
    """Permission bits, written in octal as chmod takes them."""

    metavar = "OCTAL"
    type = "octal mode"

    def from_text(self, text: str) -> int:
        """Octal with or without a leading 0 or 0o."""
        if not re.fullmatch(r"(0o?)?[0-7]{3}", text):
            raise ValueError(f"{text!r} is not an octal mode such as 660")
        return int(text.removeprefix("0o"), 8)

    def from_data(self, value: Any) -> int:
        """In code 0o660, as `os.chmod` takes it."""
        if isinstance(value, bool) or not isinstance(value, int):
            mode: int = super().from_data(value)
            return mode
        if not 0 <= value <= 0o777:
            raise ValueError(f"{int(value)} is not a file mode, write 0o660 or '660'")
        return int(value)

    def from_table(self, value: Any) -> int:
        """In quotes: 440 and 0o440 are both numbers once TOML has been read, and only one of them was meant."""
        if not isinstance(value, str):
            raise ValueError('write the mode in quotes, such as "660"')
        return self.from_text(value)

    def show(self, value: Any) -> str:
        """In octal again."""
        return f"{value:03o}"


class Words(Kind):
    """A list of texts: the flag is given once for each, a variable holds them with spaces between."""

    type = "list of text"
    repeatable = True

    def from_text(self, text: str) -> list[str]:
        """The words of a variable."""
        return text.split()

    def from_data(self, value: Any) -> list[str]:
        """A list, or one text alone, which is not split: a path may have a space."""
        if isinstance(value, str):
            return [value]
        if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"expected {self.type}, not {value!r}")
        return list(value)

    def show(self, value: Any) -> str:
        """With spaces between."""
        return " ".join(value)
