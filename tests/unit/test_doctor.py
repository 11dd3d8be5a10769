"""`pronghorn doctor`: each finding by a deployment that has it, laid out in a folder, on real sockets or as a real server."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pronghorn import cli
from pronghorn.config import OPTIONS
from pronghorn.doctor import certificate, checks
from pronghorn.doctor.finding import Finding, Verdict, as_json, as_text, bad, ok
from pronghorn.doctor.machine import Machine
from pronghorn.doctor.nginx import Nginx, seconds, size
from pronghorn.doctor.patient import Patient
from pronghorn.errors import UsageError
from pronghorn.observe import slots
from pronghorn.observe.counts import Counts
from pronghorn.web_kinds import Address
from tests.support.process import command, running, serving

ROOT = Path(__file__).resolve().parents[2]

DUMP = """\
# configuration file /etc/nginx/nginx.conf: { a comment is no block
http {
    log_format json escape=json '{"a":"b;c"}';
    large_client_header_buffers 8 8k;
    client_max_body_size 64m;
    map "$host $http_host" $application_host { default $host; "~*^(?<name>\\S+) \\k<name>$" $http_host; }
    upstream application {
        server unix:/run/app.sock;
        keepalive 32;
        keepalive_timeout 1m15s;
    }
    upstream other { server 127.0.0.1:9000; }
    server {
        location / { proxy_read_timeout 60s; proxy_pass http://application; }
        location /ws { proxy_read_timeout 1h; proxy_pass http://application; }
    }
}
"""


def nobody() -> tuple[bool, str]:
    raise UsageError("there is nobody to ask", hint="Give --admin")


def patient(
    machine: Machine | None = None,
    nginx: str | None = None,
    ask: Callable[[], tuple[bool, str]] = nobody,
    **values: Any,
) -> Patient:
    """A deployment with these options, the others as they are by default."""
    told: dict[str, Any] = {name: option.fresh_default() for name, option in OPTIONS.items()}
    told["forwarded_allow_ips"] = "127.0.0.1,::1"
    return Patient(
        values=told | {"workers": 1} | values,
        ask=ask,
        machine=machine or Machine(Path("/nonexistent"), Path("/nonexistent")),
        nginx=None if nginx is None else Nginx.parse(nginx),
        timeout=10,
        clock_is_kept=lambda: True,
    )


def verdicts(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.verdict.value, finding.text) for finding in found]


def only(found: Iterator[Finding], verdict: str) -> str:
    """The text of the one finding with this verdict, which has a cure."""
    (finding,) = [finding for finding in found if finding.verdict.value == verdict]
    assert finding.cure
    return finding.text


# ---- What nginx says ------------------------------------------------------------------------------------------------


def test_a_dump_of_nginx_is_read() -> None:
    nginx = Nginx.parse(DUMP)
    assert nginx.upstream_keep_alive("unix:/run/app.sock") == 75
    assert nginx.upstream_keep_alive("127.0.0.1:9000") is None
    assert nginx.knows("unix:/run/app.sock")
    assert not nginx.knows("unix:/run/other.sock")
    assert nginx.longest_read() == 3600
    assert nginx.largest_body() == 64 << 20
    assert nginx.largest_head() == 64 << 10


def test_what_is_not_said_has_nginx_defaults() -> None:
    nginx = Nginx.parse("http { upstream a { server unix:/a; keepalive 4; } }")
    assert (nginx.upstream_keep_alive("unix:/a"), nginx.longest_read()) == (60, 60)
    assert (nginx.largest_body(), nginx.largest_head()) == (1 << 20, 32 << 10)


def test_any_size_is_larger_than_all() -> None:
    nginx = Nginx.parse("http { client_max_body_size 0; server { client_max_body_size 1m; } }")
    assert nginx.largest_body() == 0


def test_the_size_of_what_nobody_sends_is_none() -> None:
    """A page of an error is for nginx alone to lead to."""
    nginx = Nginx.parse(
        "http { client_max_body_size 8m; server { location = /e { internal; client_max_body_size 0; } } }"
    )
    assert nginx.largest_body() == 8 << 20


def test_what_is_no_dump_is_refused() -> None:
    with pytest.raises(UsageError, match="nginx -T"):
        Nginx.parse("nginx: configuration file test is successful")


@pytest.mark.parametrize(
    ("text", "found"), [("60", 60), ("500ms", 0.5), ("1h30m", 5400), ("1m 5s", 65), ("2d", 172_800)]
)
def test_times(text: str, found: float) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize(
    ("text", "found"), [("0", 0), ("10", 10), ("64k", 65_536), ("1M", 1 << 20), ("x", 0)]
)
def test_sizes(text: str, found: int) -> None:
    assert size(text) == found


def test_the_shipped_configuration_is_understood() -> None:
    """All files in one, as `nginx -T` prints them."""
    nginx = Nginx.parse("\n".join(file.read_text() for file in sorted((ROOT / "nginx").rglob("*.conf"))))
    assert nginx.knows("unix:/run/pronghorn/app.sock")
    assert nginx.upstream_keep_alive("unix:/run/pronghorn/app.sock") == 60
    assert nginx.longest_read() == 3600
    assert (nginx.largest_body(), nginx.largest_head()) == (64 << 20, 64 << 10)


# ---- The socket -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o750)
    return tmp_path


@contextlib.contextmanager
def listening(path: Path, mode: int = 0o660) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen()
        yield


def test_a_good_socket(folder: Path) -> None:
    path = folder / "app.sock"
    with listening(path):
        found = verdicts(checks.socket(patient(uds=str(path), uds_mode=0o660)))
    assert [verdict for verdict, _ in found] == ["ok", "ok"]
    assert f"process {os.getpid()}" in found[0][1]


@pytest.mark.parametrize("listens", [False, True])
def test_a_socket_that_nobody_listens_on_is_stale(folder: Path, listens: bool) -> None:
    path = folder / "app.sock"
    with listening(path):
        if listens:
            assert not [one for one in checks.socket(patient(uds=str(path))) if one.verdict is Verdict.BAD]
            return
    assert "stale" in only(checks.socket(patient(uds=str(path))), "bad")


def test_no_socket_and_what_is_none(folder: Path) -> None:
    path = folder / "app.sock"
    assert "does not exist" in only(checks.socket(patient(uds=str(path))), "bad")
    path.touch()
    assert "no socket" in only(checks.socket(patient(uds=str(path))), "bad")


def test_a_socket_of_another_mode_or_group(folder: Path) -> None:
    path = folder / "app.sock"
    with listening(path, 0o600):
        assert "600, and --uds-mode says 660" in only(
            checks.socket(patient(uds=str(path), uds_mode=0o660)), "bad"
        )
        assert "--uds-group says 4711" in only(checks.socket(patient(uds=str(path), uds_group="4711")), "bad")
        mine = str(path.stat().st_gid)
        assert not [
            one for one in checks.socket(patient(uds=str(path), uds_group=mine)) if one.verdict is Verdict.BAD
        ]


def test_a_folder_that_keeps_the_group_out(folder: Path) -> None:
    path = folder / "app.sock"
    folder.chmod(0o700)
    with listening(path):
        assert "not reach into" in only(checks.socket(patient(uds=str(path))), "bad")


def test_a_socket_for_everybody(folder: Path) -> None:
    path = folder / "app.sock"
    folder.chmod(0o755)
    with listening(path, 0o666):
        assert "every user" in only(checks.socket(patient(uds=str(path))), "warning")
        folder.chmod(0o777)
        assert "another socket" in only(checks.socket(patient(uds=str(path))), "bad")


def test_a_full_backlog_is_no_stale_socket(folder: Path) -> None:
    path = folder / "app.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        filling = stack.enter_context(socket.socket(socket.AF_UNIX))
        filling.connect(str(path))
        asking = patient(uds=str(path))
        asking.timeout = 0.05
        assert "does not take a connection" in only(checks.socket(asking), "bad")


# ---- Time and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep_alive", "nginx", "verdict"),
    [(5, None, "bad"), (60, None, "bad"), (75, None, "ok"), (75, DUMP, "bad"), (76, DUMP, "ok")],
)
def test_the_server_keeps_idle_connections_longer_than_nginx(
    keep_alive: float, nginx: str | None, verdict: str
) -> None:
    found = checks.timeouts(
        patient(nginx=nginx, uds="/run/app.sock", timeout_keep_alive=keep_alive, timeout_graceful_shutdown=1)
    )
    assert [text for kind, text in verdicts(found) if kind == verdict and "idle connection" in text]


def test_without_a_proxy_idle_connections_may_end_when_they_like() -> None:
    assert not [text for _, text in verdicts(checks.timeouts(patient())) if "idle connection" in text]


def test_an_nginx_that_leads_elsewhere() -> None:
    found = checks.timeouts(patient(nginx=DUMP, uds="/run/mistyped.sock", timeout_graceful_shutdown=1))
    assert "no way to unix:/run/mistyped.sock" in only(found, "bad")


def test_an_nginx_that_goes_by_a_link(folder: Path) -> None:
    """As where two slots take turns: the name that nginx has leads to the one that is live."""
    (folder / "app.sock").symlink_to("blue.sock")
    dump = DUMP.replace("/run/app.sock", str(folder / "app.sock"))

    def verdict(slot: str) -> list[str]:
        uds = str(folder / f"{slot}.sock")
        found = checks.timeouts(
            patient(nginx=dump, uds=uds, timeout_keep_alive=76, timeout_graceful_shutdown=1)
        )
        return [kind for kind, text in verdicts(found) if "idle connection" in text or "no way to" in text]

    assert verdict("blue") == ["ok"]
    assert verdict("green") == ["bad"]


def test_an_upstream_without_keepalive_needs_no_order() -> None:
    found = checks.timeouts(patient(nginx=DUMP, port=9000, timeout_graceful_shutdown=1))
    assert ("ok", "nginx keeps no connection to the server") in verdicts(found)


@pytest.mark.parametrize(
    ("graceful", "grace", "verdict"),
    [(None, 40, "warning"), (30, None, "unknown"), (40, 40, "bad"), (30, 40, "ok")],
)
def test_a_stop_waits_for_who_finishes(graceful: float | None, grace: float | None, verdict: str) -> None:
    stopped = patient(timeout_graceful_shutdown=graceful)
    stopped.stop_grace = grace
    ((found, text),) = verdicts(checks.timeouts(stopped))
    assert (found, "at a stop" in text) == (verdict, True)


def test_a_stop_waits_for_the_delay_as_well() -> None:
    stopped = patient(timeout_graceful_shutdown=30, drain_delay=10)
    stopped.stop_grace = 40
    assert "at a stop after a delay of 10 s, and the server is killed after 40 s" in only(
        checks.timeouts(stopped), "bad"
    )
    stopped.stop_grace = 41
    assert [kind for kind, _ in verdicts(checks.timeouts(stopped))] == ["ok"]


def test_pings_that_come_too_late() -> None:
    slow = "http { server { proxy_read_timeout 10s; proxy_pass http://unix:/a; } }"
    found = checks.timeouts(patient(nginx=slow, uds="/a", timeout_keep_alive=75, timeout_graceful_shutdown=1))
    assert "a ping comes every 20 s" in only(
        iter([one for one in found if one.verdict is not Verdict.UNKNOWN]), "warning"
    )


def test_what_nginx_lets_through_the_server_takes() -> None:
    assert verdicts(checks.sizes(patient())) == []
    assert [kind for kind, _ in verdicts(checks.sizes(patient(nginx=DUMP)))] == ["ok"]
    assert "bodies of 67108864 bytes" in only(
        checks.sizes(patient(nginx=DUMP, limit_request_body=1000)), "warning"
    )
    assert "heads of 65536 bytes" in only(
        checks.sizes(patient(nginx=DUMP, limit_request_header_bytes=8190)), "warning"
    )


# ---- Trust ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "ok"),
        ({"proxy_headers": False}, "ok"),
        ({"proxy_headers": False, "uds": "/a"}, "warning"),
        ({"uds": "/a"}, "bad"),
        ({"uds": "/a", "forwarded_allow_ips": "unix:"}, "ok"),
        ({"host": "0.0.0.0", "forwarded_allow_ips": "*"}, "bad"),
        ({"forwarded_allow_ips": "*"}, "ok"),
        ({"host": "0.0.0.0", "forwarded_allow_ips": "10.0.0.0/8, 192.0.2.1"}, "ok"),
    ],
)
def test_whose_word_counts(values: dict[str, Any], verdict: str) -> None:
    ((found, _),) = verdicts(checks.proxies(patient(**values)))
    assert found == verdict


# ---- Processes, files, memory: a machine in a folder ----------------------------------------------------------------


class Laid:
    """A /proc and a control group of our own."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.groups = folder / "proc", folder / "groups"
        self.groups.mkdir(parents=True)
        self.write("sys/net/core/somaxconn", "4096\n")

    def write(self, name: str, text: str) -> None:
        path = self.proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def process(
        self, pid: int, parent: int, *, files: int = 3, limit: int = 16_384, rss: int = 30_000
    ) -> None:
        self.write(f"{pid}/stat", f"{pid} (a ) (b) S {parent} 1 1")
        self.write(f"{pid}/status", f"Name:\ta\nVmRSS:\t  {rss} kB\n")
        self.write(
            f"{pid}/limits", f"Limit  Soft Limit\nMax open files            {limit}   {limit}   files\n"
        )
        for number in range(files):
            self.write(f"{pid}/fd/{number}", "")

    def listens(self, pid: int, port: int) -> None:
        header = "sl local_address rem_address st tx rx tr when retr uid timeout inode\n"
        for state, inode in (("01", 1), ("0A", 2)):
            header += f"0: 00000000:{port:04X} 00000000:0000 {state} 0:0 0:0 0 0 0 {inode}\n"
        self.write("net/tcp", header)
        (self.proc / f"{pid}/fd/9").symlink_to("socket:[2]")

    @property
    def machine(self) -> Machine:
        return Machine(self.proc, self.groups)


@pytest.fixture
def laid(tmp_path: Path) -> Laid:
    found = Laid(tmp_path)
    found.process(7, 1)
    found.process(8, 7)
    found.process(9, 1, files=5000, limit=5000)
    found.listens(7, 8000)
    return found


def test_descriptors_of_the_whole_family(laid: Laid) -> None:
    found = verdicts(checks.descriptors(patient(laid.machine)))
    assert found == [
        ("ok", "process 7 has 4 of 16384 files open"),
        ("ok", "process 8 has 3 of 16384 files open"),
    ]


def test_few_descriptors_and_nearly_none(laid: Laid) -> None:
    laid.process(8, 7, limit=1024)
    assert "3 of 1024" in only(checks.descriptors(patient(laid.machine)), "warning")
    laid.process(8, 7, files=900, limit=1024)
    assert "900 of 1024" in only(checks.descriptors(patient(laid.machine)), "bad")


def test_a_backlog_that_the_kernel_cuts(laid: Laid) -> None:
    assert "cut to 4096" in only(checks.descriptors(patient(laid.machine, backlog=8192)), "warning")


def test_a_server_that_cannot_be_seen(laid: Laid) -> None:
    assert "127.0.0.1:8001" in only(checks.descriptors(patient(laid.machine, port=8001)), "unknown")


@pytest.mark.parametrize(
    ("file", "limit", "verdict"),
    [
        ("memory.max", "512000000", "ok"),
        ("memory.max", "62000000", "bad"),
        ("memory/memory.limit_in_bytes", "62000000", "bad"),
    ],
)
def test_memory_of_all_processes(laid: Laid, file: str, limit: str, verdict: str) -> None:
    (laid.groups / file).parent.mkdir(exist_ok=True)
    (laid.groups / file).write_text(limit)
    found = [
        kind for kind, text in verdicts(checks.workers(patient(laid.machine))) if "MiB of memory" in text
    ]
    assert found == [verdict]


@pytest.mark.parametrize("limit", ["max", "9223372036854771712"])
def test_memory_without_a_limit(laid: Laid, limit: str) -> None:
    (laid.groups / "memory.max").write_text(limit)
    assert not [text for _, text in verdicts(checks.workers(patient(laid.machine))) if "memory" in text]


def test_more_workers_than_processors() -> None:
    assert "1000 worker processes share" in only(checks.workers(patient(workers=1000)), "warning")
    assert [kind for kind, _ in verdicts(checks.workers(patient(workers="auto")))] == ["ok"]


# ---- Health and metrics ---------------------------------------------------------------------------------------------


def test_health_is_what_the_healthcheck_says() -> None:
    assert verdicts(checks.health(patient(ask=lambda: (True, "healthy")))) == [("ok", "healthy")]
    assert only(checks.health(patient(ask=lambda: (False, "unhealthy"))), "bad") == "unhealthy"
    assert only(checks.health(patient()), "unknown") == "there is nobody to ask"


def own(found: Iterator[Finding]) -> Iterator[Finding]:
    """Without what other servers of this machine have left in its memory."""
    return (finding for finding in found if "was killed" not in finding.text)


def test_nobody_counts_where_nobody_could_read_it() -> None:
    assert verdicts(checks.metrics(patient())) == []


def test_a_folder_of_numbers_that_is_right(laid: Laid, tmp_path: Path) -> None:
    laid.write(
        "self/mountinfo", f"1 1 0:1 / / rw - ext4 d rw\n2 1 0:2 / {tmp_path} rw shared:1 - tmpfs t rw\n"
    )
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    (numbers / "worker-1.counts").touch()
    with contextlib.closing(Counts(numbers)):
        found = verdicts(own(checks.metrics(patient(laid.machine, metrics_dir=str(numbers)))))
    assert found == [("ok", f"{numbers} has 2 count files, 1 of processes that live")]


def test_a_folder_of_numbers_on_a_disk_where_nobody_counts(laid: Laid, tmp_path: Path) -> None:
    laid.write("self/mountinfo", "1 1 0:1 / / rw - ext4 d rw\n2 1 0:2 / /proc rw - proc p rw\n")
    found = list(own(checks.metrics(patient(laid.machine, metrics_dir=str(tmp_path)))))
    assert "is on ext4" in only(iter(found), "warning")
    assert "0 of processes that live" in only(iter(found), "bad")


def test_a_folder_of_numbers_is_found_by_who_writes_there(laid: Laid, tmp_path: Path) -> None:
    asked = patient(laid.machine, admin=Address("127.0.0.1", 9464))
    assert "cannot be seen" in only(checks.metrics(asked), "unknown")
    numbers = tmp_path / "numbers"
    (laid.proc / "8/fd/7").symlink_to(f"{numbers}/worker-0.counts (deleted)")
    assert "is gone" in only(checks.metrics(asked), "bad")
    numbers.mkdir()
    with contextlib.closing(Counts(numbers)):
        assert ("ok", f"{numbers} has 1 count files, 1 of processes that live") in verdicts(
            checks.metrics(asked)
        )


def test_what_a_killed_server_has_left() -> None:
    left = slots.home() / f"pronghorn-left-{os.getpid()}"
    left.mkdir()
    (left / "owner").touch()
    try:
        found = [one.text for one in checks.metrics(patient(metrics_dir=str(left)))]
    finally:
        shutil.rmtree(left)
    assert f"a server that was killed has left {left}" in found


# ---- Clock and certificate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "verdict"), [(True, "ok"), (False, "warning"), (None, "unknown")])
def test_a_clock_that_is_kept(kept: bool | None, verdict: str) -> None:
    asked = patient()
    asked.clock_is_kept = lambda: kept
    ((found, _),) = verdicts(checks.clock(asked))
    assert found == verdict


def test_a_clock_before_the_server_was_there() -> None:
    asked = patient()
    asked.now = lambda: 0.0
    assert "1970-01-01" in only(checks.clock(asked), "bad")


def make_certificate(folder: Path, days: int) -> Path:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem"),
            *("-out", "cert.pem", "-days", str(days), "-subj", "/CN=localhost"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return folder / "cert.pem"


@pytest.mark.parametrize("days", [2, 20_000])
def test_the_end_of_a_certificate_is_what_openssl_says(tmp_path: Path, days: int) -> None:
    """In either form of time: the far end is after 2049."""
    path = make_certificate(tmp_path, days)
    said = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-enddate"], check=True, capture_output=True, text=True
    ).stdout
    end = dt.datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC)
    assert certificate.not_after(certificate.first_of(path.read_text())) == end


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x05\x00", b"\x30\x03\x30\x01\xa0", b"\x31\x00", b"\x30\x82\xff\xff"]
)
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        certificate.not_after(der)


