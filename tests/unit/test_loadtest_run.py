"""A whole load test: what it prints, what it writes, and the status it ends with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
import trustme

from loadtest.generator import Strain
from tests.support import kernel
from tests.support.ports import free_port
from tests.support.process import Lines, ServerProcess, environment, serving
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
LENIENT = '[browse]\nrequests = 1\nfailures = 0\n["chat: open"]\nrequests = 1000\n'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("shop")
    with serving(folder, "main:app", "--app-dir", str(ROOT / "examples/shop")) as server:
        yield server


def settings(folder: Path, url: str, **more: str) -> dict[str, str]:
    thresholds = folder / "thresholds.toml"
    thresholds.write_text(LENIENT)
    told = {
        "LOADTEST_URL": url,
        "LOADTEST_SCENARIO": "browse",
        "LOADTEST_USERS": "4",
        "LOADTEST_RAMP": "1",
        # The first request of a machine that does other things besides may take seconds.
        "LOADTEST_DURATION": "8s",
        "LOADTEST_THRESHOLDS": str(thresholds),
        "LOADTEST_REPORTS": str(folder / "reports"),
    }
    return environment(**told | {f"LOADTEST_{name.upper()}": value for name, value in more.items()})


def load(folder: Path, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", "run"],
        cwd=ROOT,
        env=settings(folder, url, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_is_good_enough_ends_with_0_and_with_reports(shop: ServerProcess, tmp_path: Path) -> None:
    done = load(tmp_path, f"http://127.0.0.1:{shop.port}")
    lines = done.stderr.splitlines()

    assert done.returncode == 0, done.stderr
    assert lines[0] == f"4 users (browse) for 8 s against http://127.0.0.1:{shop.port}"
    assert lines[-1] == "All 2 thresholds met."
    reports = tmp_path / "reports"
    assert sorted(file.name for file in reports.iterdir()) == [
        *("exceptions.csv", "failures.csv", "report.html", "requests.csv", "verdict.txt")
    ]
    verdict = (reports / "verdict.txt").read_text().splitlines()
    assert verdict == lines[-len(verdict) :]
    assert "<html" in (reports / "report.html").read_text()
    with (reports / "requests.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    # Which of them a user does is left to chance.
    browsed = sum(int(row["Request Count"]) for name, row in rows.items() if name.startswith("browse: "))
    assert int(rows["Aggregated"]["Request Count"]) == browsed >= 1


def test_what_is_not_ends_with_1_and_names_it(shop: ServerProcess, tmp_path: Path) -> None:
    done = load(tmp_path, f"http://127.0.0.1:{shop.port}", limits="browse.requests=1000000")
    table = [line.split() for line in done.stderr.splitlines()]

    assert done.returncode == 1
    [row] = [line for line in table if line[:2] == ["browse", "requests"]]
    assert row[2:4] == ["≥", "1e+06"]
    assert row[-2:] == ["NOT", "MET"]
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 2 thresholds not met: browse: requests ")


# ---- No verdict -----------------------------------------------------------------------------------------------------


def test_a_target_that_is_not_reached(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = load(tmp_path, url)

    assert (done.returncode, done.stderr) == (2, f"error: {url} is not reached: Connection refused\n")
    assert not (tmp_path / "reports").exists()


def test_another_application(tmp_path: Path) -> None:
    with serving(tmp_path, "main:app", "--app-dir", str(ROOT / "examples/raw")) as server:
        url = f"http://127.0.0.1:{server.port}"
        done = load(tmp_path, url, scenario="browse,slow,uploads", users="20")

    assert (done.returncode, done.stderr) == (
        2,
        f"error: {url} has no /api/products, /uploads (404 for /api): the scenarios are for examples/shop, start that: make up APP=examples/shop\n",
    )


ELSEWHERE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"location", b"https://shop.example/api")]
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body"})
"""


def test_a_target_that_leads_elsewhere(tmp_path: Path) -> None:
    with serving(tmp_path, ELSEWHERE) as server:
        url = f"http://127.0.0.1:{server.port}"
        done = load(tmp_path, url)

    assert (done.returncode, done.stderr) == (
        2,
        f"error: {url} leads to https://shop.example/api: give that as the URL\n",
    )


