"""docs/reference/log-fields.md says what the code does: the same names, in the same order."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from pronghorn.observe.facts import Facts
from pronghorn.observe.json_formatter import JsonFormatter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "log-fields.md"
TYPES = {"str": str, "int": int, "float": float}


class Exchange:
    scope: dict[str, Any] = {}  # noqa: RUF012
    status, bytes_in, bytes_out, started, first_byte = 200, 0, 0, 0.0, 0.5
    request_id = "7"


FACTS = Facts.of(Exchange(), 1.0)


def rows(heading: str) -> dict[str, str]:
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, re.MULTILINE))


def test_access_lines_in_json() -> None:
    assert list(rows("Access lines in JSON")) == ["time", "level", "logger", *FACTS.as_json()]


def test_attributes() -> None:
    documented, attributes = rows("Attributes of access records"), FACTS.as_attributes()
    assert list(documented) == list(attributes)
    assert {name: TYPES[kind] for name, kind in documented.items()} == {
        name: type(value) for name, value in attributes.items()
    }


def test_other_lines_in_json() -> None:
    try:
        raise ValueError
    except ValueError as exc:
        record = logging.LogRecord(
            "pronghorn", 20, "", 0, "m", None, (ValueError, exc, exc.__traceback__), sinfo="stack"
        )
    record.request_id = "7"
    assert set(json.loads(JsonFormatter().format(record))) - {"taskName"} == set(rows("Other lines in JSON"))


@pytest.mark.parametrize(
    "name", ["Access lines in JSON", "Other lines in JSON", "Attributes of access records"]
)
def test_every_row_is_read(name: str) -> None:
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert section.count("\n|") == len(rows(name)) + 2
