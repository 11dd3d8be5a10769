"""What the benchmark reckons: readings of /proc, output of wrk and valgrind, ratios, targets, tables, the picture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts.bench import __main__ as command
from scripts.bench import chart, check, environment, inprocess, load, page, proc, report, servers
from scripts.bench.measure import Sample, Setup
from scripts.bench.servers import SERVERS, BenchError, Server
from scripts.bench.workloads import WORKLOADS

SETUP = Setup(Path("python"))

# ---- /proc ----------------------------------------------------------------------------------------------------------


def write_process(folder: Path, pid: int, parent: int, *, rss: int) -> None:
    entry = folder / str(pid)
    entry.mkdir()
    # The command's name may hold blanks and parentheses.
    fields = ["S", str(parent), *["0"] * 33]
    (entry / "stat").write_text(f"{pid} (a) b (c) {' '.join(fields)}\n")
    (entry / "smaps_rollup").write_text(
        f"5 - 7 ---p 00000000 00:00 0 [rollup]\nRss:   {rss} kB\nPss:  1 kB\n"
    )


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """100 with the children 101 and 102, 103 is 101's child; 200 is somebody else's."""
    for pid, parent in ((100, 1), (101, 100), (102, 100), (103, 101), (200, 1)):
        write_process(tmp_path, pid, parent, rss=pid)
    (tmp_path / "self").mkdir()
    (tmp_path / "300").mkdir()  # Ended between the listing and the reading.
    (tmp_path / "stat").write_text("cpu  10 20 30 400 5 6 7 80 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n")
    return tmp_path


def test_stat_is_read_from_the_last_parenthesis() -> None:
    assert proc.parse_parent("7 (x) y) S 3 0 0 0 0 0 0 0 0 0 5 6 7 8 20 0") == 3


def test_cpu_time_is_that_of_a_process_and_its_descendants(machine: Path) -> None:
    def clock(pid: int) -> float:
        if pid == 102:
            raise OSError("it ended")
        return pid / 10

    assert proc.cpu_clocks(100, machine, clock) == {100: 10.0, 101: 10.1, 103: 10.3}
    assert proc.cpu_clocks(999, machine, clock) == {}


def test_who_comes_counts_whole_and_who_goes_does_not() -> None:
    assert proc.used({1: 5.0, 2: 7.0}, {1: 6.5, 3: 0.25}) == pytest.approx(1.75)


def test_memory_is_that_of_a_process_and_its_descendants(machine: Path) -> None:
    assert proc.resident_kilobytes(100, machine) == 100 + 101 + 102 + 103


def test_steal_is_a_share_of_all_time(machine: Path) -> None:
    before = proc.machine_time(machine)
    assert before == (558, 80)
    (machine / "stat").write_text("cpu  40 20 30 430 5 6 7 120 0 0\n")
    assert proc.steal(before, proc.machine_time(machine)) == pytest.approx(0.4)
    assert proc.steal(before, before) == 0


def test_the_cpu_clock_is_that_of_process_time() -> None:
    lower = time.process_time()
    assert lower <= proc.cpu_clock(os.getpid()) <= time.process_time()


def test_the_cpu_time_of_living_children_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.1: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        clocks = proc.cpu_clocks(os.getpid())
        child.communicate(b"\n")
    assert clocks[child.pid] >= 0.1
    assert os.getpid() in clocks


# ---- wrk, h2load and valgrind -----------------------------------------------------------------------------------------------

WRK = """Running 2s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
    Latency     1.20ms  100.00us   3.00ms   90.00%
  50123 requests in 2.00s, 6.10MB read
