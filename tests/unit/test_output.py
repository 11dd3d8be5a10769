"""What goes to a stream whose reader is slow, stands still, or is gone: real pipes, sockets and terminals."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import socket
import subprocess
import sys
import textwrap
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pronghorn.observe import output as module
from pronghorn.observe import sinks
from pronghorn.observe.output import LIMIT, Output

PIPE_SIZE = 16 * 4096


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Output]]:
    """Gives an output whose stream is a descriptor, which the test hands over."""
    made: list[tuple[Output, Any]] = []

    def make(descriptor: int) -> Output:
        stream = os.fdopen(descriptor, "w")
        # In the test and not in the fixture: pytest puts its own stdout back between the two.
        monkeypatch.setattr(sys, "stdout", stream)
        output = Output("stdout", Clock())
        made.append((output, stream))
        return output

    yield make
    monkeypatch.undo()
    for output, stream in made:
        with output._lock:  # its thread may be writing
            output._pieces.clear()
        output.close()
        with contextlib.suppress(OSError):
            stream.close()


def read(descriptor: int) -> bytes:
    """What there is to be read at the moment."""
    os.set_blocking(descriptor, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(descriptor, 1 << 20):
            data += piece
    return data


def read_up_to(descriptor: int, end: bytes) -> bytes:
    """Read until that came, as a reader that is back; what waits comes from the output's thread."""
    os.set_blocking(descriptor, True)
    data = b""
    while end not in data:
        data += os.read(descriptor, 1 << 20)
    return data


def line(number: int, size: int = 100) -> str:
    return f"{number:0{size - 1}d}\n"


def numbers(data: bytes) -> list[int]:
    return [int(one[-9:]) for one in data.decode().splitlines()]


# ---- Every kind of descriptor that somebody may not read -----------------------------------------------------------


def pipe() -> tuple[int, int]:
    return os.pipe()


def pair() -> tuple[int, int]:
    near, far = socket.socketpair()
    return near.detach(), far.detach()


def terminal() -> tuple[int, int]:
    master, slave = os.openpty()
    tty.setraw(slave)  # what is read is what was written
    return master, slave


@pytest.mark.parametrize("kind", [pipe, pair, terminal])
def test_nothing_waits_for_a_reader(
    kind: Callable[[], tuple[int, int]], put: Callable[[int], Output]
) -> None:
    reader, writer = kind()
    output = put(writer)
    count = 0
    while not output.waiting():
        output.write(line(count))
        count += 1
    for _ in range(5):
        output.write(line(count))
        count += 1
    assert os.get_blocking(writer), "the mode of a descriptor that others have too is not ours to change"
    output.write("end\n")
    got = read_up_to(reader, b"end\n")
    assert numbers(got.removesuffix(b"end\n")) == list(range(count))
    assert output.dropped == 0
    output.write(line(7))
    assert numbers(read(reader)) == [7]
    os.close(reader)


