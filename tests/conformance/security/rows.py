"""The rows of security.md that are about what a client sends: the bytes, and what has to come of them.

A row that has a golden request (tests/conformance/requests) is written there and taken over; the rest is written here.
The CVE names the class of defect, in whichever server it was found.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.conformance.kit import ALL, REQUESTS


@dataclass(frozen=True)
class Row:
    """`status` is the refusal, or None where the requests are served; `served` is how many there are that are served.

    `begins` says that the head is good and the body is not: the application may see the request, but never the end of
    it. `last` says that nothing may follow `raw` on the connection, `eof` that the client ends it there; `heads` are the
    positions of HEAD requests. `seen` are fields of the last request served.
    """

    section: str
    name: str
    raw: bytes
    status: int | None = 400
    served: int = 0
    begins: bool = False
    last: bool = False
    eof: bool = False
    heads: tuple[int, ...] = ()
    cve: str = ""
    seen: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        return f"{self.section}: {self.name}" + (f" ({self.cve})" if self.cve else "")


def head(line: str, *fields: str, host: str = "Host: a") -> bytes:
    """A request head; `fields` are whole lines."""
    lines = [line, *([host] if host else []), *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def get(*fields: str, target: str = "/", host: str = "Host: a") -> bytes:
    return head(f"GET {target} HTTP/1.1", *fields, host=host)


def post(*fields: str) -> bytes:
    return head("POST / HTTP/1.1", *fields)


def chunks(body: bytes) -> bytes:
    return post("Transfer-Encoding: chunked") + body


SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def _framing() -> list[Row]:
    def refused(name: str, *fields: str, status: int = 400, cve: str = "") -> Row:
        return Row("framing", name, post(*fields) + SMUGGLED, status, cve=cve)

    return [
        *(
            refused(f"Content-Length {value!r}", f"Content-Length: {value}", cve="CVE-2022-24761")
            for value in ("2 2", "2;", "2\t2", "\xb2", "0x", "2.0", "1e1", "-0", "+0", '"2"', "0,", ",0", "0, 0")
        ),
        refused("Content-Length over 64 bits, which would wrap to 2", "Content-Length: 18446744073709551618"),
        refused("Content-Length twice, once empty", "Content-Length:", "Content-Length: 0", cve="CVE-2020-10108"),
        refused("Content-Length of two lines in two cases", "content-length: 0", "CONTENT-LENGTH: 42"),
        *(
            refused(f"Transfer-Encoding {value!r}", f"Transfer-Encoding: {value}", cve="CVE-2019-16786")
            for value in ("", ",", "chunked,", "chunked;q=1", '"chunked"', "chunked chunked", "chunked\x0b", "chunke")
        ),
        *(
            refused(f"Transfer-Encoding in two lines, {other!r} last", "Transfer-Encoding: chunked", f"Transfer-Encoding: {other}", cve="CVE-2024-1135")
            for other in ("identity", "chunked", "x", "")
        ),
        refused("Transfer-Encoding with a tab before the colon", "Transfer-Encoding\t: chunked"),
        refused("Transfer-Encoding with NUL before the colon", "Transfer-Encoding\0: chunked"),
        refused("Transfer-Encoding folded onto its name", "Transfer-Encoding:\r\n chunked", cve="CVE-2024-27982"),
        refused("folded first line", " Transfer-Encoding: chunked"),
        refused("folded line of a single tab", "X: y", "\t"),
        refused("Transfer-Encoding behind a bare CR", "X: y\rTransfer-Encoding: chunked", cve="CVE-2023-30589"),
        refused("Transfer-Encoding behind CR CR LF", "X: y\r\r\nTransfer-Encoding: chunked"),
        refused("Transfer-Encoding behind a bare LF", "X: y\nTransfer-Encoding: chunked", cve="CVE-2019-16785"),
        refused("Transfer-Encoding behind NUL", "X: y\0Transfer-Encoding: chunked"),
        refused("line with nothing before its colon", ": chunked"),
        refused("line without a colon", "Transfer-Encoding chunked"),
        refused("name with a character above ASCII", "Transfer\xad-Encoding: chunked"),
        refused("deflate, chunked", "Transfer-Encoding: deflate, chunked", status=501),
        refused("chunked in another case with Content-Length", "Content-Length: 5", "TRANSFER-ENCODING: Chunked"),
        Row("framing", "head that ends with LF LF", b"GET / HTTP/1.1\r\nHost: a\n\n"),
        Row("framing", "underscore twins of the fields of framing are dropped",
            post("Content_Length: 40", "Transfer_Encoding: chunked") , None, 1, seen=(("host", "a"),)),
        Row("framing", "body of a GET belongs to it", get("Content-Length: 4") + b"GET ", None, 1),
        Row("framing", "body that looks like a request", post(f"Content-Length: {len(SMUGGLED)}") + SMUGGLED, None, 1),
    ]  # fmt: skip


def _chunked() -> list[Row]:
    def broken(name: str, body: bytes, status: int = 400, cve: str = "") -> Row:
        return Row("chunked bodies", name, chunks(body + SMUGGLED), status, begins=True, cve=cve)

    def fine(name: str, body: bytes) -> Row:
        return Row("chunked bodies", name, chunks(body), None, 1)

    def cut_off(name: str, body: bytes) -> Row:
        return Row("chunked bodies", name, chunks(body), None, begins=True, eof=True)

    return [
        *(
            broken(f"size {size!r}", size + b"\r\nabc\r\n", cve="CVE-2022-24761")
            for size in (b"0x3", b"+3", b"-3", b"3 ", b" 3", b"3\t", b"3_0", b"3.0", b"3h", b"", b"g", b"\xb3", b"3,3")
        ),
        Row("chunked bodies", "HEAD with a broken body", head("HEAD / HTTP/1.1", "Transfer-Encoding: chunked") + b"x\r\n",
            begins=True, heads=(0,)),
        broken("size of 17 digits that would wrap to 3", b"10000000000000003\r\nabc\r\n"),
        broken("size of 17 zeros", b"00000000000000003\r\nabc\r\n"),
        broken("data longer than its size", b"3\r\nabcd\r\n", cve="CVE-2025-43859"),
        broken("data shorter than its size", b"3\r\nab\r\n", cve="CVE-2025-43859"),
        broken("chunk ended by two other bytes", b"3\r\nabcXX", cve="CVE-2025-43859"),
        broken("chunk ended by LF", b"3\r\nabc\n", cve="CVE-2025-22871"),
        broken("chunk ended by CR", b"3\r\nabc\r"),
        broken("size ended by LF", b"3\nabc\r\n", cve="CVE-2025-22871"),
        broken("size ended by CR", b"3\rabc\r\n"),
        broken("empty line before the first size", b"\r\n3\r\nabc\r\n"),
        broken("empty line between chunks", b"3\r\nabc\r\n\r\n"),
        broken("extension with a bare LF", b"3;a\nb\r\nabc\r\n", cve="CVE-2025-55315"),
        broken("extension with a bare CR", b"3;a\rb\r\nabc\r\n", cve="CVE-2025-55315"),
        broken("extension with NUL", b"3;a\0\r\nabc\r\n"),
        broken("extension of a quoted string that does not end", b'3;a="b\r\nabc\r\n'),
        broken("quoted string with a line end in it", b'3;a="\r\n"\r\nabc\r\n'),
        broken("extension without a name", b"3;\r\nabc\r\n"),
        broken("white space before an extension", b"3 ;a\r\nabc\r\n"),
        broken("extension of 5,000 bytes", b"3;" + b"a" * 5000 + b"\r\nabc\r\n", cve="CVE-2024-22019"),
        broken("extension without an end", b"3;" + b"a" * 100_000, cve="CVE-2024-22019"),
        broken("many extensions on little data", (b"1;" + b"a" * 100 + b"\r\nx\r\n") * 250, cve="CVE-2023-39326"),
        fine("many chunks of one byte", b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"),
        fine("extensions in proportion", (b"80;a=b\r\n" + b"x" * 128 + b"\r\n") * 50 + b'0;c="d\\""\r\n\r\n'),
        fine("trailer X-Forwarded-For", b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"),
        broken("trailer folded", b"0\r\nX: y\r\n z\r\n\r\n"),
        broken("trailer ended by LF", b"0\r\nX: y\n\r\n"),
        broken("trailers ended by LF", b"0\r\nX: y\r\n\n"),
        broken("trailer with a space before its colon", b"0\r\nX : y\r\n\r\n"),
        broken("trailer without a colon", b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
        broken("101 trailers", b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        broken("trailer of 70,000 bytes", b"0\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        cut_off("end of stream straight after the last size", b"3\r\nabc\r\n0\r\n"),
        cut_off("end of stream inside the last line end", b"3\r\nabc\r\n0\r\n\r"),
        cut_off("end of stream inside a chunk", b"3\r\nab"),
        cut_off("end of stream behind a chunk", b"3\r\nabc\r\n"),
        cut_off("end of stream inside a size", b"3\r\nabc\r\n1"),
    ]  # fmt: skip


def _line_and_host() -> list[Row]:
    section = "request line and Host"

    def line(name: str, text: str, status: int = 400, cve: str = "") -> Row:
        return Row(section, name, head(text), status, cve=cve)

    many = [f"X-{number}: y" for number in range(20_000)]
    return [
        *(
            Row(section, f"Host {value!r}", get(host=f"Host: {value}"))
            for value in ("a\tb", "a,b/", 'a"b', "a<b>", "a\\b", "a?b", "a#b", "[::1", "::1", "a:b", "a:123456", "u@a",
                          "http://a", "a:80:80", "\xe4", "a\x7f", "a;b c")
        ),
        Row(section, "Host twice, the same", get("Host: a")),
        Row(section, "Host with a space before the colon", get(host="Host : a")),
        Row(section, "Host in a folded line", get("X: y", " Host: b", host="")),
        line("HTTP/3.0", "GET / HTTP/3.0", 505),
        *(
            line(f"version {version!r}", f"GET / {version}")
            for version in ("HTTP/1.10", "HTTP/11.1", "HTTP/1", "HTTP/1.x", "http/1.1", "HTTP/1.1 ", "HTTP 1.1", "X")
        ),
        line("the connection preface of HTTP/2", "PRI * HTTP/2.0"),
        line("method that no parser knows", "FOO / HTTP/1.1"),
        line("method in lower case", "get / HTTP/1.1"),
        line("method of RTSP in HTTP/1.1", "DESCRIBE / HTTP/1.1"),
        line("RTSP", "DESCRIBE / RTSP/1.0"),
        line("ICE", "SOURCE / ICE/1.0"),
        line("RTSP in the guise of GET", "GET / RTSP/1.0"),
        line("two spaces before the version", "GET /  HTTP/1.1"),
        line("two spaces before the target", "GET  / HTTP/1.1"),
        line("a tab for a space", "GET\t/ HTTP/1.1"),
        line("a space in the target", "GET /a b HTTP/1.1"),
        line("leading space", " GET / HTTP/1.1"),
        line("no target", "GET HTTP/1.1"),
        line("no method", "/ HTTP/1.1"),
        line("method with a character that is none of a token", "GE(T / HTTP/1.1"),
        line("CONNECT with a path", "CONNECT / HTTP/1.1", 405),
        line("target above ASCII", "GET /\xe4 HTTP/1.1"),
        line("target with NUL", "GET /\0 HTTP/1.1"),
        line("target with ESC", "GET /\x1b[31m HTTP/1.1"),
        line("bare CR in the line", "GET /\rHTTP/1.1"),
        line("bare LF in the line", "GET / HTTP/1.1\nX: y"),
        *(
            line(f"target {target!r}", f"GET {target} HTTP/1.1")
            for target in ("a", "a:80", "ftp://a/", "http://", "http:///", "http://u@a/", "http://a b/", "http://a:b/", "?a")
        ),
        Row(section, "absolute-form: the authority replaces Host", get(target="http://b:81/p", host="Host: evil"),
            None, 1, seen=(("host", "b:81"),)),
        line("target of 9,000 bytes", f"GET /{'a' * 9000} HTTP/1.1", 414),
        Row(section, "target without an end", b"GET /" + b"a" * 100_000, 414, last=True),
        Row(section, "101 fields", get(*many[:100]), 431),
        Row(section, "101 fields that would be dropped", get(*(["X_Forwarded_For: y"] * 101)), 431),
        Row(section, "field of 70,000 bytes that would be dropped", get("X_Real_IP: " + "y" * 70_000), 431),
        Row(section, "20,000 fields", get(*many), 431),
        Row(section, "head without an end", get(*many)[:-2], 431, cve="CVE-2025-48956", last=True),
        Row(section, "field of 70,000 bytes", get("X: " + "y" * 70_000), 431, cve="CVE-2025-48956"),
        Row(section, "field name of 70,000 bytes", get("X" * 70_000 + ": y"), 431),
        Row(section, "length over the limit", post("Content-Length: 100001"), 413),
        Row(section, "chunks over the limit", chunks(b"186a1\r\n" + b"x" * 100_001 + b"\r\n" + SMUGGLED), 413, begins=True),
        Row(section, "many chunks over the limit", chunks(b"3e8\r\n" + b"x" * 1000 + (b"\r\n3e8\r\n" + b"x" * 1000) * 100), 413,
            begins=True),
        Row(section, "underscore twin of a forwarding header",
            get("X_Forwarded_For: 6.6.6.6", "X_Real_IP: 6.6.6.6"), None, 1, seen=(("host", "a"),)),
        Row(section, "h2c upgrade with a body: the body is kept",
            post("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "Content-Length: 3") + b"abc",
            None, 1),
        Row(section, "h2c upgrade with a chunked body",
            post("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n", None, 1),
        Row(section, "upgrade with a broken chunked body",
            post("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked") + b"3 \r\nabc\r\n" + SMUGGLED, begins=True),
    ]  # fmt: skip


def _golden() -> list[Row]:
    rows = []
    for golden in ALL:
        why = json.loads((REQUESTS / f"{golden.name}.json").read_text())["why"]
        stays = all(
            request.get("keep_alive", request["http_version"] == "1.1") for request in golden.requests
        )
        rows.append(
            Row(
                section="golden",
                name=golden.name,
                raw=golden.raw,
                status=None if golden.eof or not stays else golden.error,
                served=sum(request["complete"] for request in golden.requests),
                begins=any(not request["complete"] for request in golden.requests),
                last=golden.eof or not stays,
                eof=golden.eof,
                heads=tuple(n for n, request in enumerate(golden.requests) if request["method"] == "HEAD"),
                cve=", ".join(word.strip(".:,") for word in why.split() if word.startswith("CVE-")),
            )
        )
    return rows


ROWS = [*_framing(), *_chunked(), *_line_and_host(), *_golden()]
