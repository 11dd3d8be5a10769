"""What is looked at, a function for each subject.

A finding is bad where requests are lost or somebody may do what he should not; a warning where that needs one more thing to
happen; unknown where this user cannot see it. Each but the good ones says the way out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pronghorn.errors import UsageError
from pronghorn.observe import probe, slots
from pronghorn.supervise import cpus

from . import certificate
from .finding import Finding, bad, ok, unknown, warning
from .machine import unix_listener
from .patient import Patient

Check = Callable[[Patient], Iterator[Finding]]

# Days before its end at which a certificate that renews itself has been renewed, and at which it is late for a person, too.
_RENEWED: Final = 30
_LATE: Final = 7
# What nginx keeps an idle connection to its upstream for, unless told otherwise (ngx_http_upstream_module).
_NGINX_KEEP_ALIVE: Final = 60.0
# Descriptors below which a burst of connections is refused; and the part of any number of them that leaves no room for one.
_FEW_FILES: Final = 4096
_NEARLY_ALL: Final = 0.8
# File systems that no disk is behind.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


def socket(patient: Patient) -> Iterator[Finding]:
    """The Unix socket: there, alive, and open to the right people."""
    path = patient.values["uds"]
    if path is None:
        return
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        yield bad("socket", f"{path} does not exist", "Start the server, or see that both use the same path")
        return
    except PermissionError:
        yield unknown(
            "socket", f"{path} may not be looked at", "Ask as the user of the server or of the proxy"
        )
        return
    if not stat.S_ISSOCK(found.st_mode):
        yield bad(
            "socket", f"{path} is no socket", "Move it away; the server never removes what is not its own"
        )
        return
    yield from _alive(path, patient.timeout)
    yield from _open_to(path, found, patient)


def _alive(path: str, timeout: float) -> Iterator[Finding]:
    try:
        pid = unix_listener(path, timeout)
    except OSError as exc:
        if exc.errno == errno.ECONNREFUSED:
            yield bad(
                "socket",
                f"{path} is stale: nobody listens",
                "Start the server, which removes it; in a container: a restart",
            )
        elif exc.errno in {errno.EACCES, errno.EPERM}:
            yield bad(
                "socket",
                f"user {os.geteuid()} may not connect to {path}",
                "Join the group of the socket, or name one with --uds-group",
            )
        else:
            yield bad(
                "socket",
                f"{path} does not take a connection: {exc.strerror or exc}",
                "Look at the server's log: its event loop may be blocked, its backlog full",
            )
    else:
        yield ok("socket", f"{path} is listened on" + (f" by process {pid}" if pid else ""))


def _open_to(path: str, found: os.stat_result, patient: Patient) -> Iterator[Finding]:
    mode, wanted = stat.S_IMODE(found.st_mode), patient.values["uds_mode"]
    if wanted is not None and mode != wanted:
        yield bad(
            "socket",
            f"its mode is {mode:o}, and --uds-mode says {wanted:o}",
            "Restart the server: somebody has changed the file, or it is not this server's",
        )
    group = patient.values["uds_group"]
    if group is not None and group not in {str(found.st_gid), _group_name(found.st_gid)}:
        yield bad(
            "socket",
            f"its group is {found.st_gid}, and --uds-group says {group}",
            "Restart the server: somebody has changed the file, or it is not this server's",
        )
    folder = Path(path).parent
    around = folder.stat()
    if mode & stat.S_IWOTH and around.st_mode & stat.S_IXOTH:
        yield warning(
            "socket",
            f"every user of this machine may connect: mode {mode:o} in a folder of {stat.S_IMODE(around.st_mode):o}",
            "Give --uds-mode 660 and --uds-group of the proxy",
        )
    else:
        yield ok("socket", f"mode {mode:o}, group {found.st_gid}")
    if not around.st_mode & stat.S_IXGRP and mode & stat.S_IWGRP:
        yield bad(
            "socket",
            f"the group may connect, but not reach into {folder}",
            f"chmod g+x {folder}",
        )
    if around.st_mode & stat.S_IWOTH and not around.st_mode & stat.S_ISVTX:
        yield bad(
            "socket",
            f"everybody may put another socket into {folder} in the place of this one",
            f"chmod o-w {folder}",
        )


def _group_name(gid: int) -> str:
    import grp  # noqa: PLC0415  # Unix only, as the sockets are

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def health(patient: Patient) -> Iterator[Finding]:
    """Whether the server answers, and says that it is ready: on its admin listener, where there is one."""
    try:
        healthy, line = patient.ask()
    except UsageError as exc:
        yield unknown("health", exc.message, exc.hint or "")
        return
    if healthy:
        yield ok("health", line)
    else:
        yield bad("health", line, "Look at the server's log")


def timeouts(patient: Patient) -> Iterator[Finding]:
    """Time, in the right order: whoever sends the next request closes the connection, and who stops waits for who finishes."""
    yield from _keep_alive(patient)
    yield from _stopping(patient)
    ping, nginx = patient.values["ws_ping_interval"], patient.nginx
    if nginx is not None and ping and ping >= (longest := nginx.longest_read()):
        yield warning(
            "timeouts",
            f"nginx ends a WebSocket after {longest:g} s of silence, and a ping comes every {ping:g} s",
            "Raise proxy_read_timeout where WebSockets pass, or lower --ws-ping-interval",
        )


def _keep_alive(patient: Patient) -> Iterator[Finding]:
    ours, nginx = patient.values["timeout_keep_alive"], patient.nginx
    if not patient.behind_proxy:
        return
    theirs: float | None = _NGINX_KEEP_ALIVE
    whose = "the 60 s that nginx keeps one by default"
    if nginx is not None:
        addresses = _addresses(patient)
        address = next(filter(nginx.knows, addresses), None)
        if address is None:
            yield bad(
                "timeouts",
                f"this nginx has no way to {addresses[0]}",
                "See that its upstream and the server's option name the same address",
            )
            return
        theirs = nginx.upstream_keep_alive(address)
        whose = f"the {theirs:g} s of nginx" if theirs is not None else ""
    if theirs is None:
        yield ok("timeouts", "nginx keeps no connection to the server")
    elif ours <= theirs:
        yield bad(
            "timeouts",
            f"an idle connection is kept for {ours:g} s, not longer than {whose}: requests meet closing connections (502)",
            f"Give --timeout-keep-alive {theirs + 15:g}",
        )
    else:
        yield ok("timeouts", f"an idle connection is kept for {ours:g} s, longer than {whose}")


def _addresses(patient: Patient) -> list[str]:
    """What nginx may call the server: its address, or links beside the socket that lead to it, as where two take turns."""
    if patient.values["uds"] is None:
        return [patient.where]
    path = Path(patient.values["uds"])
    links = []
    with contextlib.suppress(OSError):
        links = [one for one in path.parent.iterdir() if one.is_symlink() and one.resolve() == path.resolve()]
    return [f"unix:{one}" for one in (path, *links)]


def _stopping(patient: Patient) -> Iterator[Finding]:
    graceful, grace = patient.values["timeout_graceful_shutdown"], patient.stop_grace
    if graceful is None:
        yield warning(
            "timeouts",
            "at a stop, requests are waited for without a limit, until whoever stops the server kills it",
            "Give --timeout-graceful-shutdown, shorter than the stop grace period",
        )
        return
    told = f"requests get {graceful:g} s at a stop"
    if delay := patient.values["drain_delay"]:
        told += f" after a delay of {delay:g} s"
    if grace is None:
        yield unknown(
            "timeouts",
            f"{told}; how long whoever stops the server waits is not known here",
            "Give --stop-grace: stop_grace_period of Compose, TimeoutStopSec, terminationGracePeriodSeconds",
        )
    elif delay + graceful >= grace:
        yield bad(
            "timeouts",
            f"{told}, and the server is killed after {grace:g} s",
            f"Raise the stop grace period above {delay + graceful:g} s, by 10 s or so",
        )
    else:
        yield ok("timeouts", f"{told}, the server is killed after {grace:g} s")


def sizes(patient: Patient) -> Iterator[Finding]:
    """What nginx lets through, the server should take."""
    nginx, values = patient.nginx, patient.values
    if nginx is None:
        return
    limit, largest = values["limit_request_body"], nginx.largest_body()
    if limit is not None and (not largest or largest > limit):
        yield warning(
            "sizes",
            f"nginx collects bodies of {largest or 'any number of'} bytes, the server refuses those over {limit}",
            "Set client_max_body_size to what --limit-request-body takes",
        )
    head, largest = values["limit_request_header_bytes"], nginx.largest_head()
    if largest > head:
        yield warning(
            "sizes",
            f"nginx lets heads of {largest} bytes through, the server refuses those over {head}",
            "Lower large_client_header_buffers or raise --limit-request-header-bytes",
        )
    elif limit is None or largest <= limit:
        yield ok("sizes", "the server takes what nginx lets through")


def workers(patient: Patient) -> Iterator[Finding]:
    """As many worker processes as there is processor time and memory for."""
    available, wanted = cpus.available(), cpus.count(patient.values["workers"])
    if wanted > available:
        yield warning(
            "workers",
            f"{wanted} worker processes share {available} processors",
            "Give --workers auto, or a larger quota",
        )
    elif wanted * 2 <= available:
        yield warning(
            "workers",
            f"{wanted} of {available} processors are used",
            "Give --workers auto, unless others need them",
        )
    else:
        yield ok("workers", f"{wanted} for {available} processors")
    limit, pid = patient.machine.memory_limit(), patient.pid
    if limit is None or pid is None:
        return
    used = sum(map(patient.machine.resident, patient.machine.family(pid)))
    text = f"{used >> 20} of {limit >> 20} MiB of memory are used"
    if used > limit * _NEARLY_ALL:
        yield bad("workers", text, "Raise the limit, or give fewer workers or --limit-worker-memory")
    else:
        yield ok("workers", text)


def proxies(patient: Patient) -> Iterator[Finding]:
    """Whose word counts for who the client is."""
    values = patient.values
    trusted = {one.strip() for one in values["forwarded_allow_ips"].split(",")}
    if not values["proxy_headers"]:
        if patient.behind_proxy:
            yield warning(
                "proxies",
                "forwarding headers are ignored: every client has the address of the proxy, every scheme is http",
                "Give --proxy-headers, and --forwarded-allow-ips for the proxy",
            )
        else:
            yield ok("proxies", "nobody's forwarding headers are believed")
    elif values["uds"] is not None and trusted.isdisjoint({"unix:", "*"}):
        yield bad(
            "proxies",
            "the proxy on the Unix socket is not believed: no client has an address, every scheme is http",
            "Give --forwarded-allow-ips unix:",
        )
    elif "*" in trusted and values["uds"] is None and values["host"] not in {"127.0.0.1", "::1", "localhost"}:
        yield bad(
            "proxies",
            f"whoever reaches {patient.where} may say that he is somebody else",
            "Name the proxies in --forwarded-allow-ips, addresses or networks, not *",
        )
    else:
        yield ok("proxies", f"believed: {', '.join(sorted(trusted))}")


def descriptors(patient: Patient) -> Iterator[Finding]:
    """Room for connections: open files, and the queue of those that wait."""
    backlog, somaxconn = patient.values["backlog"], patient.machine.backlog_limit()
    if somaxconn is not None and backlog > somaxconn:
        yield warning(
            "descriptors",
            f"--backlog {backlog} is cut to {somaxconn} by the kernel",
            f"sysctl net.core.somaxconn={backlog}",
        )
    pid = patient.pid
    if pid is None:
        yield unknown(
            "descriptors",
            f"the process behind {patient.where} cannot be seen",
            "Ask on the same machine, in the same container, as the same user or root",
        )
        return
    for one in patient.machine.family(pid):
        found = patient.machine.open_files(one)
        if found is None:
            continue
        used, limit = found
        text = f"process {one} has {used} of {limit} files open"
        cure = "Raise the limit: ulimits.nofile of Compose, LimitNOFILE= of systemd"
        if used > limit * _NEARLY_ALL:
            yield bad("descriptors", text, cure)
        elif limit < _FEW_FILES:
            yield warning("descriptors", text, cure)
        else:
            yield ok("descriptors", text)


def metrics(patient: Patient) -> Iterator[Finding]:
    """The folder of the count files: where processes that live write, in memory; and what killed servers have left beside it."""
    values = patient.values
    if not (values["metrics"] or values["admin"] or values["metrics_dir"]):
        return
    written = patient.count_files
    if values["metrics_dir"]:
        folder = Path(values["metrics_dir"])
    elif written:
        folder = written[0].parent
    else:
        yield unknown(
            "metrics",
            f"where the server at {patient.where} keeps its numbers cannot be seen",
            "Ask on the same machine, in the same container, as the same user or root",
        )
        return
    if not folder.is_dir():
        yield bad(
            "metrics",
            f"{folder} is gone, and what is counted with it",
            "Restart the server, and keep whoever cleans up away from there",
        )
        return
    yield from _writable(folder, patient)
    counts = [lives for _, lives in slots.living(folder)]
    text = f"{folder} has {len(counts)} count files, {sum(counts)} of processes that live"
    if not any(counts):
        yield bad("metrics", text, "Start the server, or see that both name the same --metrics-dir")
    else:
        yield ok("metrics", text)
    for left in slots.deserted(slots.home()):
        yield warning(
            "metrics", f"a server that was killed has left {left}", "The next one to start removes it"
        )


def _writable(folder: Path, patient: Patient) -> Iterator[Finding]:
    if not os.access(folder, os.W_OK | os.X_OK):
        yield bad(
            "metrics",
            f"user {os.geteuid()} may not write to {folder}",
            "Give it to the user of the server",
        )
    kind = patient.machine.file_system(folder)
    if kind is not None and kind not in _IN_MEMORY:
        yield warning(
            "metrics",
            f"{folder} is on {kind}: each number that changes is written to a disk",
            "Give --metrics-dir a folder on a tmpfs, or none",
        )


def clock(patient: Patient) -> Iterator[Finding]:
    """Logs, certificates and caches live by it."""
    installed = Path(__file__).stat().st_mtime
    if patient.now() < installed - 86_400:
        yield bad(
            "clock",
            f"it says {dt.datetime.fromtimestamp(patient.now(), dt.UTC):%Y-%m-%d}, before this server was installed",
            "Set it, and let NTP keep it",
        )
        return
    kept = patient.clock_is_kept()
    if kept:
        yield ok("clock", "it is kept right")
    elif kept is None:
        yield unknown("clock", "the kernel does not tell who keeps it", "See that the host runs NTP")
    else:
        yield warning(
            "clock",
            "nothing keeps it right, as far as the kernel knows",
            "Run an NTP client (chrony) on the host",
        )


def tls(patient: Patient) -> Iterator[Finding]:
    """The certificate: how long it is good, and whether it is the one that is shown."""
    path = patient.values["ssl_certfile"]
    if path is None:
        return
    try:
        own = certificate.first_of(Path(path).read_text("ascii", errors="replace"))
        end = certificate.not_after(own)
    except OSError as exc:
        yield bad("tls", f"{path} cannot be read: {exc.strerror}", "Give the server's user read permission")
        return
    except ValueError as exc:
        yield bad("tls", f"{path}: {exc}", "Give --ssl-certfile a certificate in PEM form")
        return
    days = (end - dt.datetime.fromtimestamp(patient.now(), dt.UTC)).days
    text = f"{path} is good until {end:%Y-%m-%d}"
    if days < 0:
        yield bad(
            "tls", f"{path} has expired on {end:%Y-%m-%d}", "Renew it; the server takes the new one by itself"
        )
    elif days < _LATE:
        yield bad("tls", f"{text}, {days} days", "Renew it; the server takes the new one by itself")
    elif days < _RENEWED:
        yield warning("tls", f"{text}, {days} days", "See why it has not been renewed")
    else:
        yield ok("tls", text)
    try:
        values = patient.values
        shown = probe.certificate(
            host=values["host"], port=values["port"], uds=values["uds"], timeout=patient.timeout
        )
    except OSError as exc:
        yield bad("tls", f"no handshake with {patient.where}: {exc}", "Look at the server's log")
    else:
        if shown != own:
            yield bad(
                "tls",
                "the server shows another certificate than the one in the file",
                "Look in its log for why the new one was refused; another server may be in its place",
            )


CHECKS: Final[tuple[Check, ...]] = (
    socket,
    health,
    proxies,
    timeouts,
    sizes,
    workers,
    descriptors,
    metrics,
    tls,
    clock,
)


def examine(patient: Patient) -> list[Finding]:
    """Everything there is to say."""
    return [finding for check in CHECKS for finding in check(patient)]