def test_a_worker_that_dies_ends_it(shop: ServerProcess, tmp_path: Path) -> None:
    """An hour is not waited for."""
    with subprocess.Popen(
        [sys.executable, "-m", "loadtest", "run"],
        cwd=ROOT,
        env=settings(tmp_path, f"http://127.0.0.1:{shop.port}", duration="1h"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = Lines(process.stderr)
        said.wait_for("4 users (browse)")
        victim, other = kernel.children(process.pid)
        os.kill(victim, signal.SIGKILL)
        try:
            status = process.wait(60)
        finally:
            process.kill()

    assert status == 2
    assert said.all()[-1] == "error: no verdict: a worker died: 1 of 2 were left"
    # Locust tells it to go, and does not wait for its end.
    until(lambda: not kernel.alive(other), "a worker is left")


# ---- TLS ------------------------------------------------------------------------------------------------------------


def test_a_certificate_is_checked_unless_any_will_do(tmp_path: Path) -> None:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    words = (
        "--ssl-keyfile",
        str(key),
        "--ssl-certfile",
        str(chain),
        "--app-dir",
        str(ROOT / "examples/shop"),
    )
    with serving(tmp_path, "main:app", *words) as server:
        url = f"https://127.0.0.1:{server.port}"
        strict = load(tmp_path, url)
        tasks = subprocess.run(
            [
                *(sys.executable, "-m", "tests.support.locust_tasks", url),
                *("loadtest.browse:Browse.look", "loadtest.streams:Streaming.report"),
                *("loadtest.chat:Chat.talk", "loadtest.slow:Slow.download"),
            ],
            cwd=ROOT,
            env=environment(LOADTEST_INSECURE="1"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert strict.returncode == 2
    assert strict.stderr.startswith(f"error: {url} is not reached: ")
    assert strict.stderr.endswith("; LOADTEST_INSECURE=1 takes any certificate\n")
    assert tasks.stdout.count('"error": null') == tasks.stdout.count("\n") == 12, tasks.stdout + tasks.stderr


# ---- The generator --------------------------------------------------------------------------------------------------


def test_a_generator_that_waits_for_a_processor_notices() -> None:
    """Nobody gives it a turn for 400 ms, of which at most 100 belong to a turn's own sleep."""
    strain = Strain()
    watching = gevent.spawn(strain.watch)
    gevent.sleep(0.01)
    time.sleep(0.4)
    gevent.sleep(0.05)
    watching.kill()

    assert max(strain.late) >= 290


def test_what_workers_tell_is_summed_up() -> None:
    one, all_of_them = Strain(), Strain()
    one.cpu = 0.5
    one.late.update([3, 3, 40])
    told = one.take()
    all_of_them.add(told)
    all_of_them.add({"cpu": 0.7, "late": {"3": 90}})

    assert one.take() == {"cpu": 0.0, "late": {}}
    assert (
        str(all_of_them)
        == "busiest second of a process 70 % of a processor, 95 % of its turns at most 3 ms late"
    )
    assert not all_of_them.was_the_limit


@pytest.mark.parametrize(
    ("cpu", "late", "limit"),
    [(0.85, 25, False), (0.86, 0, True), (0.1, 26, True)],
)
def test_it_was_the_limit_when_it_was_busy_or_late(cpu: float, late: int, limit: bool) -> None:
    strain = Strain()
    strain.add({"cpu": cpu, "late": {late: 20}})

    assert strain.was_the_limit is limit


REQUEST = 'environment.stats.log_request("GET", "browse: list", 5, 10)'
CASES = {
    "nothing": (),
    "busy": (REQUEST, 'watch.strain.add({"cpu": 0.99, "late": {3: 1}})'),
    "limited": (
        REQUEST,
        'environment.stats.log_error("GET", "browse: list", Exception("BadStatusCode 429"))',
    ),
    "broken": (REQUEST, "environment.runner.log_exception('local', 'a bug', 'its traceback')"),
    "alone": (REQUEST, 'watch.fault = "a worker died: 1 of 2 were left"'),
}
VERDICT = """
import json, sys
from locust.env import Environment
from loadtest.settings import Settings
from loadtest.thresholds import Threshold
from loadtest.verdict import Watch

told = {}
for name, lines in json.loads(sys.argv[1]).items():
    watch = Watch(Settings(url="http://x"), [Threshold("browse", "requests", 1)])
    environment = Environment()
    environment.create_local_runner()
    for line in lines:
        exec(line)
    told[name] = [watch.judge(environment), watch.fault, watch.text.splitlines()]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def verdicts() -> dict[str, tuple[bool, str, list[str]]]:
    """What is made of figures that these lines bring about; in a process of its own, because of gevent."""
    done = subprocess.run(
        [sys.executable, "-c", VERDICT, json.dumps(CASES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, tuple[bool, str, list[str]]] = json.loads(done.stdout)
    return told


def test_a_generator_that_was_the_limit_is_told_and_is_no_failure(
    verdicts: dict[str, tuple[bool, str, list[str]]],
) -> None:
    met, fault, text = verdicts["busy"]

    assert (met, fault) == (True, "")
    assert text[-2:] == [
        "warning: the generator was the limit: give it more workers, or a machine of its own",
        "All 1 thresholds met.",
    ]


def test_the_limit_of_nginx_is_named(verdicts: dict[str, tuple[bool, str, list[str]]]) -> None:
    assert (
        "warning: 1 answers were 429, the limit of nginx for one address: RATE_LIMIT=0 make up takes it away"
        in verdicts["limited"][2]
    )


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("nothing", "not one request was made"),
        ("broken", "a scenario failed itself: a bug"),
        ("alone", "a worker died: 1 of 2 were left"),
    ],
)
def test_figures_that_are_worth_nothing_get_no_verdict(
    verdicts: dict[str, tuple[bool, str, list[str]]], case: str, wanted: str
) -> None:
    _, fault, text = verdicts[case]

    assert fault == wanted
    assert text[-1] == f"error: no verdict: {wanted}"
