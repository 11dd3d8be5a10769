"""Count files: who has which, what is in them, and that a number in one never falls."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from pronghorn.errors import UsageError
from pronghorn.observe import metrics, output, slots
from pronghorn.observe.counts import Counts, code_class
from pronghorn.observe.reading import Reading
from pronghorn.observe.responses import ResponseCounts
from tests.support.counted import Clock, exchange, observer, process
from tests.support.waiting import until

SECOND = 1_000_000_000


def answered(folder: Path) -> int:
    return sum(Reading.of(folder).requests.values())


# Slots.


def test_two_that_live_at_a_time_never_share_a_file(tmp_path: Path) -> None:
    with process(tmp_path, 1) as (_, first), process(tmp_path, 2) as (_, second):
        assert (first, second) == (0, 1)
        assert answered(tmp_path) == 3
        assert [row.slot for row in Reading.of(tmp_path).workers] == [0, 1]


def test_two_of_one_process_do_not_either(tmp_path: Path) -> None:
    first, second = Counts(tmp_path), Counts(tmp_path)
    assert (first.number, second.number) == (0, 1)
    first.close()
    second.close()


def room(folder: Path) -> int:
    """Bytes that the count files have, holes left out."""
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


def test_what_will_be_written_to_has_its_room_beforehand(tmp_path: Path) -> None:
    """A full file system cannot give a hole its memory, and the process that writes there is ended by SIGBUS."""
    counts = Counts(tmp_path)
    block = metrics.BLOCK * 8
    begun = room(tmp_path)
    assert begun >= metrics.BLOCKS_AT * 8 + 2 * block
    observed = observer(counts)
    observed.response_complete(exchange())
    assert room(tmp_path) == begun
    for number in range(8):
        observed._place(f"/{number}")
    assert room(tmp_path) >= begun + 7 * block
    counts.close()


def test_a_file_that_never_got_its_room_is_not_filled_by_a_reader() -> None:
    """In memory even a look at a hole through a mapping asks for memory; where there is none that is SIGBUS."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        with (folder / "worker-0.counts").open("wb") as file:
            file.truncate(metrics.WORDS * 8)
        assert Reading.of(folder).workers == []
        assert room(folder) == 0


def test_a_route_for_which_there_is_no_room_is_one_of_all_others(tmp_path: Path) -> None:
    counts = Counts(tmp_path)
    asked: list[tuple[int, int]] = []

    def claim(start: int, count: int) -> bool:
        asked.append((start, count))
        return False

    ResponseCounts(counts.words, Clock(), claim).response_complete(exchange(route="/items"))
    assert asked == [(metrics.BLOCKS_AT + metrics.BLOCK, metrics.BLOCK)]
    assert {route for route, _, _ in Reading.of(tmp_path).requests} == {metrics.OTHER_ROUTES}
    counts.close()


def test_a_successor_goes_on_from_where_a_killed_process_was(tmp_path: Path) -> None:
    with process(tmp_path, 3) as (running, number):
        assert number == 0
        running.kill()
        running.wait()
    assert answered(tmp_path) == 3
    assert Reading.of(tmp_path).workers == []
    with process(tmp_path, 4) as (_, number):
        assert number == 0
        assert answered(tmp_path) == 7
    assert answered(tmp_path) == 7
    assert len(list(tmp_path.iterdir())) == 1


def test_files_are_as_many_as_processes_at_a_time(tmp_path: Path) -> None:
    for _ in range(3):
        with process(tmp_path, 1), process(tmp_path, 1):
            pass
    assert answered(tmp_path) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker-0.counts", "worker-1.counts"]


def test_a_successor_begins_its_row_anew(tmp_path: Path) -> None:
    with Counted(tmp_path) as counts:
        counts.words[metrics.FIELDS["connections"]] = 5
    with Counted(tmp_path):
        (row,) = Reading.of(tmp_path).workers
        assert (row.pid, row.connections, row.state) == (os.getpid(), 0, "starting")


@contextlib.contextmanager
def Counted(folder: Path, **values: Any) -> Any:  # noqa: N802  # reads like the class
    counts = Counts(folder, **values)
    try:
        yield counts
    finally:
        counts.close()


# Threads of earlier tests may still read a pipe here; the child takes no lock of theirs.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_hold_the_number(tmp_path: Path) -> None:
    counts = Counts(tmp_path)
    context = multiprocessing.get_context("fork")
    runs, go_on = context.Event(), context.Event()

    def stay() -> None:
        runs.set()
        go_on.wait()

    child = context.Process(target=stay)
    child.start()
    try:
        assert runs.wait(30)
        counts.close()
        with Counted(tmp_path) as again:
            assert again.number == 0
    finally:
        go_on.set()
        child.join()


