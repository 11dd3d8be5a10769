"""Drills: what befalls a server with two workers while it is under load, and what has to hold.

    outcome = asyncio.run(hold(SERVERS["gunicorn+pronghorn"], DRILLS["kill"], Path(sys.executable)))
    assert outcome.complaints() == []

The contract is the same for every supervisor: no request fails but those inside a worker that was killed, no gap in the answers
that a user would notice, the number of workers is back, and at the end nothing of it is left. Inside a worker is what came on a
connection that this worker held when it was killed, as the kernel tells; a connection that waits in the backlog of a shared
socket is inside nobody, and another worker has to answer it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import kernel
from tests.support.drill_servers import MEMORY_LIMIT, WORKERS, Server
from tests.support.ports import free_port
from tests.support.steady import Address, Counts, Failure, Fate, Load, Steady
from tests.support.waiting import until

_APP = Path(__file__).with_name("drill_app.py")
_SHAMEFUL = re.compile(r"Traceback|never retrieved|was destroyed|Exception ignored|never awaited|Warning:")

#: Seconds until something that has to come about is taken never to: starts of several workers on a busy machine.
PATIENCE = 30.0
#: The same for the first start, without which there is no drill.
START = 30.0
#: Seconds without any answer that are an outage, far above what a busy machine makes of a moment.
OUTAGE = 2.0
#: Seconds that a new version which cannot start has to do harm.
_BROKEN = 4.0
#: Seconds of load before the event.
_BEFORE = 0.7


@dataclass
class Run:
    """One server during one drill."""

    server: Server
    process: subprocess.Popen[bytes]
    folder: Path
    address: Address
    main: int = 0
    problems: list[str] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    inside: set[int] = field(default_factory=set)
    stopped: float | None = None
    statuses: tuple[int, ...] = ()
    _asked: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.main = self.process.pid
        self.statuses = self.server.ended

    def workers(self) -> set[int]:
        """Those that serve."""
        found = {int(file.name) for file in (self.folder / "workers").iterdir() if file.name.isdigit()}
        self.seen |= found
        return {pid for pid in found if kernel.alive(pid)}

    @property
    def victim(self) -> int:
        """Who got the last request that does harm; 0 as long as nobody has."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "workers" / "victim").read_text())
        return 0

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.main, number)

    def ask(self, target: str) -> None:
        """Send a request whose answer nobody waits for."""
        if isinstance(self.address, Path):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(self.address))
        else:
            client = socket.create_connection(self.address, 5)
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self._asked.append(client)

    def kill(self, pid: int) -> None:
        """SIGKILL, at a moment at which it is known what is inside."""
        os.kill(pid, signal.SIGSTOP)
        # Until it has stopped it may accept one more.
        until(lambda: kernel.state(pid) not in {"R", "S", "D"}, "it does not stop")
        self.inside |= kernel.clients(pid)
        os.kill(pid, signal.SIGKILL)

    async def expect(
        self, what: str, true: Callable[[], object], patience: float | None = None
    ) -> float | None:
        """Seconds until it is true; None, and a problem, if it never is."""
        patience = patience or PATIENCE
        begun = time.monotonic()
        while not true():
            if time.monotonic() > begun + patience:
                self.problems.append(f"not within {patience:g} s: {what}")
                return None
            await asyncio.sleep(0.02)
        return time.monotonic() - begun

    async def begin(self) -> None:
        """Until its workers serve; an AssertionError with what it said if they never do."""
        await self.expect(
            "it serves", lambda: len(self.workers()) == WORKERS or self.process.poll() is not None, START
        )
        if len(self.workers()) != WORKERS:
            raise AssertionError(f"{self.server.name} did not start:\n{self.log[-2000:]}")

    async def look(self, seconds: float) -> None:
        """Wait; what a worker holds that hangs and that nobody killed is looked at meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.victim:
                self.inside |= kernel.clients(self.victim)
            await asyncio.sleep(0.05)

    async def expect_workers(
        self, count: int = WORKERS, without: frozenset[int] = frozenset()
    ) -> float | None:
        """That so many serve, and all of `without` are gone."""
        return await self.expect(
            f"{count} workers{' anew' if without else ''}",
            lambda: (
                len(now := self.workers()) == count
                and not now & without
                and not any(map(kernel.alive, without))
            ),
        )

    def close(self) -> None:
        for client in self._asked:
            client.close()


@dataclass(frozen=True, slots=True)
class Drill:
    """An event. `act` causes it and waits for what has to come about; for `after` seconds more it is looked at.

    `harms`: a worker is killed or has to be, so that what is inside it may fail. `ends`: the whole server goes.
    `raises`: the application does, and a traceback in the log is right.
    """

    name: str
    title: str
    act: Callable[[Run], Awaitable[None]]
    harms: bool = False
    ends: bool = False
    raises: bool = False
    after: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a drill came to. `inside` are the failures that the event excuses, `outside` those that nothing does."""

    server: Server
    drill: Drill
    counts: Counts
    inside: list[Failure]
    outside: list[Failure]
    facts: dict[str, float]
    problems: list[str]
    log: str

    def complaints(self) -> list[str]:
        """In what the contract was broken; empty if it was kept."""
        found = list(self.problems)
        if self.outside:
            kinds = sorted({f"{failure.kind} {failure.fate} ({failure.why})" for failure in self.outside})
            found.append(f"{len(self.outside)} failed outside: {', '.join(kinds)}")
        # While this client itself had no processor, it heard nobody.
        if not self.drill.ends and self.counts.longest_gap > OUTAGE + self.counts.lag:
            found.append(f"no answer for {self.counts.longest_gap:.1f} s")
        if self.counts.answered == 0:
            found.append("nothing was answered")
        return found


