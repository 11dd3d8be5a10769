"""What the benchmark reckons: readings of /proc, output of wrk and valgrind, ratios, targets, tables, the picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts.bench import __main__ as command
from scripts.bench import chart, check, environment, inprocess, measure, proc, report, servers
from scripts.bench.measure import Sample
from scripts.bench.servers import SERVERS, BenchError, Server
from scripts.bench.workloads import WORKLOADS

# ---- /proc ----------------------------------------------------------------------------------------------------------


def write_process(folder: Path, pid: int, parent: int, *, ticks: int, rss: int) -> None:
    entry = folder / str(pid)
    entry.mkdir()
    # The command's name may hold blanks and parentheses; user, system and the same of dead children are 14 to 17.
    fields = ["S", str(parent), *["0"] * 9, str(ticks), "1", "2", "3", *["0"] * 20]
    (entry / "stat").write_text(f"{pid} (a) b (c) {' '.join(fields)}\n")
    (entry / "smaps_rollup").write_text(
        f"5 - 7 ---p 00000000 00:00 0 [rollup]\nRss:   {rss} kB\nPss:  1 kB\n"
    )


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """100 with the children 101 and 102, 103 is 101's child; 200 is somebody else's."""
    for pid, parent, ticks in ((100, 1, 10), (101, 100, 20), (102, 100, 30), (103, 101, 40), (200, 1, 999)):
        write_process(tmp_path, pid, parent, ticks=ticks, rss=pid)
    (tmp_path / "self").mkdir()
    (tmp_path / "300").mkdir()  # Ended between the listing and the reading.
    return tmp_path


def test_stat_is_read_from_the_last_parenthesis() -> None:
    assert proc.parse_stat("7 (x) y) S 3 0 0 0 0 0 0 0 0 0 5 6 7 8 20 0") == (3, 26)


def test_cpu_time_is_that_of_a_process_and_its_descendants(machine: Path) -> None:
    assert proc.cpu_seconds(100, machine) == pytest.approx((10 + 20 + 30 + 40 + 4 * 6) / proc.TICKS)
    assert proc.cpu_seconds(999, machine) == 0


def test_memory_is_that_of_a_process_and_its_descendants(machine: Path) -> None:
    assert proc.resident_kilobytes(100, machine) == 100 + 101 + 102 + 103


def test_real_cpu_time_agrees_with_times(tmp_path: Path) -> None:
    """Between two readings of times(2), which counts this process and the children it waited for."""
    subprocess.run([sys.executable, "-c", "sum(range(10**6))"], check=True)
    lower = sum(os.times()[:4])
    measured = proc.cpu_seconds(os.getpid())
    upper = sum(os.times()[:4])
    # times(2) and stat round each of the four figures down to a tick by themselves.
    slack = 4 / proc.TICKS
    assert lower - slack <= measured <= upper + slack


def test_the_cpu_time_of_living_children_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with_child = proc.cpu_seconds(os.getpid())
        of_child = proc.cpu_seconds(child.pid)
        child.communicate(b"\n")
    assert of_child >= 0.3 - 2 / proc.TICKS
    assert with_child >= of_child


# ---- wrk and valgrind -----------------------------------------------------------------------------------------------

WRK = """Running 2s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
    Latency     1.20ms  100.00us   3.00ms   90.00%
  50123 requests in 2.00s, 6.10MB read