def test_a_look_at_the_files_costs_nobody_its_number(tmp_path: Path) -> None:
    (tmp_path / "worker-0.counts").touch()
    looking = slots.living(tmp_path)
    assert next(looking)[0].name == "worker-0.counts"  # in the middle of it, and holding everybody up
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    looking.close()  # type: ignore[attr-defined]
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(folder)


def test_who_is_stopped_in_the_middle_of_a_look_holds_nobody_up_for_ever(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with Counted(tmp_path) as counts:
        assert counts.number == 0
    os.close(folder)


# The folder.


def test_a_folder_of_our_own_goes_when_it_is_closed() -> None:
    folder = slots.directory(None)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "counter_0.db").touch()
    folder.close()
    assert not folder.path.exists()


# Makes a folder of its own so many times, and is killed with the last one.
MAKES = """
import os, signal, sys
from pronghorn.observe import slots

for _ in range(int(sys.argv[1])):
    folder = slots.directory(None)
    slots.take(folder.path)
    print(folder.path, flush=True)
    folder.close()
folder = slots.directory(None)
print(folder.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_server_has_left_goes_when_the_next_one_starts() -> None:
    done = subprocess.run([sys.executable, "-c", MAKES, "0"], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    with contextlib.closing(slots.directory(None)), contextlib.closing(slots.directory(None)) as another:
        assert another.path.exists()
        # Another server of this machine may be the next one, and be at it just now.
        until(lambda: not Path(done.stdout.strip()).exists(), "it stays")


def test_those_who_make_theirs_at_the_same_time_lose_none() -> None:
    """Each looks for deserted folders while the others are between making one and having it."""
    with contextlib.ExitStack() as stack:
        makers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", MAKES, "100"],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(3)
        ]
        for maker in makers:
            out, err = maker.communicate()
            assert (maker.returncode, err, len(out.splitlines())) == (-signal.SIGKILL, "", 101)
    slots.directory(None).close()


def test_only_what_nobody_has_is_deserted(tmp_path: Path) -> None:
    names = ("pronghorn-dead", "pronghorn-alive", "pronghorn-orphans", "pronghorn-not-ours", "other")
    for name in names:
        (tmp_path / name).mkdir()
        if name != "pronghorn-not-ours":
            (tmp_path / name / "owner").touch()
    (tmp_path / "pronghorn-file").touch()
    (tmp_path / "pronghorn-link").symlink_to(tmp_path / "pronghorn-dead")
    with (
        (tmp_path / "pronghorn-alive/owner").open() as owner,
        process(tmp_path / "pronghorn-orphans", 1),
    ):
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert [path.name for path in slots.deserted(tmp_path)] == ["pronghorn-dead"]
    assert {path.name for path in slots.deserted(tmp_path)} == {
        "pronghorn-dead",
        "pronghorn-alive",
        "pronghorn-orphans",
    }


def test_a_folder_of_the_users_is_made_and_emptied_and_stays(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b"
    with contextlib.closing(slots.directory(str(wanted))) as folder:
        with Counted(folder.path) as counts:
            observer(counts).response_complete(exchange())
        (wanted / "counter_0.db").touch()
        (wanted / "mine.txt").touch()
    with contextlib.closing(slots.directory(str(wanted))):
        assert [path.name for path in wanted.iterdir()] == ["mine.txt"]


def test_what_belongs_to_the_living_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "counter_0.db").touch()
    with process(tmp_path, 1):
        slots.directory(str(tmp_path))
        assert {path.name for path in tmp_path.iterdir()} == {"worker-0.counts", "counter_0.db"}


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^--metrics-dir: .*/file' cannot be used: file exists"):
        slots.directory(str(tmp_path / "file"))


# What is in a file.


def test_every_cell_has_its_place() -> None:
    places = [place for metric in metrics.METRICS if metric.cells for place in metrics.cells(metric).values()]
    places += metrics.FIELDS.values()
    assert sorted(places) == list(range(1, metrics.FIRST_BYTES_AT))
    assert metrics.BLOCKS_AT + metrics.ROUTES * metrics.BLOCK == metrics.WORDS
    assert len({metric.name for metric in metrics.METRICS}) == len(metrics.METRICS)


def test_a_file_of_another_layout_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.counts"
    path.write_bytes(b"\x01" * metrics.WORDS * 8)
    assert answered(tmp_path) == 0
    with Counted(tmp_path) as counts:
        observer(counts).response_complete(exchange())
        assert answered(tmp_path) == 1


@pytest.mark.parametrize("size", [0, 4, 4096])
def test_a_file_that_is_too_short_is_replaced(tmp_path: Path, size: int) -> None:
    (tmp_path / "worker-0.counts").write_bytes(metrics.LAYOUT.to_bytes(8, "little").ljust(size, b"\1")[:size])
    assert answered(tmp_path) == 0
    with Counted(tmp_path) as counts:
        observer(counts).response_complete(exchange())
        assert answered(tmp_path) == 1


def test_a_response_is_counted_by_method_status_and_route(tmp_path: Path) -> None:
    with Counted(tmp_path) as counts:
        count = observer(counts).response_complete
        count(exchange("GET", route="/a/{b}"))
        count(exchange("GET", route="/a/{b}", status=404))
        count(exchange("PURGE", status=0, bytes_in=7, bytes_out=0))
        count(exchange("GET", status=101))
        assert answered(tmp_path) == 4
    reading = Reading.of(tmp_path)
    assert reading.requests == {
        ("/a/{b}", "GET", "2xx"): 1,
        ("/a/{b}", "GET", "4xx"): 1,
        ("", "OTHER", "none"): 1,
        ("", "GET", "1xx"): 1,
    }
    assert reading.total(metrics.BYTES_IN) == 7
    assert reading.total(metrics.BYTES_OUT) == 3 * 13


class Found:
    path = "/items/{id}"


class Broken:
    @property
    def path(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("scope", "route"),
    [
        ({"extensions": {"pronghorn.route": "/own"}, "route": Found()}, "/own"),
        ({"extensions": {}, "route": Found()}, "/items/{id}"),
        ({"extensions": {}, "path_template": "/litestar/{id:int}"}, "/litestar/{id:int}"),
        ({"extensions": {}, "route": object()}, ""),
        ({"extensions": {}, "route": Broken()}, ""),
        ({"extensions": {"pronghorn.route": ["/a"]}}, ""),
        ({"extensions": {"pronghorn.route": 5}}, ""),
        ({"extensions": {"pronghorn.route": "\ud800"}}, ""),
        ({"extensions": {"pronghorn.route": ""}}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_the_route_is_what_the_application_says_whatever_that_is(
    tmp_path: Path, scope: Any, route: str
) -> None:
    with Counted(tmp_path) as counts:
        observer(counts).response_complete(exchange(scope=scope))
        assert Reading.of(tmp_path).requests == {(route, "GET", "2xx"): 1}


def test_routes_beyond_the_table_are_counted_together(tmp_path: Path) -> None:
    names = [f"/{number}" for number in range(metrics.ROUTES + 20)]
    with Counted(tmp_path) as counts:
        count = observer(counts)
        for name in [*names, *names]:
            count.response_complete(exchange(route=name))
        count.response_complete(exchange(route="/" + "x" * metrics.NAME_BYTES))
    requests = Reading.of(tmp_path).requests
    own = metrics.ROUTES - 2  # less none and all others
    assert [requests[name, "GET", "2xx"] for name in names[:own]] == [2] * own
    assert requests["(other)", "GET", "2xx"] == 2 * (len(names) - own) + 1
    assert len(requests) == own + 1


def test_a_successor_knows_the_routes(tmp_path: Path) -> None:
    for _ in range(2):
        with Counted(tmp_path) as counts:
            for route in ("/ä", "/b", None):
                observer(counts).response_complete(exchange(route=route))
    assert Reading.of(tmp_path).requests == {
        ("/ä", "GET", "2xx"): 2,
        ("/b", "GET", "2xx"): 2,
        ("", "GET", "2xx"): 2,
    }


def test_durations_and_first_bytes(tmp_path: Path) -> None:
    with Counted(tmp_path) as counts:
        clock = Clock(100.005)
        count = observer(counts, clock).response_complete
        count(exchange())  # whole: its first byte is its end
        clock.now = 103.0
        count(exchange(first_byte=100.001))
        clock.now = 1000.0
        count(exchange(route="/slow"))
    reading = Reading.of(tmp_path)
    five = metrics.BOUNDS.index(0.005)
    assert [number for number, count in enumerate(reading.duration.counts) if count] == [five, 11, 13]
    assert reading.duration.total == pytest.approx(0.005 + 3 + 900)
    assert reading.durations["/slow"].count == 1
    # A bound belongs to its bucket, but for what a float makes of the difference.
    assert sum(reading.first_byte.counts[:2]) == 1
    assert reading.first_byte.counts[five] == 1
    assert reading.first_byte.count == 3
    assert reading.first_byte.total == pytest.approx(0.005 + 0.001 + 900)


def test_sums_wait_for_the_next_second(tmp_path: Path, service: Any) -> None:
    with Counted(tmp_path) as counts:
        observer(counts).response_complete(exchange(bytes_in=3))
        reading = Reading.of(tmp_path)
        assert (reading.duration.count, reading.duration.total, reading.first_byte.count) == (1, 0.0, 0)
        for _ in range(2):
            counts.publish(service, 0.0, 0)
            reading = Reading.of(tmp_path)
            assert reading.duration.total == pytest.approx(0.02)
            assert reading.first_byte.count == 1
            assert reading.total(metrics.BYTES_IN) == 3
            assert reading.total(metrics.BYTES_OUT) == 13


def test_an_exemplar_is_renewed_once_a_second(tmp_path: Path) -> None:
    with Counted(tmp_path) as counts:
        clock = Clock()
        count = observer(counts, clock).response_complete
        bucket = metrics.BOUNDS.index(0.025)

        def told() -> str:
            return Reading.of(tmp_path).exemplars["", bucket].request_id

        count(exchange(request_id="first"))
        count(exchange(request_id="second"))
        assert told() == "first"
        clock.now += 0.001 + 1.0
        count(exchange(started=clock.now - 0.02, request_id="third"))
        assert told() == "third"
        count(exchange(started=clock.now - 5, request_id="slow"))
        assert told() == "third"


@pytest.mark.parametrize("request_id", ["", "x" * (metrics.ID_BYTES + 1)])
def test_no_exemplar_without_an_id_that_fits(tmp_path: Path, request_id: str) -> None:
    with Counted(tmp_path) as counts:
        observer(counts).response_complete(exchange(request_id=request_id))
        assert Reading.of(tmp_path).exemplars == {}


def test_an_exemplar_that_is_half_written_is_not_told(tmp_path: Path) -> None:
    with Counted(tmp_path) as counts:
        observer(counts).response_complete(exchange(request_id="a" * metrics.ID_BYTES))
        place = metrics.EXEMPLARS_AT + metrics.BOUNDS.index(0.025) * metrics.EXEMPLAR
        assert len(Reading.of(tmp_path).exemplars) == 1
        for word in range(metrics.EXEMPLAR):
            before = counts.words[place + word]
            counts.words[place + word] = before ^ 0x42
            assert Reading.of(tmp_path).exemplars == {}, word
            counts.words[place + word] = before
        assert len(Reading.of(tmp_path).exemplars) == 1
        # Nothing at all is not taken for an exemplar either, though its checksum may be right.
        counts.words.cast("B")[place * 8 : (place + metrics.EXEMPLAR) * 8] = bytes(metrics.EXEMPLAR * 8)
        counts.words[place] = zlib.crc32(bytes((metrics.EXEMPLAR - 1) * 8))
        assert Reading.of(tmp_path).exemplars == {}


def test_of_two_processes_the_later_exemplar_is_told(tmp_path: Path) -> None:
    with Counted(tmp_path) as first, Counted(tmp_path) as second:
        observer(second).response_complete(exchange(request_id="earlier"))
        observer(first).response_complete(exchange(request_id="later"))
        assert [found.request_id for found in Reading.of(tmp_path).exemplars.values()] == ["later"]


def test_reading_while_somebody_writes(tmp_path: Path) -> None:
    """What is read never falls, and is never more than what was counted."""
    with Counted(tmp_path) as counts:
        count = observer(counts).response_complete
        before = Reading.of(tmp_path)
        for number in range(1, 50):
            count(exchange(route=f"/{number % 7}", request_id=f"id-{number}"))
            now = Reading.of(tmp_path)
            assert sum(now.requests.values()) == number == now.duration.count
            assert all(now.requests[key] >= count for key, count in before.requests.items())
            before = now


# The meter, and what is published.


def test_rare_events_have_their_cells(tmp_path: Path) -> None:
    with Counted(tmp_path) as counts:
        for name in metrics.LIMITS:
            counts.meter.limit(name)
        for kind in metrics.PROTOCOL_ERRORS:
            counts.meter.protocol_error(kind)
        for code in (1000, 1006, 3001, 4999, 2999, 0):
            counts.meter.websocket_closed(code)
        counts.meter.application_error()
    reading = Reading.of(tmp_path)
    assert all(reading.total(metrics.LIMITS_HIT, name) == 1 for name in metrics.LIMITS)
    assert all(reading.total(metrics.ERRORS, kind) == 1 for kind in metrics.PROTOCOL_ERRORS)
    closes = {code: count for (code,), count in reading.sums[metrics.CLOSES.name].items() if count}
    assert closes == {"1000": 1, "1006": 1, "3xxx": 1, "4xxx": 1, "other": 2}
    assert reading.total(metrics.APPLICATION_ERRORS) == 1


def test_lines_that_were_lost_go_on_from_those_of_the_last_process(
    tmp_path: Path, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        monkeypatch.setattr(output.of("stdout"), "dropped", 3)
        with Counted(tmp_path) as counts:
            counts.publish(service, 0.0, 0)
            counts.publish(service, 0.0, 0)
    reading = Reading.of(tmp_path)
    assert reading.total(metrics.LOG_DROPS, "stdout") == 6
    assert reading.total(metrics.LOG_DROPS, "stderr") == 0


def test_codes_are_bounded() -> None:
    assert {code_class(code) for code in range(-5, 6000)} == set(metrics.CODES)


def test_what_a_service_has_counted_is_added_to_what_others_had(tmp_path: Path, service: Any) -> None:
    for _ in range(2):
        with Counted(tmp_path, worker=1, generation=4) as counts:
            counts.enter("ready")
            service.accepted = service.accepted_websockets = 0
            for _ in range(3):
                service.accepted += 5
                service.accepted_websockets += 1
                counts.publish(service, 0.25, 1000)
                counts.publish(service, 0.0, 1000)
            (row,) = Reading.of(tmp_path).workers
    assert (row.worker, row.generation, row.state, row.limit) == (1, 4, "ready", 10)
    assert (row.requests, row.in_flight, row.connections, row.websockets) == (9, 3, 2, 1)
    assert (row.rss, row.lag, row.lag_worst) == (1000, 0.0, 0.25)
    reading = Reading.of(tmp_path)
    assert reading.workers == []  # who has left is none of the living
    assert reading.total(metrics.CONNECTIONS_TOTAL) == 30
    assert reading.total(metrics.WEBSOCKETS_TOTAL) == 6


@pytest.fixture
async def service() -> Any:
    from pronghorn.net.h1_connection import H1Connection
    from tests.support.scripted import make_service

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    made = make_service(app, limit_concurrency=10)
    made.requests, made.active, made.open_websockets = 9, 4, 1
    made.connections = {H1Connection(made), H1Connection(made)}
    return made


def test_the_worst_lag_is_forgotten_after_a_while(tmp_path: Path, service: Any) -> None:
    with Counted(tmp_path) as counts:
        worst = []
        for lag in (0.5, *[0.0] * 15):
            counts.publish(service, lag, 0)
            worst.append(Reading.of(tmp_path).workers[0].lag_worst)
    assert worst == [0.5] * 15 + [0.0]


def test_a_supervisor_has_a_file_of_its_own(tmp_path: Path) -> None:
    with Counted(tmp_path, kind=slots.SUPERVISOR) as counts:
        counts.set(metrics.WANTED, value=2)
        counts.add(metrics.STARTS, count=3)
        counts.add(metrics.WORKER_EXITS, "retired")
        reading = Reading.of(tmp_path)
        assert reading.workers == []
        assert reading.supervisor is not None
        assert (reading.supervisor.pid, reading.supervisor.wanted) == (os.getpid(), 2)
        assert (reading.supervisor.starts, reading.supervisor.exits) == (3, {"retired": 1})
    gone = Reading.of(tmp_path)
    assert gone.supervisor is None
    assert gone.total(metrics.STARTS) == 3
    assert gone.total(metrics.WANTED) == 0  # a gauge of the dead says nothing


def test_quantiles(tmp_path: Path) -> None:
    with Counted(tmp_path) as counts:
        clock = Clock()
        observing = observer(counts, clock)
        count = observing.response_complete
        assert Reading.of(tmp_path).duration.quantile(0.5) is None
        for _ in range(90):
            clock.now = 100.004
            count(exchange())
        observing.publish()
        before = Reading.of(tmp_path)
        for _ in range(10):
            clock.now = 100.3
            count(exchange())
    after = Reading.of(tmp_path)
    assert after.duration.quantile(0.5) == pytest.approx(0.0025 + 0.0025 * 50 / 90)
    assert after.duration.quantile(0.95) == pytest.approx(0.25 + 0.25 * 5 / 10)
    since = after.duration - before.duration
    assert since.count == 10
    assert since.total == pytest.approx(3.0)


def test_a_file_that_somebody_else_left_there_is_no_reason_to_fail(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "notes.counts").write_text("mine")
    with caplog.at_level(logging.WARNING):
        assert Reading.of(tmp_path).workers == []