def test_every_truncation_of_a_certificate_is_refused_or_read(tmp_path: Path) -> None:
    der = certificate.first_of(make_certificate(tmp_path, 2).read_text())
    for length in range(len(der)):
        with pytest.raises(ValueError, match="certificate"):
            certificate.not_after(der[:length])


@pytest.mark.parametrize(("left", "verdict"), [(-1, "bad"), (3, "bad"), (20, "warning"), (90, "ok")])
def test_how_long_a_certificate_is_good(tmp_path: Path, left: int, verdict: str) -> None:
    path = make_certificate(tmp_path, 100)
    end = certificate.not_after(certificate.first_of(path.read_text()))
    asked = patient(ssl_certfile=str(path), port=1)
    asked.now = lambda: end.timestamp() - left * 86_400 - 60
    assert next(checks.tls(asked)).verdict.value == verdict


def test_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in only(checks.tls(patient(ssl_certfile=str(tmp_path / "none.pem"))), "bad")
    (tmp_path / "text.pem").write_text("no certificate")
    assert "no certificate" in only(checks.tls(patient(ssl_certfile=str(tmp_path / "text.pem"))), "bad")


# ---- The command ----------------------------------------------------------------------------------------------------


def test_lines_for_people_and_for_programs() -> None:
    found = [ok("socket", "it is there"), bad("health", "it is\nnot well", "See the log")]
    assert as_text(found).splitlines() == [
        "ok       socket  it is there",
        "bad      health  it is\\nnot well",
        "                 -> See the log",
        "",
        "1 ok, 0 warning, 1 bad, 0 unknown",
    ]
    assert json.loads(as_json(found))[1] == {
        "verdict": "bad",
        "subject": "health",
        "text": "it is\nnot well",
        "cure": "See the log",
    }


