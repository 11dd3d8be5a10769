"""nghttp and h2load, which show and do what others hide: pushes, padding, CONTINUATION, small windows, hundreds of streams."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.h2_clients.kit import SIZE, Origin, body, described, ensured, run
from tests.conformance.h2_clients.nghttp import frames


@pytest.fixture(scope="session")
def nghttp() -> str:
    return ensured("nghttp", "nghttp2-client")


def test_settings_are_exchanged_and_the_stream_ends(nghttp: str, origin: Origin) -> None:
    told = frames(run(nghttp, "--verbose", f"{origin.url}/"))
    assert "[SETTINGS_MAX_CONCURRENT_STREAMS(0x03):100]" in told
    assert "[SETTINGS_ENABLE_CONNECT_PROTOCOL(0x08):1]" in told
    assert told.count("recv SETTINGS frame") == 2  # the server's, and its acknowledgement of ours
    assert ":status: 200" in told
    assert "; END_STREAM" in told.partition("recv DATA")[2]


@pytest.mark.parametrize(
    "options",
    [
        ("--padding=255",),
        ("--continuation",),
        ("--header-table-size=0",),
        ("--header-table-size=100", "--header-table-size=65536"),
        ("--expect-continue",),
        ("--max-concurrent-streams=1",),
        ("--no-dep",),
    ],
    ids=" ".join,
)
def test_whatever_the_frames_look_like(nghttp: str, origin: Origin, options: tuple[str, ...]) -> None:
    sent = body(300_001)
    (origin.folder / "upload").write_bytes(sent)
    upload = f"--data={origin.folder}/upload"
    assert run(nghttp, *options, upload, f"{origin.url}/describe") == described(sent)
    assert run(nghttp, *options, upload, f"{origin.url}/echo") == sent


@pytest.mark.parametrize("bits", [8, 13, 30])
def test_whatever_the_windows_are(nghttp: str, origin: Origin, bits: int) -> None:
    # The connection's cannot be made smaller than 65,535 bytes.
    windows = (f"--window-bits={bits}", f"--connection-window-bits={max(16, bits)}")
    size = 100_000 if bits == 8 else SIZE
    (origin.folder / f"file-{bits}").write_bytes(body(size))
    assert run(nghttp, *windows, f"{origin.url}/file?file-{bits}") == body(size)


def test_a_push_is_promised_and_kept(nghttp: str, clear: Origin) -> None:
    with clear.telling("app: pushed GET yes"):
        told = frames(run(nghttp, "--verbose", f"{clear.url}/push"))
    # The fields are shown before the frame that they are in.
    fields = told.partition("recv PUSH_PROMISE frame")[0]
    received = re.findall(r"^recv \(stream_id=\d+\) (\S+): (.*)$", fields, re.MULTILINE)
    assert {(":method", "GET"), (":path", "/pushed"), ("x-pushed", "yes")} <= set(received)
    assert "pushed it" in told
    assert told.count(":status: 200") == 2


def test_who_wants_no_push_gets_none(nghttp: str, clear: Origin) -> None:
    with clear.telling("app: may not push"):
        told = frames(run(nghttp, "--verbose", "--no-push", f"{clear.url}/push"))
    assert "PUSH_PROMISE" not in told
    assert "pushing" in told


def test_a_refused_upload_has_its_answer_and_is_told_to_stop(nghttp: str, origin: Origin) -> None:
    upload = f"--data={origin.folder}/large"
    told = frames(run(nghttp, "--verbose", upload, f"{origin.url}/refuse"))
    assert ":status: 403" in told
    # RFC 9113, section 8.1: it does no harm, and spares the rest of the body.
    assert "(error_code=NO_ERROR(0x00))" in told.partition("recv RST_STREAM frame")[2]


def test_hints_and_trailers_are_frames_of_their_own(nghttp: str, origin: Origin) -> None:
    hinted = frames(run(nghttp, "--verbose", f"{origin.url}/hints"))
    assert hinted.count(":status: 103") == 2
    assert hinted.index(":status: 103") < hinted.index(":status: 200")
    trailed = frames(run(nghttp, "--verbose", "--header=te: trailers", f"{origin.url}/trailers"))
    assert "x-checksum: 17" in trailed.partition("summed up")[2]


def test_trailers_of_a_request_are_no_headers(nghttp: str, clear: Origin) -> None:
    (clear.folder / "upload").write_bytes(b"a body")
    upload = (f"--data={clear.folder}/upload", "--trailer=x-admin: yes", "--header=te: trailers")
    with clear.telling("app: has") as seen:
        assert run(nghttp, *upload, f"{clear.url}/trailers") == b"summed up"
    assert "content-length" in seen[0]
    assert "x-admin" not in seen[0]


@pytest.fixture(scope="session")
def h2load() -> str:
    return ensured("h2load", "nghttp2-client")


class TestH2Load:
    """Many streams on a few connections, each of which has to succeed."""

    @pytest.mark.parametrize("streams", [1, 100, 300])
    def test_every_request_is_answered(self, h2load: str, origin: Origin, streams: int) -> None:
        report = run(
            h2load, "--clients=4", f"--max-concurrent-streams={streams}", "--requests=2000", f"{origin.url}/"
        ).decode()
        assert "2000 succeeded, 0 failed" in report
        assert "2000 2xx" in report
        assert f"Application protocol: {'h2' if origin.tls else 'h2c'}" in report

    def test_every_upload_arrives(self, h2load: str, origin: Origin) -> None:
        (origin.folder / "upload").write_bytes(body(100_000))
        report = run(
            h2load,
            "--clients=4",
            "--max-concurrent-streams=20",
            "--requests=400",
            f"--data={origin.folder}/upload",
            f"{origin.url}/describe",
        ).decode()
        assert "400 succeeded, 0 failed" in report
        assert re.search(r"\(\d+\) headers", report)
        # Each answer was the size and the digest.
        assert f"({400 * len(described(body(100_000)))}) data" in report

    def test_small_windows_do_not_stall(self, h2load: str, origin: Origin, tmp_path: Path) -> None:
        report = run(
            h2load,
            "--clients=2",
            "--max-concurrent-streams=50",
            "--requests=200",
            "--window-bits=14",
            "--connection-window-bits=16",
            f"{origin.url}/part?large",
        ).decode()
        assert "200 succeeded, 0 failed" in report
        assert f"({200 * 500_000}) data" in report
