"""Watches a test for what would make its figures worth nothing, and says at its end what it came to.

Not all workers come, a worker dies, a scenario itself fails: that leaves a test without a verdict. A generator that was the limit itself is
told, and is no failure. That the target is there and the right one has been seen to before Locust starts (`python -m loadtest`).
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
from locust.env import Environment
from locust.event import Events
from locust.runners import STATE_CLEANUP, STATE_STOPPED, STATE_STOPPING, MasterRunner, WorkerRunner
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtest.generator import Strain
from loadtest.settings import NO_VERDICT, NOT_MET, LoadTestError, Settings
from loadtest.thresholds import Sample, Threshold, judge, load, table

#: Seconds until all workers have come.
ARRIVAL = 60


class Watch:
    """What one process of Locust's knows of the test; the one that has no users itself, of all."""

    def __init__(self, settings: Settings, wanted: list[Threshold]) -> None:
        self.settings = settings
        self.wanted = wanted
        self.strain = Strain()
        self.fault = ""
        self.text = ""
        self._watching: gevent.Greenlet[..., None] | None = None

    # ---- what Locust calls

    def init(self, environment: Environment, **_: Any) -> None:
        """Before anything starts, all workers have to be there."""
        if not _decides(environment):
            return
        runner = environment.runner
        if isinstance(runner, MasterRunner):
            try:
                self.gather(runner)
            except LoadTestError as error:
                _say(f"error: {error}")
                raise SystemExit(NO_VERDICT) from error
            gevent.spawn(self.require_workers, runner)
        shown = ", ".join(self.settings.scenarios)
        _say(
            f"{self.settings.users} users ({shown}) for {self.settings.duration:g} s against {self.settings.url}"
        )

    def test_start(self, environment: Environment, **_: Any) -> None:
        """In the web UI there may have been one before."""
        self.strain.take()
        self.fault = ""
        if self._watching is None and not isinstance(environment.runner, MasterRunner):
            self._watching = gevent.spawn(self.strain.watch)

    def report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        """A worker tells how it is."""
        data["strain"] = self.strain.take()

    def worker_report(self, data: dict[str, Any], **_: Any) -> None:
        """The master hears it."""
        self.strain.add(data.get("strain", {"cpu": 0, "late": {}}))

    def test_stopping(self, environment: Environment, **_: Any) -> None:
        """All workers have to be there still."""
        runner = environment.runner
        if isinstance(runner, MasterRunner) and _decides(environment):
            self.count_workers(runner)

    def test_stop(self, environment: Environment, **_: Any) -> None:
        """In the web UI a test has its verdict when it ends, and the next one may follow."""
        if not isinstance(environment.runner, WorkerRunner) and not _decides(environment):
            self.judge(environment)
            _say(self.text)
            self.text = ""

    def quitting(self, environment: Environment, **_: Any) -> None:
        """Without the web UI, the verdict is the exit status."""
        if not _decides(environment):
            return
        met = self.judge(environment)
        self.write(environment)
        environment.process_exit_code = NO_VERDICT if self.fault else 0 if met else NOT_MET

    def quit(self, **_: Any) -> None:
        """After Locust's own tables."""
        if self.text:
            _say(self.text)

    # ---- workers

    def gather(self, runner: MasterRunner) -> None:
        """Until all have come. Raises `LoadTestError`."""
        deadline = time.monotonic() + ARRIVAL
        while len(runner.clients.ready) < self.settings.workers:
            if time.monotonic() > deadline:
                raise LoadTestError(
                    f"only {len(runner.clients.ready)} of {self.settings.workers} workers came within {ARRIVAL} s"
                )
            gevent.sleep(0.1)

    def require_workers(self, runner: MasterRunner) -> None:
        """Ends the test when one dies: what is left would be less load than was asked for."""
        while runner.state not in {STATE_STOPPING, STATE_STOPPED, STATE_CLEANUP}:
            if self.count_workers(runner):
                runner.quit()
            gevent.sleep(0.5)

    def count_workers(self, runner: MasterRunner) -> str:
        """The fault, if there is one."""
        if runner.worker_count < self.settings.workers and not self.fault:
            self.fault = f"a worker died: {runner.worker_count} of {self.settings.workers} were left"
        return self.fault

    # ---- the verdict

    def judge(self, environment: Environment) -> bool:
        """Whether all thresholds were met; `text` says it, and `fault` what is in the way of saying it."""
        stats = environment.stats
        samples = [
            Sample(entry.name, entry.num_requests, entry.num_failures, entry.response_times)
            for entry in stats.entries.values()
        ]
        verdicts = judge(self.wanted, samples, self.settings.scenarios)
        lines = ["", table(verdicts), "", f"The generator: {self.strain}"]
        if self.strain.was_the_limit:
            lines.append(
                "warning: the generator was the limit: give it more workers, or a machine of its own"
            )
        if refused := sum(one.occurrences for one in stats.errors.values() if "429" in str(one.error)):
            lines.append(
                f"warning: {refused} answers were 429, the limit of nginx for one address: RATE_LIMIT=0 make up takes it away"
            )
        if not self.fault:
            self.fault = _fault(environment)
        broken = [str(verdict) for verdict in verdicts if not verdict.met]
        if self.fault:
            lines.append(f"error: no verdict: {self.fault}")
        elif broken:
            lines.append(f"error: {len(broken)} of {len(verdicts)} thresholds not met: {'; '.join(broken)}")
        else:
            lines.append(f"All {len(verdicts)} thresholds met.")
        self.text = "\n".join(lines)
        return not broken

    def write(self, environment: Environment) -> None:
        """The verdict, and what Locust counted, beside its report for people."""
        folder = self.settings.reports
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "verdict.txt").write_text(self.text.removeprefix("\n") + "\n")
        tables = StatsCSV(environment, PERCENTILES_TO_REPORT)
        for name in ("requests", "failures", "exceptions"):
            with (folder / f"{name}.csv").open("w", newline="") as file:
                getattr(tables, f"{name}_csv")(csv.writer(file))


def _fault(environment: Environment) -> str:
    """What the figures themselves show to be wrong with the test."""
    if environment.stats.total.num_requests == 0:
        return "not one request was made"
    if exceptions := list(environment.runner.exceptions.values()) if environment.runner else []:
        return f"a scenario failed itself: {exceptions[0]['msg']}"
    return ""


def _decides(environment: Environment) -> bool:
    """Whether this process starts the test and ends with its verdict."""
    options = environment.parsed_options
    return options is not None and bool(options.headless) and not isinstance(environment.runner, WorkerRunner)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def watch(events: Events, settings: Settings) -> None:
    """Adds what listens. A mistake among the thresholds is told now: raises `LoadTestError`."""
    watching = Watch(settings, load(settings.thresholds, settings.limits))
    for name in (
        *("init", "test_start", "test_stopping", "test_stop", "quitting", "quit"),
        *("report_to_master", "worker_report"),
    ):
        listener: Callable[..., None] = getattr(watching, name)
        getattr(events, name).add_listener(listener)