# ---- What befalls them ----------------------------------------------------------------------------------------------


async def _kill(run: Run) -> None:
    # The one that has most to lose.
    victim = max(run.workers(), key=lambda pid: len(kernel.clients(pid)))
    run.kill(victim)
    await run.expect_workers(without=frozenset({victim}))


def _hang(path: str) -> Callable[[Run], Awaitable[None]]:
    async def act(run: Run) -> None:
        run.ask(f"{path}?for=60")
        await run.expect("a worker hangs", lambda: run.victim)
        victim = run.victim

        def gone() -> bool:
            # Nobody tells us when it is killed: what it holds is looked at until then.
            run.inside.update(kernel.clients(victim))
            return not kernel.alive(victim)

        # One that is not noticed by then will not be.
        noticed = await run.expect("the worker that hangs is gone", gone, patience=8)
        if noticed is not None:
            run.facts["noticed"] = noticed
            await run.expect_workers(without=frozenset({victim}))

    return act


async def _hup(run: Run) -> None:
    old = frozenset(run.workers())
    run.signal(signal.SIGHUP)
    took = await run.expect_workers(without=old)
    if took is not None:
        run.facts["last old worker gone"] = took


async def _broken(run: Run, number: signal.Signals) -> frozenset[int]:
    """A new version of the application that cannot be imported, and the signal to take it; those who have to serve on."""
    old = frozenset(run.workers())
    (run.folder / "drill_app.py").write_text("raise RuntimeError('a version that does not start')\n")
    run.signal(number)
    await run.look(_BROKEN)
    if run.workers() != old:
        run.problems.append(f"{len(old - run.workers())} of {len(old)} workers did not serve on")
    shutil.copy(_APP, run.folder)
    return old


async def _hup_broken(run: Run) -> None:
    old = await _broken(run, signal.SIGHUP)
    if kernel.alive(run.main):
        run.signal(signal.SIGHUP)
        await run.expect_workers(without=old)


async def _upgrade_broken(run: Run) -> None:
    await _broken(run, signal.SIGUSR2)
    if run.process.poll() is not None:
        run.problems.append("the supervisor is gone")


async def _resize(run: Run) -> None:
    run.signal(signal.SIGTTIN)
    await run.expect_workers(WORKERS + 1)
    await asyncio.sleep(0.5)
    run.signal(signal.SIGTTOU)
    await run.expect_workers(WORKERS)


async def _upgrade(run: Run) -> None:
    old = run.workers()
    run.signal(signal.SIGUSR2)
    if run.server.farewell is not None:
        if await run.expect("the new workers", lambda: len(run.workers() - old) == WORKERS) is None:
            return
        run.signal(run.server.farewell)
    await run.expect_workers(without=frozenset(old))
    await run.expect("the old supervisor is gone", lambda: run.process.poll() is not None)
    # Its only process that none of the others has started.
    living = {pid for pid in kernel.session(run.process.pid) if kernel.alive(pid)}
    first = {pid for pid in living if kernel.parent(pid) not in living}
    if len(first) == 1:
        run.main = first.pop()
    else:
        run.problems.append(f"the new workers' supervisor is not one process: {sorted(first)}")


async def _requests(run: Run) -> None:
    # Those it began with, and each of them replaced.
    await run.expect("both workers recycled", lambda: run.workers() and len(run.seen) >= 2 * WORKERS)
    await run.expect_workers()


async def _memory(run: Run) -> None:
    run.ask(f"/leak?bytes={2 * MEMORY_LIMIT << 20}")
    await run.expect("a worker leaks", lambda: run.victim)
    await run.expect_workers(without=frozenset({run.victim}))


async def _term(run: Run) -> None:
    run.stopped = time.monotonic()
    run.signal(signal.SIGTERM)
    took = await run.expect("it is gone", lambda: run.process.poll() is not None)
    if took is not None:
        run.facts["gone"] = took


async def _orphan(run: Run) -> None:
    run.stopped = time.monotonic()
    run.statuses = (-signal.SIGKILL,)
    run.signal(signal.SIGKILL)
    took = await run.expect(
        "no worker outlives its supervisor", lambda: run.process.poll() is not None and not run.workers(), 10
    )
    if took is not None:
        run.facts["gone"] = took