Requests/sec:  25061.50
"""


def test_the_output_of_wrk_is_read() -> None:
    assert load.parse_wrk(WRK) == 50123


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
        load.parse_wrk(output)


H2LOAD = """finished in 46.01ms, 21733.46 req/s, 1.66MB/s
requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def test_the_output_of_h2load_is_read() -> None:
    assert load.parse_h2load(H2LOAD) == 1000


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (H2LOAD.replace("1000 2xx, 0 3xx", "999 2xx, 1 3xx"), "999 2xx, 1 3xx"),
        (H2LOAD.replace("1000 succeeded, 0 failed", "998 succeeded, 2 failed"), "998 succeeded"),
        ("Usage: h2load", "unexpected output"),
    ],
)
def test_trouble_that_h2load_reports_is_an_error(output: str, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        load.parse_h2load(output)


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


# ---- Ratios, targets, tables ----------------------------------------------------------------------------------------


def samples(workload: str = "get") -> list[Sample]:
    """The machine is twice as slow in round 2: costs change, ratios do not."""
    return [
        Sample(1, 1, "pronghorn", workload, 20.0, 50_000.0),
        Sample(1, 1, "uvicorn", workload, 40.0, 25_000.0),
        Sample(1, 1, "granian", workload, 25.0, 40_000.0),
        Sample(1, 2, "pronghorn", workload, 40.0, 25_000.0),
        Sample(1, 2, "uvicorn", workload, 80.0, 12_500.0),
    ]


def again() -> list[Sample]:
    """A second run, in which ours is worse."""
    return [
        Sample(2, 1, "pronghorn", "get", 28.0, 50_000.0, 0.25),
        Sample(2, 1, "uvicorn", "get", 40.0, 25_000.0),
    ]


def test_ratios_are_taken_round_by_round_and_run_by_run() -> None:
    assert report.ratios(samples(), "pronghorn", "uvicorn") == [0.5]
    assert report.ratios([*samples(), *again()], "pronghorn", "uvicorn") == [0.5, 0.7]
    assert report.ratios(samples(), "pronghorn", "granian") == [0.8]
    assert report.ratios(samples(), "pronghorn", "hypercorn") == []


def test_one_disturbed_round_does_not_move_a_ratio() -> None:
    disturbed = [Sample(1, 3, "pronghorn", "get", 900.0), Sample(1, 3, "uvicorn", "get", 40.0)]
    assert report.ratios([*samples(), *disturbed], "pronghorn", "uvicorn") == [0.5]


def test_a_row_has_medians_and_ratios() -> None:
    (row,) = report.summarise(samples())
    assert row.cells["pronghorn"] == report.Cell(30.0, 20.0, 40.0, 37_500.0)
    assert row.ratio("uvicorn") == 0.5
    assert row.ratio("uvicorn", "granian") == pytest.approx(0.625)
    assert row.ratio("hypercorn") is None


def test_runs_stand_beside_each_other_and_beside_the_target() -> None:
    rows = report.summarise([*samples(), *again(), *samples("post")])
    assert report.as_markdown(report.runs(rows, "uvicorn")).splitlines() == [
        "| of uvicorn | run 1 | run 2 | median | target |  |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| GET 13 B | 0.50 | 0.70 | 0.60 | ≤ 0.62 | met |",
        f"| POST 10 KB echo | 0.50 | {report.NONE} | 0.50 | ≤ 0.60 | met |",
    ]


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
    assert report.count(report.summarise(samples())) == (1, 2)
    assert report.count(report.summarise([Sample(1, 1, "pronghorn", "get", 1.0)])) == (0, 0)


def test_tables_show_figures_ratios_and_gaps() -> None:
    rows = report.summarise([*samples(), Sample(1, 1, "pronghorn", "rss", 24.0)])
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
        [*samples(), Sample(1, 1, "hypercorn", "get", 400.0), Sample(1, 1, "pronghorn", "rss", 24.0)]
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


def test_all_servers_are_at_a_workload_before_the_next_one() -> None:
    options = command.parse(
        ["--servers", "uvicorn,limit", "--workloads", "get,post,rss", "--rounds", "3", "--repeat", "2"]
    )
    contests, missing = command.plan(options, SETUP)
    found = [(c.run, c.workload.key, [s.name for s in c.servers], c.rounds) for c in contests]
    one = [("get", ["uvicorn", "limit"], 3), ("post", ["uvicorn"], 3), ("rss", ["uvicorn", "limit"], 2)]
    assert found == [(run, *words) for run in (1, 2) for words in one]
    assert list(missing) == [("limit", "post")]


def test_a_full_run_is_over_in_sixteen_minutes() -> None:
    contests, _ = command.plan(command.parse([]), SETUP)
    assert sum(contest.duration() for contest in contests) < 16 * 60


def test_connections_are_as_many_as_files_may_be_open() -> None:
    whole = [WORKLOADS["get"], WORKLOADS["ws-idle"]]
    assert command.fitted(whole, 65_536) == (whole, "")
    fitting, fewer = command.fitted(whole, 4096)
    assert [workload.connections for workload in fitting] == [64, 4096 - command.SPARE]
    assert "4096 open files" in fewer
    assert WORKLOADS["ws-idle"].title in fewer
    assert WORKLOADS["get"].title not in fewer
    assert command.conditions(0.2, [0.01], [], 0.0, fewer).startswith(fewer)


def test_quick_gives_way_to_what_is_asked_for() -> None:
    assert command.parse(["--quick"]).rounds == 1
    assert command.parse(["--quick", "--rounds", "3"]).rounds == 3


def test_a_server_comes_from_the_command_line() -> None:
    options = command.parse(["--servers", "uvicorn", "--server", "mine=run {app} --port {port}"])
    assert [server.name for server in options.servers] == ["uvicorn", "mine"]
    mine = options.servers[1]
    fields = {"python": "python3", "port": 8001, "socket": "/run/app.sock"}
    assert servers.words(mine, WORKLOADS["post"], fields) == ["run", "raw:echo", "--port", "8001"]
    assert servers.lacks(mine, WORKLOADS["get"]) == ""
    assert "Unix socket" in servers.lacks(mine, WORKLOADS["nginx"])
    assert "access log" in servers.lacks(mine, WORKLOADS["access"])


def test_workloads_are_chosen_by_patterns_too() -> None:
    chosen = command.parse(["--workloads", "h2-*-100,get,h2-get-100"]).workloads
    assert [workload.key for workload in chosen] == ["h2-get-100", "h2-get100k-100", "h2-post100k-100", "get"]


def test_http2_is_for_those_who_speak_it_in_clear_text() -> None:
    workload = WORKLOADS["h2-get-1"]
    able = [name for name, server in SERVERS.items() if not servers.lacks(server, workload)]
    assert able == ["pronghorn", "uvicorn", "granian", "gunicorn", "hypercorn"]
    fields = {"python": "python3", "port": 8001, "socket": "/run/app.sock"}
    assert "--http2" in servers.words(SERVERS["pronghorn"], workload, fields)
    assert "--http2" not in servers.words(SERVERS["pronghorn"], WORKLOADS["get"], fields)


def test_a_row_with_a_target_for_it_is_compared_with_hypercorn() -> None:
    rows = report.summarise(
        [Sample(1, 1, "pronghorn", "h2-get-1", 4.0), Sample(1, 1, "hypercorn", "h2-get-1", 9.0)]
    )
    assert report.comparison(rows)[0][7:] == ["of hypercorn", "target", ""]
    assert report.comparison(rows)[1][7:] == ["0.44", "≤ 0.50", "met"]
    assert report.baselines(report.summarise(samples())) == ["uvicorn", "granian"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--server", "no-command"],
        ["--servers", "nobody"],
        ["--servers", ""],
        ["--workloads", "nothing"],
        ["--rounds", "0"],
        ["--repeat", "0"],
        ["--seconds", "0.01"],
    ],
)
def test_nonsense_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        command.parse(arguments)
    assert error.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_page_has_what_a_run_is_judged_by() -> None:
    everything = [*samples(), *again()]
    said = command.conditions(0.2, [0.01, 0.3], everything, 0.002)
    assert "took 1.0%, 30.0%" in said
    assert "25%" in said
    results = page.Results(
        everything, ["pronghorn", "uvicorn"], {}, {"steal": 1}, {"uvicorn": "0.1"}, "a", said
    )
    rows = report.summarise(everything)
    assert said in page.as_markdown(results, rows)
    assert said in page.as_text(results, rows)
    assert "| GET 13 B | 0.50 | 0.70 | 0.60 |" in page.as_markdown(results, rows)
    written = json.loads(page.as_json(results, rows))
    assert len(written["facts"]["samples"]) == len(everything)
    assert written["summary"][0]["ratios"]["uvicorn"]["pronghorn"] == pytest.approx(0.6)
    assert written["summary"][0]["ratios_of_runs"]["uvicorn"]["pronghorn"] == [0.5, 0.7]


def test_a_second_signal_does_not_interrupt_the_clean_up_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handlers: dict[int, object] = {}
    monkeypatch.setattr("scripts.bench.__main__.signal.signal", handlers.__setitem__)
    with pytest.raises(SystemExit) as ended:
        command._terminate(signal.SIGTERM, None)
    assert ended.value.code == 143
    assert handlers == dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), signal.SIG_IGN)


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
