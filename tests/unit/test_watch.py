"""What changes on the disk is told: real files, and both ways to learn about them through the same tests."""

from __future__ import annotations

import logging
import os
import select as selecting
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pronghorn.config import Config
from pronghorn.errors import UsageError
from pronghorn.supervise import watch, watch_sources
from pronghorn.supervise.watch import Watcher, name_files
from pronghorn.supervise.watch_filter import select
from pronghorn.supervise.watch_tree import Tree

#: Short: most tests do one thing and wait for it.
DELAY = 0.05
#: Where one batch is the point: longer than the system may hold a test up between two steps.
BURST = 0.5
#: The same where there are hundreds of steps.
LONG_BURST = 2.5
#: Only a failing test waits for as long.
PATIENCE = 20.0

Watch = Callable[..., Watcher]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the machine's settings nor its file systems decide which way is tested."""
    monkeypatch.delenv("WATCHFILES_FORCE_POLLING", raising=False)
    monkeypatch.setenv("WATCHFILES_POLL_DELAY_MS", "20")
    monkeypatch.setattr(watch, "remote", lambda roots: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small project."""
    folder = (tmp_path / "project").resolve()
    (folder / "pkg").mkdir(parents=True)
    for name in ("main.py", "pkg/__init__.py", "pkg/module.py", "notes.txt"):
        (folder / name).write_text("old\n")
    return folder


@pytest.fixture(params=["WatchFiles", "polling"])
def watching(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watch]:
    """Starts a watcher of the project, with the options of `select`; it is stopped at the end."""
    if request.param == "polling":
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    started: list[Watcher] = []

    def start(*, delay: float = DELAY, **options: object) -> Watcher:
        watcher = Watcher(select([str(folder)], here=str(folder), **options), delay)  # type: ignore[arg-type]
        started.append(watcher)
        watcher.start()
        assert watcher.name == request.param
        return watcher

    yield start
    for watcher in started:
        watcher.stop()


def ready(watcher: Watcher, seconds: float = PATIENCE) -> bool:
    return bool(selecting.select([watcher], [], [], seconds)[0])


def told(watcher: Watcher, folder: Path) -> list[str]:
    """The next batch, seen from the project."""
    assert ready(watcher), "nothing was told"
    return [os.path.relpath(path, folder) for path in watcher.changes()]


def expect(watcher: Watcher, folder: Path, *names: str) -> None:
    """These files are told, and no others. In one batch or in two: a test that is held up for a moment is not wrong."""
    seen: set[str] = set()
    while not seen >= set(names):
        seen.update(told(watcher, folder))
    assert sorted(seen) == sorted(names)


def nothing_else(watcher: Watcher, folder: Path) -> bool:
    """Whether nothing is on its way: what is told next is what is done now, and that alone."""
    (folder / "zz_last.py").touch()
    return told(watcher, folder) == ["zz_last.py"]


def replace(path: Path, text: str) -> None:
    """As most editors save: a new file beside the old one, renamed over it."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    beside.replace(path)


def through_backup(path: Path, text: str) -> None:
    """As Vim saves: the old file renamed away, a new one written, the old one deleted."""
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("save", [in_place, replace, through_backup])
def test_a_saved_file_is_told_once(watching: Watch, folder: Path, save: Callable[[Path, str], None]) -> None:
    watcher = watching(delay=BURST)
    save(folder / "main.py", "new text\n")
    assert told(watcher, folder) == ["main.py"]
    assert not ready(watcher, 0), "the descriptor is quiet once it has been asked"
    assert watcher.changes() == []
    assert nothing_else(watcher, folder)


def test_one_change_after_another(watching: Watch, folder: Path) -> None:
    watcher = watching()
    for text in ("a", "ab", "abc"):
        (folder / "main.py").write_text(text)
        expect(watcher, folder, "main.py")


def test_a_file_of_the_same_size_and_time(watching: Watch, folder: Path) -> None:
    before = (folder / "main.py").stat()
    watcher = watching()
    replace(folder / "main.py", "odd\n")
    os.utime(folder / "main.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    expect(watcher, folder, "main.py")


def test_touching_a_file_is_a_way_to_ask_for_a_restart(watching: Watch, folder: Path) -> None:
    watcher = watching()
    os.utime(folder / "main.py", (1, 1))
    expect(watcher, folder, "main.py")


def test_files_that_come_and_go(watching: Watch, folder: Path) -> None:
    watcher = watching()
    (folder / "pkg/module.py").unlink()
    (folder / "pkg/novel.py").touch()
    expect(watcher, folder, "pkg/module.py", "pkg/novel.py")
    (folder / "pkg/novel.py").rename(folder / "pkg/module.py")
    expect(watcher, folder, "pkg/module.py", "pkg/novel.py")


def test_a_file_that_vanishes_and_comes_back_is_told_once(watching: Watch, folder: Path) -> None:
    watcher = watching(delay=BURST)
    (folder / "main.py").unlink()
    (folder / "main.py").write_text("again\n")
    assert told(watcher, folder) == ["main.py"]
    assert nothing_else(watcher, folder)


def test_many_files_are_one_batch(watching: Watch, folder: Path) -> None:
    watcher = watching(delay=LONG_BURST)
    names = [f"many/d{number % 7}/m{number:03}.py" for number in range(300)]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    assert told(watcher, folder) == sorted(names)


def test_a_new_folder_stands_for_its_files(watching: Watch, folder: Path, tmp_path: Path) -> None:
    deep = tmp_path / "made/a/b/c/d/e"
    deep.mkdir(parents=True)
    for path in (tmp_path / "made/x.py", deep / "y.py", deep / "z.txt"):
        path.touch()
    watcher = watching()
    (tmp_path / "made").rename(folder / "made")
    expect(watcher, folder, "made/a/b/c/d/e/y.py", "made/x.py")
    (folder / "made/a/b/c/d/e/y.py").write_text("found there as well")
    expect(watcher, folder, "made/a/b/c/d/e/y.py")


def test_a_folder_that_goes_stands_for_its_files(watching: Watch, folder: Path, tmp_path: Path) -> None:
    watcher = watching()
    (folder / "pkg").rename(tmp_path / "away")
    expect(watcher, folder, "pkg/__init__.py", "pkg/module.py")
    (tmp_path / "away").rename(folder / "back")
    expect(watcher, folder, "back/__init__.py", "back/module.py")
    (folder / "back").rename(tmp_path / "away")
    expect(watcher, folder, "back/__init__.py", "back/module.py")
    (tmp_path / "away").rename(folder / "back")
    expect(watcher, folder, "back/__init__.py", "back/module.py")
    shutil.rmtree(folder / "back")
    expect(watcher, folder, "back/__init__.py", "back/module.py")


def test_a_folder_that_becomes_a_file(watching: Watch, folder: Path, tmp_path: Path) -> None:
    watcher = watching(delay=BURST)
    (folder / "pkg").rename(tmp_path / "away")
    (folder / "pkg").touch()
    expect(watcher, folder, "pkg/__init__.py", "pkg/module.py")


def test_what_does_not_count_is_not_told(watching: Watch, folder: Path) -> None:
    watcher = watching(excludes=["gen"])
    (folder / "notes.txt").write_text("new")
    for name in ("__pycache__/main.cpython-313.pyc", "__pycache__/x.py", ".git/hook.py", "gen/made.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("new")
    (folder / "main.py~").write_text("new")
    (folder / "notes.txt").unlink()
    shutil.rmtree(folder / ".git")
    assert nothing_else(watcher, folder)


def test_includes_are_told(watching: Watch, folder: Path) -> None:
    (folder / ".config").mkdir()
    watcher = watching(includes=["*.txt", ".config/*.toml"])
    (folder / "notes.txt").write_text("new")
    expect(watcher, folder, "notes.txt")
    (folder / ".config/app.toml").touch()
    expect(watcher, folder, ".config/app.toml")


def test_virtual_environments_are_not_ours(watching: Watch, folder: Path) -> None:
    (folder / "env/bin").mkdir(parents=True)
    (folder / "env/pyvenv.cfg").touch()
    (folder / "env/bin/tool.py").touch()
    watcher = watching()
    (folder / "env/bin/tool.py").write_text("new")
    (folder / "env/bin/other.py").touch()
    made = folder / "made"
    made.mkdir()
    (made / "pyvenv.cfg").touch()
    (made / "lib").mkdir()
    (made / "lib/x.py").touch()
    assert nothing_else(watcher, folder)


def test_a_watched_folder_that_is_an_environment_was_meant(watching: Watch, folder: Path) -> None:
    (folder / "pyvenv.cfg").touch()
    watcher = watching()
    (folder / "main.py").write_text("new")
    expect(watcher, folder, "main.py")


def test_a_link_to_a_folder_is_followed(watching: Watch, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/tool.py").touch()
    (folder / "shared").symlink_to(tmp_path / "shared")
    (folder / "circle").symlink_to(folder)
    (folder / "self").symlink_to("self")
    watcher = watching()
    (tmp_path / "shared/tool.py").write_text("new")
    expect(watcher, folder, "shared/tool.py")


def test_links_that_are_led_elsewhere(watching: Watch, folder: Path, tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "app.py").write_text(release)
    (folder / "current").symlink_to(tmp_path / "one")
    (folder / "main.py").unlink()
    (folder / "main.py").symlink_to("nowhere.py")
    watcher = watching(delay=BURST)
    (folder / "next").symlink_to(tmp_path / "two")
    (folder / "next").rename(folder / "current")
    assert "current/app.py" in told(watcher, folder)
    (folder / "next").symlink_to("nowhere_else.py")
    (folder / "next").rename(folder / "main.py")
    expect(watcher, folder, "main.py")


def test_a_name_that_is_no_text(watching: Watch, folder: Path) -> None:
    """WatchFiles cannot say it, and gives up; the change is told all the same, and those after it."""
    (folder / "pkg").rename(folder / "app")
    watcher = watching()
    name = "app/\udcff.py"
    (folder / name).touch()
    expect(watcher, folder, name)
    (folder / "main.py").write_text("new")
    expect(watcher, folder, "main.py")
    assert watcher.name == "polling"


def test_a_watched_folder_that_is_made_anew(watching: Watch, folder: Path) -> None:
    watcher = watching()
    shutil.rmtree(folder)
    expect(watcher, folder, "main.py", "pkg/__init__.py", "pkg/module.py")
    folder.mkdir()
    (folder / "main.py").touch()
    expect(watcher, folder, "main.py")


@pytest.mark.parametrize(
    "away", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("away"))], ids=["removed", "moved"]
)
def test_a_watched_folder_that_is_replaced_at_once(
    watching: Watch, folder: Path, away: Callable[[Path], object]
) -> None:
    """Whoever is told of it finds a folder there, though another one than the kernel watches."""
    watcher = watching()
    away(folder)
    folder.mkdir()
    (folder / "other.py").touch()
    expect(watcher, folder, "main.py", "other.py", "pkg/__init__.py", "pkg/module.py")
    (folder / "main.py").touch()
    expect(watcher, folder, "main.py")


def test_a_folder_that_cannot_be_read_is_passed_over(
    watching: Watch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = str(folder / "pkg")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if path == closed:
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    watcher = watching()
    (folder / "main.py").write_text("new")
    expect(watcher, folder, "main.py")


def test_a_busy_supervisor_misses_nothing(watching: Watch, folder: Path) -> None:
    watcher = watching(delay=0)
    seen: set[str] = set()
    (folder / "main.py").write_text("first")
    assert ready(watcher)
    (folder / "pkg/module.py").write_text("second")
    # Nobody asks until the second batch must have been told as well.
    names = {"main.py", "pkg/module.py", "last.py"}
    (folder / "last.py").touch()
    while seen != names:
        batch = told(watcher, folder)
        assert batch
        seen.update(batch)
        assert seen <= names


def test_the_end(watching: Watch, folder: Path) -> None:
    watcher = watching()
    end = watcher.fileno()
    assert end >= 0
    assert not os.get_inheritable(end)
    assert watcher._thread.is_alive()
    (folder / "main.py").write_text("new")
    assert ready(watcher)
    watcher.stop()
    watcher.stop()
    assert watcher.fileno() == -1
    assert not watcher._thread.is_alive()
    assert [path.name for path in watcher.changes()] == ["main.py"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(end)


def test_a_watcher_for_the_length_of_a_with(watching: Watch, folder: Path) -> None:
    with Watcher(select([str(folder)]), DELAY) as watcher:
        (folder / "main.py").write_text("new")
        expect(watcher, folder, "main.py")
    assert watcher.fileno() == -1


def test_one_that_never_started_can_be_stopped(folder: Path) -> None:
    watcher = Watcher(select([str(folder)]))
    assert watcher.fileno() == -1
    watcher.stop()


def test_the_options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    config = Config(
        "main:app",
        reload=True,
        app_dir="pkg",
        reload_includes=["*.html"],
        reload_excludes=["x.py"],
        reload_delay=3,
    )
    watcher = Watcher.of(config)
    assert watcher.selection.roots == (str(folder), str(folder / "pkg"))
    assert watcher.selection.wanted(folder / "a.html")
    assert not watcher.selection.wanted(folder / "x.py")
    watcher._batch.add(["a"], 0)
    assert watcher._batch.remaining(0) == 3
    with pytest.raises(UsageError, match="--reload-dir: no such folder: 'nowhere'"):
        Watcher.of(Config("main:app", reload=True, reload_dirs=["nowhere"]))


# Which way is taken.


def way(folder: Path) -> str:
    with Watcher(select([str(folder)]), DELAY) as watcher:
        (folder / "main.py").write_text(watcher.name)
        expect(watcher, folder, "main.py")
        return watcher.name


@pytest.mark.parametrize(
    ("value", "name"), [("", "WatchFiles"), ("false", "WatchFiles"), ("true", "polling")]
)
def test_polling_can_be_forced(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str, name: str) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", value)
    assert way(folder) == name


def test_without_watchfiles_there_is_polling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    assert way(folder) == "polling"


def test_files_of_another_machine_are_polled_unless_one_says_otherwise(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "remote", lambda roots: f"{roots[0]} (nfs4)")
    with caplog.at_level(logging.INFO, "pronghorn.error"):
        assert way(folder) == "polling"
    assert caplog.messages == [f"{folder} (nfs4) is a file system of another machine: its files are polled."]
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "false")
    assert way(folder) == "WatchFiles"


def test_where_the_kernel_refuses_there_is_polling(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        """As the real one behaves, to which any refusal is one of permission."""

        def __init__(self, paths: list[str], *, ignore_permission_denied: bool, **options: object) -> None:
            assert paths == [str(folder)]
            if not ignore_permission_denied:
                raise OSError("OS file watch limit reached.")

    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", Refusing)
    assert way(folder) == "polling"
    assert caplog.messages == ["WatchFiles cannot watch, the files are polled: OS file watch limit reached."]


# The parts.


def test_polling_pauses_the_longer_the_longer_a_look_takes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []

    class Clock:
        """Each look takes `worked` seconds of the processor and `took` of the day."""

        worked = took = now = 0.0

        def monotonic(self) -> float:
            self.now += self.took
            return self.now

        def thread_time(self) -> float:
            self.now += self.worked
            return self.now

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            return False

    clock = Clock()
    monkeypatch.setattr(watch_sources, "time", clock)
    polling = watch_sources.Polling(Tree(select([str(folder)])), 0.25)
    for worked, took in ((0, 0), (0.1, 0), (0.001, 3), (0, 0)):
        clock.worked, clock.took = worked, took
        polling.wait(None, Stop())
    assert pauses[:2] == [0.25, 0.25]
    assert pauses[2] == pytest.approx(0.9)
    assert pauses[3] == pytest.approx(3, rel=0.01)
    polling.wait(0.5, Stop())
    assert pauses[4] == 0.5, "to see whether a burst is over, it looks when it is told to"


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, 0.25), ("", 0.25), ("1000", 1.0), ("soon", 0.25), ("-1", 0.25)]
)
def test_the_least_pause(value: str | None, seconds: float) -> None:
    environ = {} if value is None else {"WATCHFILES_POLL_DELAY_MS": value}
    assert watch_sources.poll_interval(environ) == seconds


def test_how_the_log_names_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert name_files([folder / "main.py"]) == "'main.py'"
    assert name_files([folder / "pkg/a.py", Path("/srv/b.py")]) == "'pkg/a.py', '/srv/b.py'"
    assert name_files([folder / "two\nlines\udcff.py"]) == r"'two\nlines\udcff.py'"
    assert name_files([folder / f"{number}.py" for number in range(5)]).endswith("'4.py'")
    assert name_files([folder / f"{number}.py" for number in range(300)]).endswith("'4.py' and 295 more")


def test_a_batch_is_complete_when_it_has_rested() -> None:
    batch = watch.Batch(0.25)
    assert batch.remaining(7.0) is None
    batch.add([], 7.0)
    assert batch.remaining(7.0) is None
    batch.add(["a"], 10.0)
    assert batch.remaining(10.0) == 0.25
    batch.add(["b", "a"], 10.125)
    assert batch.remaining(10.25) == 0.125
    batch.add([], 10.3)
    assert batch.remaining(10.375) == 0
    assert batch.remaining(11.0) == 0
    assert batch.take() == {"a", "b"}
    assert batch.remaining(11.0) is None
    assert batch.take() == set()


def test_a_batch_that_never_rests_is_complete_after_ten_delays() -> None:
    batch = watch.Batch(1)
    for half in range(20):
        batch.add([str(half)], half / 2)
        assert batch.remaining(half / 2) == min(1, 10 - half / 2)
    batch.add(["last"], 10.0)
    assert batch.remaining(10.0) == 0
    assert len(batch.take()) == 21


def test_no_delay_is_no_waiting() -> None:
    batch = watch.Batch(0)
    batch.add(["a"], 5.0)
    assert batch.remaining(5.0) == 0


def test_batches_that_nobody_asked_for_join_and_are_told_once(folder: Path) -> None:
    with Watcher(select([str(folder)]), DELAY) as watcher:
        watcher._tell({str(folder / "b.py"), str(folder / "a.py")})
        watcher._tell({str(folder / "a.py"), str(folder / "c.py")})
        expect(watcher, folder, "a.py", "b.py", "c.py")
        assert not ready(watcher, 0)
        watcher._tell({str(folder / "a.py")})
        expect(watcher, folder, "a.py")


def test_a_folder_is_known_by_its_own_name_rather_than_by_a_link(folder: Path) -> None:
    # Many, since the order in which a folder lists them is its own.
    real = [f"m{number}" for number in range(6)]
    for name in real:
        (folder / name).mkdir()
        (folder / name / "x.py").touch()
        for link in (f"a_{name}", f"z_{name}"):
            (folder / link).symlink_to(folder / name)
    found = {os.path.relpath(path, folder) for path in Tree(select([str(folder)])).refresh()}
    assert found == {"main.py", "pkg/__init__.py", "pkg/module.py", *(f"{name}/x.py" for name in real)}


def test_of_two_links_the_first_by_name_counts(folder: Path) -> None:
    (folder / "pkg").rename(folder.parent / "pkg")
    for name in ("b", "a", "c"):
        (folder / name).symlink_to(folder.parent / "pkg")
    found = {os.path.relpath(path, folder) for path in Tree(select([str(folder)])).refresh()}
    assert found == {"main.py", "a/__init__.py", "a/module.py"}


def test_folders_that_do_not_count_are_not_looked_through(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may hold a hundred thousand files, and come and go as a package manager pleases."""
    inside = [folder / name for name in ("node_modules", ".git", "gen")]
    for path in inside:
        path.mkdir()
    looked: list[str] = []
    scandir = os.scandir

    def listing(path: str) -> object:
        looked.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listing)
    tree = Tree(select([str(folder)], (), [str(folder / "gen")]))
    tree.refresh()
    for path in inside:
        assert tree.heed(str(path)) == set()
    assert looked == [str(folder), str(folder / "pkg")]


def test_a_stamp_of_what_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe.py")
    tree = Tree(select([str(folder)]))
    assert str(folder / "pipe.py") in tree.refresh()
    assert stat.S_ISFIFO((folder / "pipe.py").stat().st_mode)
    assert tree.refresh() == set()
