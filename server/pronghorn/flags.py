"""The words of a command line, sorted into flags and what is none.

A flag is written in full, `--flag value` or `--flag=value`; a switch is `--flag` or `--no-flag`. There are no short forms and no
abbreviations: one that is clear today would be ambiguous as soon as a later version brings another flag. After `--` nothing is a
flag. What a value means is for the option's kind to say; here it stays text.

Of our own and not a library's, because every option is declared already: a library would have to be told all of it again at
each start, in objects of its own, and that takes it longer than the reading does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pronghorn.declare import Option
from pronghorn.errors import UsageError, did_you_mean


class Command(NamedTuple):
    """What a command takes. `switches` are its own, with their help; `operand` is the one word that is no flag, if it takes one.

    `summary` and `epilog` are for its help.
    """

    name: str
    options: Iterable[Option]
    switches: Mapping[str, str]
    summary: str
    epilog: str
    operand: str = ""


class Words(NamedTuple):
    """Command-line words, sorted. `flags` has text, a list of text for what may be repeated, a boolean for --x/--no-x."""

    flags: dict[str, Any]
    switches: set[str]
    others: list[str]


def sort(words: Iterable[str], command: Command) -> Words:
    """Tell the flags of `command` from the rest. Raises UsageError for a flag that it does not have or that is not complete."""
    known = _spellings(command.options)
    found = Words({}, set(), [])
    rest = iter(words)
    for word in rest:
        if word == "--":
            found.others.extend(rest)
        elif len(word) < 2 or word[0] != "-":
            found.others.append(word)
        else:
            flag, equals, value = word.partition("=")
            told = known.get(flag)
            if told is None and flag not in command.switches:
                raise UsageError(
                    f"there is no option {flag}", hint=did_you_mean(flag, [*known, *command.switches])
                )
            if told is None or told.switch:
                if equals:
                    raise misuse(command, f"option {flag!r} does not take a value")
                if told is None:
                    found.switches.add(flag)
                else:
                    found.flags[told.name] = flag == told.flag
                continue
            if not equals:
                following = next(rest, None)
                if following is None:
                    raise misuse(command, f"option {flag!r} requires an argument")
                value = following
            if told.kind.repeatable:
                found.flags.setdefault(told.name, []).append(value)
            else:
                found.flags[told.name] = value
    return found


def misuse(command: Command, message: str) -> UsageError:
    """The error for a command line whose form is wrong, which its help shows."""
    return UsageError(message, hint=f"See {command.name} --help")


def _spellings(options: Iterable[Option]) -> dict[str, Option]:
    known: dict[str, Option] = {}
    for told in options:
        if told.flag:
            known[told.flag] = told
            if told.switch:
                known[told.negative] = told
    return known
