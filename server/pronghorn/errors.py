"""What is the user's to put right, as opposed to what is a defect of the server.

Every such error is one sentence on one line: which option, what is wrong with it, where its value came from and the way
out. Whoever raises one knows the option and the fault; only the command line knows where the value came from, so `source`
may be filled in later, on the way up. Nothing below `cli` turns these into an exit of the process.
"""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """A fault that the person who started the server can mend.

    Parameters:
        message: what is wrong, without a full stop and without the option's name.
        option: the option it concerns, as a flag (``--port``) or as a keyword (``port``); None if it is about no option.
        source: where the option's value came from (``PRONGHORN_PORT``, ``[tool.pronghorn] in pyproject.toml``); None if it
            is not known or is obvious.
        hint: the way out, as a sentence without a full stop.
        show_cause: the cause's traceback points into the application, so it is worth printing before the message.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        option: str | None = None,
        source: str | None = None,
        hint: str | None = None,
        show_cause: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.option = option
        self.source = source
        self.hint = hint
        self.show_cause = show_cause

    def __str__(self) -> str:
        text = self.message if self.option is None else f"{self.option}: {self.message}"
        if self.source is not None:
            text += f" (from {self.source})"
        if self.hint is not None:
            text += f". {self.hint}"
        # Values end up in messages, and a value may hold anything: it still has to be one line, and harmless to a terminal.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class UsageError(UserError):
    """A bad flag, variable or table entry, or a file that one of them names and that cannot be used."""

    exit_code = 2


class StartupError(UserError):
    """The options are sound but the server cannot start: the application, the listener or the lifespan startup failed."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The hint that names the nearest of `known`, or None when nothing is near."""
    import difflib  # noqa: PLC0415  # only for those who made a mistake

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else None
