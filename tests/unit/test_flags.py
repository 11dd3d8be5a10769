"""Words of a command line sorted into flags and the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn import cli
from pronghorn.config import OPTIONS
from pronghorn.errors import UsageError
from pronghorn.flags import sort


@pytest.mark.parametrize(
    ("words", "flags", "others"),
    [
        ([], {}, []),
        (["main:app"], {}, ["main:app"]),
        (["--port", "1", "main:app", "--host=::1"], {"port": "1", "host": "::1"}, ["main:app"]),
        (["--root-path="], {"root_path": ""}, []),
        (["--root-path", ""], {"root_path": ""}, []),
        (["--root-path=a=b"], {"root_path": "a=b"}, []),
        (["--port", "1", "--port", "2"], {"port": "2"}, []),
        # What follows a flag that takes a value is its value, whatever it looks like.
        (["--port", "-1"], {"port": "-1"}, []),
        (["--root-path", "--host"], {"root_path": "--host"}, []),
        (["--root-path", "--"], {"root_path": "--"}, []),
        (["--reload", "--no-access-log"], {"reload": True, "access_log": False}, []),
        (["--reload", "--no-reload"], {"reload": False}, []),
        (["--header", "A:1", "--header=B:2"], {"headers": ["A:1", "B:2"]}, []),
        (["--", "--port", "--help"], {}, ["--port", "--help"]),
        (["-", ""], {}, ["-", ""]),
    ],
)
def test_words(words: list[str], flags: dict[str, Any], others: list[str]) -> None:
    assert sort(words, cli.SERVE) == (flags, set(), others)


def test_switches_of_the_command_are_apart() -> None:
    assert sort(["--version", "--print-config"], cli.SERVE).switches == {"--version", "--print-config"}
    with pytest.raises(UsageError, match="there is no option --version"):
        sort(["--version"], cli.HEALTHCHECK)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--por", "1"], "there is no option --por. Did you mean --port?"),
        (["--por=1"], "there is no option --por. Did you mean --port?"),
        (["--no-port"], "there is no option --no-port. Did you mean"),
        (["--no-help"], "there is no option --no-help"),
        (["-p", "1"], "there is no option -p"),
        (["--port"], "option '--port' requires an argument. See pronghorn --help"),
        (["--no-reload=yes"], "option '--no-reload' does not take a value. See pronghorn --help"),
        (["--help="], "option '--help' does not take a value. See pronghorn --help"),
    ],
)
def test_what_is_no_flag_or_not_complete(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        sort(words, cli.SERVE)
    assert str(caught.value).startswith(message)


@given(
    st.lists(
        st.tuples(st.sampled_from([told for told in OPTIONS.values() if told.flag]), st.text(), st.booleans())
    )
)
def test_every_flag_can_be_read_back(given_flags: list[tuple[Any, str, bool]]) -> None:
    words: list[str] = []
    expected: dict[str, Any] = {}
    for told, text, other in given_flags:
        if told.switch:
            words.append(told.flag if other else told.negative)
            expected[told.name] = other
        else:
            words += [f"{told.flag}={text}"] if other else [told.flag, text]
            expected[told.name] = [*expected.get(told.name, ()), text] if told.kind.repeatable else text
    assert sort(words, cli.SERVE) == (expected, set(), [])