def doctor(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    with running(folder, command("doctor", *words)) as process:
        code = process.wait()
        return code, "\n".join(process.stdout.all() + process.stderr.all())


SUPPORT = str(ROOT / "tests/support")
SOUND = (
    *("--uds-mode", "660", "--health-path", "/healthz", "--forwarded-allow-ips", "unix:"),
    *("--timeout-keep-alive", "80", "--timeout-graceful-shutdown", "30", "--workers", "auto"),
)


def test_a_sound_deployment(folder: Path) -> None:
    path = str(folder / "app.sock")
    words = ("--uds", path, *SOUND)
    with serving(folder, "served:app", "--app-dir", SUPPORT, *words):
        (folder / "nginx.txt").write_text(DUMP.replace("/run/app.sock", path))
        code, said = doctor(folder, *words, "--nginx", "nginx.txt", "--stop-grace", "40")
        assert code == 0, said
        assert f"{path} is listened on by process" in said
        assert "80 s, longer than the 75 s of nginx" in said
        assert "0 bad" in said.splitlines()[-1]


def test_health_is_asked_of_the_admin_listener(folder: Path) -> None:
    """Which is told by the environment, as the healthcheck has it; though a flag says where the application is."""
    path = str(folder / "app.sock")
    words = ("--uds", path, *SOUND, "--admin", f"unix:{folder}/admin.sock", "--workers", "2")
    with serving(folder, "served:app", "--app-dir", SUPPORT, *words) as server:
        server.stderr.wait_for("Started server process", count=2)  # it runs with the first of them
        _, said = doctor(folder, *words)
    assert "admin.sock answered 200" in said
    assert "3 count files, 3 of processes that live" in said


def test_a_deployment_with_its_server_gone(folder: Path) -> None:
    path = str(folder / "app.sock")
    with listening(Path(path)):
        pass
    code, said = doctor(folder, "--uds", path, *SOUND, "--json")
    assert code == 1
    found = {(one["subject"], one["verdict"]) for one in json.loads(said)}
    assert {("socket", "bad"), ("health", "bad")} <= found


def test_the_certificate_that_is_shown(folder: Path) -> None:
    path = make_certificate(folder, 90)
    words = ("--ssl-certfile", str(path), "--ssl-keyfile", str(folder / "key.pem"))
    with serving(folder, "served:app", "--app-dir", SUPPORT, *words) as server:
        port = str(server.port)
        _, said = doctor(folder, "--port", port, *words)
        assert "another certificate" not in said
        elsewhere = folder / "new"
        elsewhere.mkdir()
        renewed = make_certificate(elsewhere, 90)
        _, said = doctor(
            folder,
            "--port",
            port,
            "--ssl-certfile",
            str(renewed),
            "--ssl-keyfile",
            str(elsewhere / "key.pem"),
        )
        assert "another certificate" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--nginx", "nowhere.conf"), "--nginx: cannot read nowhere.conf"),
        (("--stop-grace", "soon"), "--stop-grace:"),
        (("extra",), "unexpected extra argument"),
        (("--port", "x"), "--port:"),
    ],
)
def test_errors_of_the_user_are_one_line(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor", *words])
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_nginx_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(DUMP))
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--uds", "/nowhere.sock", "--nginx", "-"])
    assert "no way to unix:/nowhere.sock" in capsys.readouterr().out
