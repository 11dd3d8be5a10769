"""What each kind of value accepts, and that whatever else one writes is refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pronghorn import kinds, web_kinds
from pronghorn.kinds import Kind

KINDS: list[Kind] = [
    kinds.Text(),
    kinds.ImportedApp(),
    kinds.Reference(),
    kinds.File(),
    kinds.File(folder=True),
    kinds.LogConfig(),
    web_kinds.UrlPath(),
    kinds.SocketPath(),
    web_kinds.AdminAddress(),
    kinds.Whole(1, 9),
    kinds.Processes(),
    kinds.Size(),
    kinds.Seconds(zero=False),
    kinds.Flag(),
    kinds.Choice(("one", "two"), attribute=True),
    kinds.LogLevel(("info", "debug")),
    kinds.FileMode(),
    kinds.Words(),
    web_kinds.Addresses(),
    kinds.TlsVersion(),
    web_kinds.ForwardedHeaders(),
    web_kinds.Headers(),
]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kinds.Whole(), "0", 0),
        (kinds.Whole(), "0065", 65),
        (kinds.Whole(-5), "-5", -5),
        (kinds.Whole(0, 65535), "65535", 65535),
        (kinds.Processes(), "4", 4),
        (kinds.Processes(), "Auto", "auto"),
        (kinds.Size(), "512M", 512 * 1024**2),
        (kinds.Size(), "2048k", 2 * 1024**2),
        (kinds.Size(), "1.5GiB", 3 * 1024**3 // 2),
        (kinds.Size(), "2T", 2 * 1024**4),
        (kinds.Size(), "1048576", 1024**2),
        (kinds.Seconds(), "0", 0),
        (kinds.Seconds(), "2.50", 2.5),
        (kinds.Flag(), "on", True),
        (kinds.Flag(), "YES", True),
        (kinds.Flag(), " 0 ", False),
        (kinds.Flag(), "False", False),
        (kinds.Choice(("auto", "h11"), attribute=True), "AUTO", "auto"),
        (kinds.Choice(("auto", "h11"), attribute=True), "My.Module:Parser", "My.Module:Parser"),
        (kinds.FileMode(), "660", 0o660),
        (kinds.FileMode(), "0660", 0o660),
        (kinds.FileMode(), "0o660", 0o660),
        (kinds.FileMode(), "000", 0),
        (web_kinds.UrlPath(), "/-/health", "/-/health"),
        (kinds.Words(), "src templates\n static ", ["src", "templates", "static"]),
        (web_kinds.Addresses(), "10.0.0.0/8,unix:", "10.0.0.0/8,unix:"),
        (kinds.LogConfig(), "", ""),
        (kinds.Reference(), "my.module:make", "my.module:make"),
        (kinds.TlsVersion(), "1.3", "1.3"),
        (
            web_kinds.ForwardedHeaders(),
            "Forwarded , x-forwarded-port,forwarded",
            "forwarded,x-forwarded-port",
        ),
        (web_kinds.Headers(), "X-A:1", [("X-A", "1")]),
        (web_kinds.Headers(), " X-A : 1".replace(" :", ":"), [("X-A", "1")]),
        (web_kinds.Headers(), "X-A:1 X-B:2", [("X-A", "1"), ("X-B", "2")]),
        (web_kinds.Headers(), "X-By: my own server X-B:2", [("X-By", "my own server"), ("X-B", "2")]),
        (web_kinds.Headers(), "Link: see http://example.com", [("Link", "see http://example.com")]),
        (web_kinds.Headers(), "X-A: b c:d\nX-E: f\n", [("X-A", "b c:d"), ("X-E", "f")]),
        (web_kinds.Headers(), "X-Empty:", [("X-Empty", "")]),
    ],
)
def test_text_is_read(kind: Kind, text: str, value: Any) -> None:
    read = kind.from_text(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((kinds.Whole(), text) for text in ("", "x", "1_0", " 1", "1.0", "+1", "٣", "1e3", "9" * 30)),
        *((kinds.Whole(1, 9), text) for text in ("0", "10", "-1")),
        *((kinds.Processes(), text) for text in ("", "0", "-1", "automatic", "1.5")),
        *(
            (kinds.Size(), text)
            for text in ("", "M", "512", "1023K", "512MB", "0.5M", "1.5", "-1M", "1 G", "1E", "512m512")
        ),
        *((kinds.Seconds(), text) for text in ("", "-1", "nan", "inf", "1e3", "5s", ".5", "5.")),
        *((kinds.Seconds(zero=False), text) for text in ("0", "0.0")),
        *((kinds.Flag(), text) for text in ("", "y", "2", "enabled", "truee")),
        *((kinds.Choice(("auto",)), text) for text in ("", "aut", "my:parser")),
        *(
            (kinds.Choice(("auto", "x"), attribute=True), text)
            for text in ("my.parser", "a:", ":b", "a:b:c", "1:b")
        ),
        *((kinds.FileMode(), text) for text in ("", "66", "6600", "888", "0x1ff", "rw-rw----", "-660")),
        *((web_kinds.UrlPath(), text) for text in ("", "healthz", "/a?b", "/a b", "/a#b", "/é", "http://x/")),
        *(
            (web_kinds.Headers(), text)
            for text in ("X-A", ": v", "X A: v", "Content-Length: 3", "X-A: \x00", "X: €")
        ),
        *((web_kinds.Headers(), text) for text in ("transfer-encoding: chunked", "X-A: a\r\x0bX-B: b")),
        (kinds.SocketPath(), ""),
        (kinds.File(), "/no/such/file"),
        (kinds.File(), "/"),
        (kinds.File(), "\0"),
        (kinds.File(folder=True), "/no/such/folder"),
        (kinds.File(folder=True), __file__),
    ],
)
def test_text_is_refused(kind: Kind, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        kind.from_text(text)


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (kinds.Whole(), 7, 7),
        (kinds.Whole(), "7", 7),
        (kinds.Processes(), 2, 2),
        (kinds.Processes(), "auto", "auto"),
        (kinds.Size(), 3_000_000, 3_000_000),
        (kinds.Size(), "256M", 256 * 1024**2),
        (kinds.Seconds(), 0.5, 0.5),
        (kinds.Flag(), False, False),
        (kinds.Flag(), "false", False),
        (kinds.FileMode(), 0o640, 0o640),
        (kinds.LogLevel(("info",)), 10, 10),
        (kinds.TlsVersion(), 1.2, "1.2"),
        (
            web_kinds.ForwardedHeaders(),
            ["X-Forwarded-For", "x-forwarded-host"],
            "x-forwarded-for,x-forwarded-host",
        ),
        (kinds.Words(), "a folder", ["a folder"]),
        (kinds.Words(), ("a", "b"), ["a", "b"]),
        (web_kinds.Addresses(), ["10.0.0.1", "::1"], "10.0.0.1,::1"),
        (web_kinds.Headers(), [("a", "b"), ["c", "d"], "e: f"], [("a", "b"), ("c", "d"), ("e", "f")]),
        (web_kinds.Headers(), "e: f", [("e", "f")]),
        (kinds.SocketPath(), Path("/run/app.sock"), "/run/app.sock"),
        (kinds.LogConfig(), {"version": 1}, {"version": 1}),
        (kinds.Choice(("auto",), attribute=True), dict, dict),
    ],
)
def test_data_is_read(kind: Kind, data: Any, value: Any) -> None:
    assert kind.from_data(data) == value


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (kinds.Whole(), True),
        (kinds.Whole(), 1.0),
        (kinds.Processes(), True),
        (kinds.Processes(), None),
        (kinds.Size(), True),
        (kinds.Size(), 512),
        (kinds.Size(), 0),
        (kinds.Size(), 1e9),
        (kinds.Seconds(), False),
        (kinds.Seconds(), float("nan")),
        (kinds.Seconds(), float("inf")),
        (kinds.Seconds(), -0.1),
        (kinds.Flag(), 1),
        (kinds.FileMode(), 0o1000),
        (kinds.LogLevel(("info",)), True),
        (kinds.Text(), 5),
        (kinds.Words(), [1]),
        (kinds.Words(), b"bytes"),
        (web_kinds.Headers(), 5),
        (web_kinds.Headers(), [("a",)]),
        (web_kinds.Headers(), [(b"a", b"b")]),
        (kinds.Choice(("auto",)), dict),
        (kinds.ImportedApp(), 5),
        (kinds.Reference(), 5),
        (kinds.TlsVersion(), 1.1),
        (kinds.TlsVersion(), 772),
        (web_kinds.ForwardedHeaders(), []),
        (web_kinds.ForwardedHeaders(), ["x-real-ip"]),
        (web_kinds.ForwardedHeaders(), ["forwarded", "x-forwarded-host"]),
    ],
)
def test_data_is_refused(kind: Kind, data: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        kind.from_data(data)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@given(text=st.text())
@example(text="\0")
@example(text="a" * 5000)
def test_any_text_is_read_or_refused(kind: Kind, text: str) -> None:
    try:
        value = kind.from_text(text)
    except ValueError as exc:
        assert str(exc)  # noqa: PT017  # either outcome is right; which one is not the point
    else:
        assert kind.from_data(value) == value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@given(data=ANYTHING)
def test_any_data_is_read_or_refused(kind: Kind, data: Any) -> None:
    for read in (kind.from_data, kind.from_table):
        try:
            value = read(data)
        except ValueError as exc:
            assert str(exc)  # noqa: PT017  # as above
        else:
            assert kind.from_data(value) == value


@given(number=st.integers(-(10**17), 10**17))
def test_whole_numbers_survive_being_written(number: int) -> None:
    kind = kinds.Whole(-(10**17))
    assert kind.from_text(kind.show(number)) == number


@given(size=st.integers(1024**2, 10**17))
@example(size=1024**4)
@example(size=1_241_000_931_573_760)
def test_sizes_survive_being_written(size: int) -> None:
    kind = kinds.Size()
    assert kind.from_text(kind.show(size)) == size


def test_a_size_without_the_suffix_that_was_meant_is_told_so() -> None:
    with pytest.raises(ValueError, match="at least 1M: write 512M or the like"):
        kinds.Size().from_text("512")


@given(mode=st.integers(0, 0o777))
def test_file_modes_survive_being_written(mode: int) -> None:
    kind = kinds.FileMode()
    assert kind.from_text(kind.show(mode)) == mode


@given(
    fields=st.lists(
        st.tuples(st.from_regex(r"[A-Za-z-]+", fullmatch=True), st.from_regex(r"[!-~]*", fullmatch=True))
    )
)
def test_headers_survive_being_written_one_a_line(fields: list[tuple[str, str]]) -> None:
    fields = [
        (name, value) for name, value in fields if name.lower() not in {"content-length", "transfer-encoding"}
    ]
    text = "".join(f"{name}:{value}\n" for name, value in fields)
    assert web_kinds.Headers().from_text(text) == fields


def test_a_file_mode_in_a_table_has_to_be_quoted() -> None:
    with pytest.raises(ValueError, match="quotes"):
        kinds.FileMode().from_table(440)
    assert kinds.FileMode().from_table("440") == 0o440


def test_a_file_that_cannot_be_read_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ValueError, match="levels of symbolic links"):
        kinds.File().from_text(str(loop))
    with pytest.raises(ValueError, match="no such file"):
        kinds.File().from_text(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("127.0.0.1:9464", web_kinds.Address("127.0.0.1", 9464), "127.0.0.1:9464"),
        (":9464", web_kinds.Address("127.0.0.1", 9464), "127.0.0.1:9464"),
        ("[::1]:9464", web_kinds.Address("::1", 9464), "[::1]:9464"),
        ("[fe80::1%eth0]:1", web_kinds.Address("fe80::1%eth0", 1), "[fe80::1%eth0]:1"),
        ("0.0.0.0:0", web_kinds.Address("0.0.0.0", 0), "0.0.0.0:0"),  # a text, read
        ("metrics.internal:65535", web_kinds.Address("metrics.internal", 65535), "metrics.internal:65535"),
        ("unix:/run/admin.sock", web_kinds.Address("", 0, "/run/admin.sock"), "unix:/run/admin.sock"),
        ("unix:admin.sock", web_kinds.Address("", 0, "admin.sock"), "unix:admin.sock"),
    ],
)
def test_an_address_is_read_and_shown(text: str, address: web_kinds.Address, shown: str) -> None:
    kind = web_kinds.AdminAddress()
    assert kind.from_text(text) == address
    assert kind.show(address) == shown
    assert kind.from_data(kind.from_text(shown)) == address


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("9464", "'9464' is not an address, write :9464 for a port of this machine alone"),
        ("::1:9464", "'::1:9464' is not an address, write an IPv6 address in brackets, such as [::1]:9464"),
        ("/run/a.sock", "'/run/a.sock' is not an address, write unix:/run/a.sock for a Unix socket"),
        ("localhost", "'localhost' is not an address, write host:port, :port or unix:PATH, such as 127.0.0.1:9464"),
        ("http://localhost:9464", "'http://localhost:9464' is not an address, write host:port, :port or unix:PATH, such as 127.0.0.1:9464"),
        ("localhost:http", "'localhost:http' is not an address, write host:port, :port or unix:PATH, such as 127.0.0.1:9464"),
        ("", "'' is not an address, write host:port, :port or unix:PATH, such as 127.0.0.1:9464"),
        (":65536", "port 65536 is out of range, it must be between 0 and 65535"),
        ("unix:", "the path is empty, write unix:/run/pronghorn/admin.sock or the like"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_told_the_way_out(text: str, fault: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole of it is below
        web_kinds.AdminAddress().from_text(text)
    assert str(caught.value) == fault