def test_a_reader_that_is_back_is_told_once_what_it_has_missed(
    put: Callable[[int], Output], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    output.dress = "<{}>\n".format
    total = (LIMIT + PIPE_SIZE) // 100 + 5000
    for number in range(total):
        output.write(line(number))
    assert LIMIT - 100 < output.waiting() <= LIMIT
    assert output.dropped > 4000
    clock: Any = output._clock
    clock.now += 12.34
    output.write(line(0) * 3)
    got = read_up_to(reader, b">\n")
    *lines, told = got.splitlines()
    kept = total + 3 - output.dropped
    assert [int(one) for one in lines] == list(range(kept))
    assert told == b"<%d lines were lost because nobody read stdout for 12.3 s>" % output.dropped
    output.write("next\n")
    assert read(reader) == b"next\n"
    [said] = [record.getMessage() for record in caplog.records]
    assert said == "Access lines are lost: cannot write to stdout (nobody reads it)."
    os.close(reader)


def test_a_reader_that_is_gone(put: Callable[[int], Output], caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    os.close(reader)
    for number in range(3):
        output.write(line(number))
    output.finish()
    assert (output.dropped, output.waiting()) == (3, 0)
    [said] = [record.getMessage() for record in caplog.records]
    assert said == "Access lines are lost: cannot write to stdout ([Errno 32] Broken pipe)."


def test_a_reader_that_goes_while_lines_wait(put: Callable[[int], Output]) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    count = 0
    while not output.waiting():
        output.write(line(count))
        count += 1
    os.close(reader)
    output.finish()
    assert (output.waiting(), output.dropped) == (0, 1)


def test_a_full_disk_costs_lines_and_the_one_after_it_is_whole(tmp_path: Path) -> None:
    program = """
        import logging, resource, sys
        from pathlib import Path
        from pronghorn.observe.output import Output

        sys.stdout = open("log", "w")
        output = Output("stdout")
        output.dress = "<{}>\\n".format
        resource.setrlimit(resource.RLIMIT_FSIZE, (1050, resource.RLIM_INFINITY))
        for number in range(15):
            output.write(f"{number:099}\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        output.write("after\\n")
        sys.stderr.write(str(output.dropped))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr.endswith("5")
    *whole, torn, told, after = (tmp_path / "log").read_text().splitlines()
    assert [int(one) for one in whole] == list(range(10))
    assert torn == "0" * 50
    assert told.startswith("<5 lines were lost because stdout could not be written to (File too large) for ")
    assert after == "after"


# ---- Lines stay whole ----------------------------------------------------------------------------------------------


def test_many_lines_at_once_are_written_in_pieces_that_the_kernel_does_not_cut(
    put: Callable[[int], Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    writes: list[bytes] = []
    real = os.write

    def noted(descriptor: int, data: bytes) -> int:
        writes.append(data)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", noted)
    output.write("".join(map(line, range(100))) + line(100, 5000) + line(101))
    output.finish()
    assert all(data.endswith(b"\n") for data in writes)
    assert sorted(len(data) for data in writes)[-2:] == [4000, 5000]
    assert numbers(read(reader)) == list(range(102))
    os.close(reader)


@pytest.mark.parametrize("size", [4097, 30_000])
def test_a_line_longer_than_a_page_waits_for_room_rather_than_be_cut(
    put: Callable[[int], Output], size: int
) -> None:
    reader, writer = os.pipe()
    other = os.dup(writer)
    output = put(writer)
    filled = 0
    fcntl.fcntl(other, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    while filled + 4096 <= PIPE_SIZE - 4096:
        filled += os.write(other, b"." * 4095 + b"\n")
    output.write(line(7, size))
    output.write(line(8))
    assert output.waiting() == size + 100, "nothing of it is in the pipe"
    os.write(other, b"another's\n")
    got = read_up_to(reader, line(8).encode())
    assert got.splitlines()[-3:] == [b"another's", line(7, size).encode()[:-1], line(8).encode()[:-1]]
    os.close(reader)
    os.close(other)


def test_a_line_longer_than_the_pipe_comes_in_pieces(put: Callable[[int], Output]) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    output.write(line(7, 300_000))
    output.write(line(8))
    assert numbers(read_up_to(reader, line(8).encode())) == [7, 8]
    os.close(reader)


def test_several_processes_and_a_slow_reader() -> None:
    program = """
        import sys
        from pronghorn.observe.output import Output

        output, name = Output("stdout"), sys.argv[1]
        for number in range(400):
            size = 9000 if number % 40 == 0 else 150
            output.write(name * size + "\\n")
        while output.waiting():
            output.finish()
        """
    reader, writer = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), name], stdout=writer)
        for name in "ABC"
    ]
    os.close(writer)
    with os.fdopen(reader, "r") as stream:
        lines = stream.read().splitlines()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(lines) == 1200
    assert [one for one in lines if len(set(one)) != 1 or len(one) not in (150, 9000)] == []


# ---- Ways for where a pipe cannot be opened again -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["NoWait", "Patient"])
def test_a_pipe_that_is_not_ours_to_open(
    put: Callable[[int], Output], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    sink: Any = getattr(sinks, kind)
    monkeypatch.setattr(module, "sink_of", sink)
    count = (2 * PIPE_SIZE) // 100
    for number in range(count):
        output.write(line(number))
    assert output.waiting() >= PIPE_SIZE - 8192
    output.write("end\n")
    got = read_up_to(reader, b"end\n")
    assert numbers(got.removesuffix(b"end\n")) == list(range(count))
    os.close(reader)


def test_who_may_not_open_the_pipe_of_another_user() -> None:
    program = """
        import os, sys
        from pronghorn.observe.sinks import sink_of
        os.setgid(65534)
        os.setuid(65534)
        sys.stderr.write(type(sink_of(sys.stdout)).__name__)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr in {"NoWait", "Patient"}, "these tests run as root, and so does whoever made the pipe"


# ---- Streams that change, forks, threads, signal handlers ----------------------------------------------------------


def test_what_is_put_in_the_place_of_the_stream_is_written_to(
    put: Callable[[int], Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    output.write("one\n")
    monkeypatch.setattr(sys, "stdout", memory := io.StringIO())
    output.write("zwei, drei: \u00e4\n")
    monkeypatch.setattr(sys, "stdout", None)
    output.write("nobody's\n")
    assert (read(reader), memory.getvalue(), output.dropped) == (b"one\n", "zwei, drei: \u00e4\n", 0)
    os.close(reader)


def test_another_file_under_the_same_number_is_found_within_a_second(
    put: Callable[[int], Output], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    output.write("one\n")
    with (tmp_path / "log").open("wb") as file:
        os.dup2(file.fileno(), writer)
    clock: Any = output._clock
    clock.now += 1
    output.write("two\n")
    assert (read(reader), (tmp_path / "log").read_bytes()) == (b"one\n", b"two\n")
    os.close(reader)


def test_a_closed_stream_whose_number_is_another_file_s_by_now(
    put: Callable[[int], Output], tmp_path: Path
) -> None:
    (tmp_path / "log").touch()
    output = put(os.open(tmp_path / "log", os.O_WRONLY))
    output.write("one\n")
    number = sys.stdout.fileno()
    sys.stdout.close()
    with (tmp_path / "data").open("wb") as file:
        file_number = file.fileno()
        os.dup2(file_number, number)
        output.write("two\n")
    if number != file_number:
        os.close(number)
    assert (output.dropped, (tmp_path / "data").read_bytes()) == (1, b"")


def test_threads_write_whole_lines_in_their_order(put: Callable[[int], Output]) -> None:
    reader, writer = os.pipe()
    output = put(writer)

    def write(name: str) -> None:
        for number in range(500):
            output.write(f"{name} {number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    data = b""
    while any(thread.is_alive() for thread in threads) or output.waiting():
        data += read(reader)
    lines = [one.split() for one in (data + read(reader)).decode().splitlines()]
    for name in "abc":
        assert [int(number) for who, number in lines if who == name] == list(range(500))
    os.close(reader)


def test_a_child_does_not_write_what_waits_in_its_parent() -> None:
    program = """
        import os, sys
        from pronghorn.observe import output

        stdout = output.of("stdout")
        while not stdout.waiting():
            stdout.write("parent\\n")
        if not os.fork():
            assert (stdout.waiting(), stdout.dropped) == (0, 0)
            stdout.write("child\\n")
            os.write(2, b"go")
            while stdout.waiting():
                stdout.finish()
            os._exit(0)
        os.wait()
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.read(2) == b"go"  # both wait now
        lines = process.stdout.read().splitlines()
        assert process.wait(60) == 0
    assert lines.count(b"child") == 1
    assert set(lines) == {b"parent", b"child"}


def test_the_end_of_the_process_waits_for_a_second_at_most() -> None:
    program = """
        import sys
        from pronghorn.observe import output

        for _ in range(2000):
            output.of("stdout").write("." * 99 + "\\n")
        """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert process.wait(60) == 0
    assert process.stdout is not None
    with process.stdout as stream:
        assert set(stream.read().splitlines()) == {b"." * 99}


def test_a_signal_handler_that_logs_in_the_middle_of_a_write(
    put: Callable[[int], Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    output = put(writer)
    output.write(line(0))
    real = os.write
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(BlockingIOError))
    output.write(line(1))
    again: list[int] = []

    def interrupted(descriptor: int, data: bytes) -> int:
        if not again:
            again.append(1)
            output.write(line(2))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", interrupted)
    assert numbers(read_up_to(reader, line(2).encode())) == [0, 1, 2]
    os.close(reader)


def test_one_output_for_each_stream() -> None:
    assert module.of("stdout") is module.of("stdout")
    assert module.of("stdout") is not module.of("stderr")