DRILLS = {
    drill.name: drill
    for drill in (
        Drill("kill", "SIGKILL of a worker", _kill, harms=True),
        Drill("block", "blocked loop: time.sleep", _hang("/block"), harms=True),
        Drill("spin", "blocked loop: busy in C", _hang("/spin"), harms=True),
        Drill("hup", "HUP", _hup),
        Drill("hup-broken", "HUP, the new version fails; then one that works", _hup_broken, raises=True),
        Drill("resize", "TTIN, then TTOU", _resize),
        Drill("upgrade", "USR2", _upgrade),
        Drill("upgrade-broken", "USR2, the new version fails", _upgrade_broken, raises=True),
        Drill("requests", "recycled by requests", _requests),
        Drill("memory", "recycled by memory", _memory),
        Drill("term", "TERM of the whole", _term, ends=True, after=0.2),
        Drill("orphan", "SIGKILL of the supervisor", _orphan, ends=True, after=0.2),
    )
}


# ---- From start to end ----------------------------------------------------------------------------------------------


async def hold(server: Server, drill: Drill, python: Path, load: Load | None = None) -> Outcome:
    """One drill of one server, on a free port of the loopback interface or on a Unix socket."""
    with started(server, drill.name, python) as run:
        await run.begin()
        async with Steady(run.address, load or Load()) as steady:
            await asyncio.sleep(_BEFORE)
            await drill.act(run)
            await run.look(drill.after)
        counts = steady.counts()
        await _stop(run, drill)
        excused = [failure for failure in counts.failures if _excused(failure, run, drill)]
        outside = [failure for failure in counts.failures if failure not in excused]
        if run.stopped is not None:
            fates = Counter(failure.fate for failure in excused)
            if fates[Fate.UNANSWERED] > fates[Fate.REFUSED]:
                # A few come at the last moment; many have waited in a backlog that nobody took them from.
                run.problems.append(f"{fates[Fate.UNANSWERED]} who came later were let in and then reset")
        return Outcome(server, drill, counts, excused, outside, run.facts, run.problems, run.log)


def _excused(failure: Failure, run: Run, drill: Drill) -> bool:
    if run.stopped is None:
        return drill.harms and failure.port in run.inside
    # Who comes after it was told to go may find nobody: refused, or let into a backlog that is given up a moment later,
    # or on a kept connection that is closed at that moment.
    if failure.fate in (Fate.UNANSWERED, Fate.RETRIABLE):
        return failure.sent > run.stopped
    return failure.fate is Fate.REFUSED and failure.ended > run.stopped


async def _stop(run: Run, drill: Drill) -> None:
    """SIGTERM, unless it has ended; and what is left then."""
    begun = kernel.session(run.process.pid)
    zombies = [pid for pid, state in begun.items() if state == "Z" and kernel.parent(pid) == run.main]
    if zombies:
        run.problems.append(f"ended processes that nobody waited for: {len(zombies)}")
    hanging = run.victim and kernel.alive(run.victim)
    if run.stopped is None and kernel.alive(run.main):
        run.signal(signal.SIGTERM)
        if not hanging:
            await run.expect(
                "it stops", lambda: run.process.poll() is not None and not kernel.alive(run.main), 10
            )
    if run.main == run.process.pid and not hanging and run.process.poll() not in (*run.statuses, None):
        run.problems.append(f"exit status {run.process.poll()}")
    if not hanging:
        # Helpers of multiprocessing notice a moment later.
        await run.expect(
            "nothing is left behind", lambda: not any(map(kernel.alive, kernel.session(run.process.pid))), 10
        )
    if run.server.ours and not drill.raises and (match := _SHAMEFUL.search(run.log)):
        run.problems.append(f"its log has: {match[0]}")


@contextlib.contextmanager
def started(
    server: Server, drill: str, python: Path, *, more: str = "", app: str = "drill_app:app", source: str = ""
) -> Iterator[Run]:
    """A server on a free port, in a session of its own, of which nothing is left at the end of the block.

    `source` is the text of one more module, `large`, which may wrap the drills' application.
    """
    with tempfile.TemporaryDirectory(prefix="ph-drill-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "workers").mkdir()
        shutil.copy(_APP, folder)
        (folder / "large.py").write_text(source)
        environment = {
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("PRONGHORN_", "UVICORN_"))
            },
            "PYTHONPATH": os.pathsep.join([name, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "DRILL_FOLDER": str(folder / "workers"),
        }
        environment.pop("WEB_CONCURRENCY", None)
        address: Address = folder / "app.sock" if server.unix else ("127.0.0.1", free_port())
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(
            # It is told to go when we are killed ourselves.
            ["setpriv", "--pdeathsig", "TERM", *server.words(python, address, drill, app), *more.split()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        run = Run(server, process, folder, address)
        try:
            yield run
        finally:
            run.close()
            # A supervisor that came from an upgrade is no child of ours, but of the session; and one may start another
            # while it is killed.
            while left := [pid for pid in kernel.session(process.pid) if kernel.alive(pid)]:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)
            process.wait()