Requests/sec:  25061.50
"""


@pytest.mark.parametrize(
    ("took", "seconds"), [("2.00s", 2.0), ("950.5ms", 0.9505), ("1.50m", 90.0), ("900us", 9e-4)]
)
def test_the_output_of_wrk_is_read(took: str, seconds: float) -> None:
    requests, measured = measure.parse_wrk(WRK.replace("2.00s", took))
    assert requests == 50123
    assert measured == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"),
        (WRK + "  Non-2xx or 3xx responses: 12\n", "responses: 12"),
        ("Usage: wrk", "unexpected output"),
    ],
)
def test_trouble_that_wrk_reports_is_an_error(output: str, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        measure.parse_wrk(output)


def test_the_output_of_callgrind_is_read() -> None:
    assert check.parse_callgrind("==7== Events    : Ir\n==7== Collected : 123456789\n") == 123456789
    with pytest.raises(BenchError, match="unexpected output"):
        check.parse_callgrind("valgrind: no such tool")


@pytest.mark.parametrize(
    ("now", "good", "said"),
    [
        ({"get": 1050}, True, "+5.0%"),
        ({"get": 1051}, False, "slower"),
        ({"get": 400}, True, "-60.0%"),
        ({"post": 1}, False, "no baseline"),
    ],
)
def test_more_than_five_percent_is_slower(now: dict[str, int], good: bool, said: str) -> None:
    lines, within = check.compare(now, {"get": 1000})
    assert within is good
    assert said in lines[0]


@pytest.mark.parametrize("workload", check.WORKLOADS)
async def test_what_is_counted_is_answered(workload: str) -> None:
    assert await inprocess.requests(workload, 3) == 3


def test_a_lost_log_line_spoils_the_figure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("line\n" * 95)
    measure._logged(log, 100)
    with pytest.raises(BenchError, match="95 log lines for 101 requests"):
        measure._logged(log, 101)


# ---- Ratios, targets, tables ----------------------------------------------------------------------------------------


def turns(workload: str = "get") -> list[Sample]:
    """The machine is twice as slow in round 2: costs change, ratios do not."""
    return [
        Sample(1, "pronghorn", workload, 20.0, 50_000.0),
        Sample(1, "uvicorn", workload, 40.0, 25_000.0),
        Sample(1, "granian", workload, 25.0, 40_000.0),
        Sample(2, "pronghorn", workload, 40.0, 25_000.0),
        Sample(2, "uvicorn", workload, 80.0, 12_500.0),
    ]


def test_ratios_are_taken_round_by_round() -> None:
    assert report.ratios(turns(), "pronghorn", "uvicorn") == [0.5, 0.5]
    assert report.ratios(turns(), "pronghorn", "granian") == [0.8]
    assert report.ratios(turns(), "pronghorn", "hypercorn") == []


def test_a_row_has_medians_and_ratios() -> None:
    (row,) = report.summarise(turns())
    assert row.cells["pronghorn"] == report.Cell(30.0, 20.0, 40.0, 37_500.0)
    assert row.ratio("uvicorn") == 0.5
    assert row.ratio("uvicorn", "granian") == pytest.approx(0.625)
    assert row.ratio("hypercorn") is None


@pytest.mark.parametrize(
    ("ratio", "target", "said"),
    [
        (0.624, 0.62, "met"),
        (0.63, 0.62, "missed by 2%"),
        (1.24, 0.62, "missed by 100%"),
        (None, 0.62, ""),
        (0.5, None, ""),
    ],
)
def test_a_verdict_says_by_how_much(ratio: float | None, target: float | None, said: str) -> None:
    assert report.verdict(ratio, target) == said


def test_only_measured_targets_are_counted() -> None:
    # 0.50 of uvicorn reaches 0.62, 0.80 of granian misses 0.72.
    assert report.count(report.summarise(turns())) == (1, 2)
    assert report.count(report.summarise([Sample(1, "pronghorn", "get", 1.0)])) == (0, 0)


def test_tables_show_figures_ratios_and_gaps() -> None:
    rows = report.summarise([*turns(), Sample(1, "pronghorn", "rss", 24.0)])
    figures = report.as_text(report.figures(rows, ["pronghorn", "uvicorn", "limit"]))
    assert figures.splitlines()[1].split() == ["GET", "13", "B", "µs", "30.0", "60.0", report.NONE]
    assert "37500" in report.as_text(report.rates(rows, ["pronghorn"]))
    assert "RSS" not in report.as_text(report.rates(rows, ["pronghorn"]))
    page = report.as_markdown(report.comparison(rows))
    assert "| GET 13 B | 0.50 | ≤ 0.62 | met | 0.80 | ≤ 0.72 | missed by 11% |" in page


def test_a_reason_is_given_once_for_all_its_workloads() -> None:
    reason = servers.lacks(SERVERS["limit"], WORKLOADS["post"])
    assert reason
    assert report.why_not({("limit", "post"): reason, ("limit", "io"): reason}) == [
        f"limit, POST 10 KB echo; 10 ms of I/O, 512 connections: {reason}"
    ]


def test_the_picture_has_a_bar_for_each_server_and_the_target() -> None:
    rows = report.summarise(
        [*turns(), Sample(1, "hypercorn", "get", 400.0), Sample(1, "pronghorn", "rss", 24.0)]
    )
    picture = chart.draw(rows, ["pronghorn", "uvicorn", "granian", "hypercorn", "limit"], "a < b")
    root = ET.fromstring(picture)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"0.50", "1.00", "0.62", "10.00", "a < b"} <= set(words)
    assert "limit" not in words  # It has no figure here.
    assert "RSS, idle" not in words  # Nothing to compare with.
    bars = [float(b.get("width", "0")) for b in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert max(bars) == chart.SCALE  # The longest one is cut.
    assert len([line for line in root.iter() if line.get("class") == "target"]) == 1


# ---- The command ----------------------------------------------------------------------------------------------------


def test_every_server_gets_a_turn_at_every_workload_before_the_next_round() -> None:
    options = command.parse(["--servers", "uvicorn,limit", "--workloads", "get,post", "--rounds", "2"])
    order, missing = command.plan(options)
    assert [(number, workload.key, server.name) for number, workload, server in order] == [
        (1, "get", "uvicorn"),
        (1, "get", "limit"),
        (1, "post", "uvicorn"),
        (2, "get", "uvicorn"),
        (2, "get", "limit"),
        (2, "post", "uvicorn"),
    ]
    assert list(missing) == [("limit", "post")]


def test_a_full_run_is_over_in_a_quarter_of_an_hour() -> None:
    order, _ = command.plan(command.parse([]))
    assert command.duration(order, measure.Setup(Path("python"))) < 15 * 60


def test_quick_gives_way_to_what_is_asked_for() -> None:
    options = command.parse(["--quick", "--rounds", "3"])
    assert (options.rounds, options.seconds) == (3, 1)


def test_a_server_comes_from_the_command_line() -> None:
    options = command.parse(["--servers", "uvicorn", "--server", "mine=run {app} --port {port}"])
    assert [server.name for server in options.servers] == ["uvicorn", "mine"]
    mine = options.servers[1]
    fields = {"python": "python3", "port": 8001, "socket": "/run/app.sock"}
    assert servers.words(mine, WORKLOADS["post"], fields) == ["run", "raw:echo", "--port", "8001"]
    assert servers.lacks(mine, WORKLOADS["get"]) == ""
    assert "Unix socket" in servers.lacks(mine, WORKLOADS["nginx"])
    assert "access log" in servers.lacks(mine, WORKLOADS["access"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--server", "no-command"],
        ["--servers", "nobody"],
        ["--servers", ""],
        ["--workloads", "nothing"],
        ["--rounds", "0"],
    ],
)
def test_nonsense_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        command.parse(arguments)
    assert error.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_who_fails_gets_no_other_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fake(number: int, server: Server, workload: object, setup: object) -> Sample:
        asked.append((number, server.name))
        if server.name == "granian":
            raise BenchError("it ended; its output:\nTraceback\nOSError: no")
        return Sample(number, server.name, "get", 10.0, 100.0)

    monkeypatch.setattr(command, "measure", fake)
    order, missing = command.plan(
        command.parse(["--servers", "granian,uvicorn", "--workloads", "get", "--rounds", "2"])
    )
    samples, failures = command.run(order, measure.Setup(Path("python")), missing)
    assert asked == [(1, "granian"), (1, "uvicorn"), (2, "uvicorn")]
    assert (len(samples), failures) == (2, 1)
    assert missing == {("granian", "get"): "it ended; its output: … OSError: no"}
    assert "OSError: no" in capsys.readouterr().out


@pytest.mark.parametrize("server", SERVERS.values(), ids=lambda server: server.name)
def test_a_command_line_is_whole(server: Server) -> None:
    fields = {"python": "/a folder/python", "port": 8001, "socket": "/a folder/app.sock"}
    tcp = servers.words(server, WORKLOADS["get"], fields)
    assert tcp[0] == "/a folder/python"
    assert any("8001" in word for word in tcp)
    unix = servers.words(server, WORKLOADS["nginx"], fields)
    assert any(word.endswith("/a folder/app.sock") for word in unix)
    assert not any("8001" in word for word in unix)
    if server.asgi:
        assert "raw:hello" in tcp
        assert servers.words(server, WORKLOADS["access"], fields) != tcp


def test_every_server_compared_is_locked() -> None:
    lock = environment.LOCK.read_text()
    compared = {name for name, server in SERVERS.items() if server.asgi} - {"pronghorn"}
    assert sorted(name for name in compared if f"\n{name}==" not in lock) == []


def test_every_workload_has_an_application() -> None:
    for workload in WORKLOADS.values():
        module, _, attribute = workload.app.partition(":")
        source = (servers.APPS / f"{module}.py").read_text()
        assert f"\n{attribute} = " in source
