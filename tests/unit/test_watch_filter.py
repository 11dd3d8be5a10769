"""Which files count for --reload: patterns, folders that are named, and what is left out without being asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.errors import UsageError
from pronghorn.supervise.watch_filter import EXCLUDES, Selection, select
from pronghorn.supervise.watch_globs import ANY, Glob, literal, stem

HOME = "/home/u/.local/project"


def selection(
    includes: Sequence[str] = (),
    excludes: Sequence[str] = (),
    *,
    roots: Sequence[str] = (HOME,),
    closed: Sequence[str] = (),
) -> Selection:
    """One that needs no folder on the disk."""
    return Selection(
        roots=tuple(roots),
        includes=tuple(map(Glob.of, ("*.py", *includes))),
        excludes=tuple(map(Glob.of, excludes)),
        closed=tuple(closed),
        here=HOME,
    )


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.py", "main.py", True),
        ("*.py", "a/b/main.py", True),
        ("*.py", "main.pyc", False),
        ("*.py", "main.py/x", False),
        ("*.py", ".py", True),
        ("*.PY", "main.py", False),
        ("main.py", "a/main.py", True),
        ("main.py", "a/domain.py", False),
        ("m?in.[p][!x]", "main.py", True),
        ("m?in.[p][!y]", "main.py", False),
        ("tests/*", "tests/a", True),
        ("tests/*", "pkg/tests/a", True),
        ("tests/*", "tests/a/b", False),
        ("tests/*", "mytests/a", False),
        ("./tests//a/", "tests/a", True),
        ("**/a", "a", True),
        ("**/a", "x/y/a", True),
        ("**", "a", True),
        ("a/**", "a", False),
        ("a/**", "a/b", True),
        ("a/**", "x/a/b/c", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/b/c/y", False),
        ("a/**/b/*.css", "a/b/x/b/y.css", True),
        ("a**z", "abcz", True),
        ("a**z", "a/z", False),
        ("/etc/*.toml", "etc/x.toml", True),
        ("/etc/*.toml", "srv/etc/x.toml", False),
        ("/**/x.toml", "srv/etc/x.toml", True),
        ("", "a", False),
        (".", "a", False),
    ],
)
def test_a_pattern_fits_paths(pattern: str, path: str, fits: bool) -> None:
    assert (Glob.of(pattern).fit(path.split("/")) is not None) == fits


names = st.text("ab.*?[]", min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})
simple = st.text("ab.", min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})


@given(st.lists(names, min_size=1, max_size=3), st.lists(simple, min_size=1, max_size=5))
def test_without_double_stars_a_pattern_fits_as_pathlib_says(pattern: list[str], path: list[str]) -> None:
    text = "/".join(part.replace("**", "*") for part in pattern)
    assert (Glob.of(text).fit(path) is not None) == PurePosixPath(*path).match(text)


@given(st.lists(st.sampled_from(["a", "*", "b*", ANY]), min_size=1, max_size=5), st.lists(simple, max_size=6))
def test_a_fit_gives_each_part_of_the_path_what_stands_for_it(pattern: list[str], path: list[str]) -> None:
    fitted = Glob(tuple(pattern), anchored=True).fit(path)
    if fitted is not None:
        assert len(fitted) == len(path)
        kept = [part for part in fitted if part != ANY]
        assert kept == [part for part in pattern if part != ANY]


@pytest.mark.parametrize(
    ("part", "alone", "begins"),
    [
        ("", True, ""),
        (".env", True, ".env"),
        (".env*", False, ".env"),
        ("a[b]", False, "a"),
        ("?", False, ""),
    ],
)
def test_what_a_part_spells(part: str, alone: bool, begins: str) -> None:
    assert (literal(part), stem(part)) == (alone, begins)


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("main.py", True),
        ("pkg/sub/module.py", True),
        ("a name with spaces.py", True),
        ("Ωmega.py", True),
        ("undecodable\udcff.py", True),
        ("index.html", False),
        ("py", False),
        ("main.pyc", False),
        ("main.py~", False),
        (".main.py.swp", False),
        (".hidden.py", False),
        ("~main.py", False),
        (".#main.py", False),
        ("__pycache__/main.py", False),
        ("pkg/__pycache__/main.py", False),
        (".git/hooks/x.py", False),
        (".venv/lib/python3.13/site-packages/x.py", False),
        ("env/lib/python3.13/site-packages/x.py", False),
        ("node_modules/gyp/x.py", False),
        ("my__pycache__/main.py", True),
    ],
)
def test_without_options_python_files_of_ones_own_count(path: str, counts: bool) -> None:
    assert selection().wanted(f"{HOME}/{path}") == counts
    assert selection().wanted(Path(HOME, path)) == counts


@pytest.mark.parametrize(
    "path", ["/home/u/.local/main.py", "/home/u/.local/projects/main.py", HOME, "/main.py", "/", HOME + ".py"]
)
def test_what_is_not_below_a_watched_folder_does_not_count(path: str) -> None:
    assert not selection(["*"]).wanted(path)


def test_a_watched_folder_is_no_file_in_itself() -> None:
    assert not selection(["*"], roots=[f"{HOME}/app.py"]).wanted(f"{HOME}/app.py")


@pytest.mark.parametrize(
    ("includes", "excludes", "wanted", "unwanted"),
    [
        (["*.html"], [], ["a.html", "t/a.html", "a.py"], ["a.css", ".a.html", "__pycache__/a.html"]),
        (
            ["templates/*.html"],
            [],
            ["templates/a.html", "p/templates/a.html"],
            ["a.html", "templates/b/a.html"],
        ),
        (["templates/**"], [], ["templates/a", "templates/b/c/d"], ["x", "templates/.x", "templates/b/.c/d"]),
        (["*"], [], ["a", "b.html"], ["a.pyc", "a.pyo", ".a.swp", "a.swp", "a~", "~a", ".a"]),
        # What an include spells out was meant.
        ([".env"], [], [".env", "p/.env"], [".envrc", ".git/.env", "env", ".a.py"]),
        ([".env*"], [], [".env", ".env.local"], [".git/.env", ".bashrc"]),
        ([".*"], [], [".env", ".a.py"], [".git/a.py"]),
        ([".config/*.toml"], [], [".config/a.toml"], [".config/.a.toml", ".config/a.py", ".git/a.toml"]),
        ([".config/**"], [], [".config/a", ".config/b/c"], [".config/b/.c", ".config/.b/c"]),
        (["~*"], [], ["~a"], ["a~", ".a"]),
        (["*.pyc"], [], [], ["a.pyc"]),
        (["*.py[cod]"], [], ["a.pyc", "a.pyd"], ["__pycache__/a.pyc"]),
        (["__pycache__/*.pyc"], [], [], ["__pycache__/a.pyc", "__pycache__/a.py"]),
        (["__pycache__/*.py[cod]"], [], ["__pycache__/a.pyc"], ["__pycache__/a.py"]),
        # Excludes are about whatever lies on the way.
        ([], ["test_*.py"], ["a.py", "atest_/x.py"], ["test_a.py", "p/test_a.py"]),
        ([], ["tests/*"], ["tests.py", "testsx/a.py"], ["tests/a.py", "tests/b/c/a.py", "p/tests/a.py"]),
        ([], ["tests"], ["tests.py"], ["tests/a.py", "p/tests/b/a.py"]),
        ([], ["**/gen/**"], ["gen.py", "g/a.py"], ["gen/a.py", "p/gen/q/a.py"]),
        ([], ["gen/"], ["gen.py"], ["gen/a.py"]),
        ([], ["*.py"], [], ["a.py", "p/a.py"]),
        (["*.html"], ["*.py"], ["a.html"], ["a.py"]),
        ([], [f"{HOME}/gen*/*.py"], ["p/gen/a.py", "gen.py"], ["gen/a.py", "gen2/a.py"]),
        ([], ["u/**", "home/**", ".local/*", "project"], ["a.py"], ["u/a.py", "home/b/a.py", "project/a.py"]),
        # The name against the pattern: the name is what was meant.
        (["test_main.py"], ["test_*"], ["test_main.py"], ["test_other.py", "test_d/test_main.py"]),
        (["test_m*.py"], ["test_*"], [], ["test_main.py"]),
        ([f"{HOME}/p/*.cfg"], [], ["p/a.cfg"], ["p/.a.cfg", "p/q/a.cfg"]),
        ([f"{HOME}/.secret/a.cfg"], [], [".secret/a.cfg"], ["p/.secret/a.cfg", ".secret/b.cfg"]),
    ],
)
def test_includes_and_excludes(
    includes: list[str], excludes: list[str], wanted: list[str], unwanted: list[str]
) -> None:
    chosen = selection(includes, excludes)
    assert [path for path in wanted if not chosen.wanted(f"{HOME}/{path}")] == []
    assert [path for path in unwanted if chosen.wanted(f"{HOME}/{path}")] == []


def test_a_folder_that_is_left_out_is_left_out_whatever_is_spelled() -> None:
    chosen = selection(["a.cfg"], closed=[f"{HOME}/gen"])
    assert chosen.wanted(f"{HOME}/gen2/a.cfg")
    assert chosen.wanted(f"{HOME}/p/gen/a.cfg")
    assert not chosen.wanted(f"{HOME}/gen/a.cfg")
    assert not chosen.wanted(f"{HOME}/gen/sub/a.py")


def test_the_innermost_watched_folder_is_the_one_that_a_path_is_seen_from() -> None:
    library = f"{HOME}/.venv/lib/site-packages/ours"
    chosen = selection(roots=[HOME, library])
    assert chosen.wanted(f"{library}/a.py")
    assert not chosen.wanted(f"{library}/.b/a.py")
    assert not chosen.wanted(f"{HOME}/.venv/lib/site-packages/theirs/a.py")


def test_relative_patterns_are_seen_from_here_and_elsewhere_from_the_watched_folder() -> None:
    chosen = selection(["app/*.html"], roots=[f"{HOME}/app", "/srv/app"])
    assert chosen.wanted(f"{HOME}/app/a.html")
    assert not chosen.wanted("/srv/app/a.html")
    assert chosen.wanted("/srv/app/app/a.html")


def test_the_whole_file_system_can_be_watched() -> None:
    chosen = Selection(roots=("/",), includes=(Glob.of("*.py"),))
    assert chosen.wanted("/a.py")
    assert chosen.wanted("/srv/app/a.py")
    assert not chosen.wanted("/")
    assert chosen.enters("/")


parts = st.sampled_from(["a", "b", ".c", ".git", "__pycache__", "t.py", ".env", "x~", "gen"])
wild = st.sampled_from(["*", "a", ".c", ".*", "*.py", "**", ".e*", "gen", "__pycache__", "b*", "~*"])
patterns = st.lists(wild, min_size=1, max_size=3).map("/".join)


@given(
    st.lists(patterns, max_size=3),
    st.lists(patterns, max_size=2),
    st.lists(parts, min_size=1, max_size=5),
)
def test_whatever_is_wanted_can_be_reached(includes: list[str], excludes: list[str], path: list[str]) -> None:
    chosen = selection(includes, excludes, closed=[f"{HOME}/b/gen"])
    if chosen.wanted("/".join([HOME, *path])):
        assert all(chosen.enters("/".join([HOME, *path[:upto]])) for upto in range(len(path)))


@given(
    st.lists(patterns, max_size=3), st.lists(patterns, max_size=2), st.lists(parts, min_size=1, max_size=4)
)
def test_more_includes_want_more_and_more_excludes_less(
    includes: list[str], excludes: list[str], path: list[str]
) -> None:
    file = "/".join([HOME, *path])
    if selection(includes[1:], excludes).wanted(file):
        assert selection(includes, excludes).wanted(file)
    if selection(includes, excludes).wanted(file):
        assert selection(includes, excludes[1:]).wanted(file)


@pytest.mark.parametrize(
    "folder", [".git", "p/.git/hooks", "__pycache__", "node_modules", "x/site-packages/y"]
)
def test_folders_in_which_nothing_can_be_wanted_are_not_entered(folder: str) -> None:
    assert not selection().enters(f"{HOME}/{folder}")
    assert not selection([".env", "*"]).enters(f"{HOME}/{folder}")


def test_folders_that_are_entered() -> None:
    assert selection().enters(HOME)
    assert selection().enters(f"{HOME}/p/q")
    assert not selection().enters("/home/u")
    assert not selection(closed=[f"{HOME}/gen"]).enters(f"{HOME}/gen/x")
    assert selection([".config/a.toml"]).enters(f"{HOME}/.config")


# The options, with folders that are there.


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("here/src/gen", "here/tests", "elsewhere/sub"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "here/file.txt").touch()
    (tmp_path / "here/link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path.resolve()


def roots(chosen: Selection, project: Path) -> list[str]:
    return [os.path.relpath(root, project) for root in chosen.roots]


@pytest.mark.parametrize(
    ("folders", "includes", "app_dir", "watched"),
    [
        ([], [], None, ["here"]),
        ([], [], "src", ["here", "here/src"]),
        ([], [], "../elsewhere", ["here", "elsewhere"]),
        (["src"], [], None, ["here/src"]),
        (["src", "./src/", "tests"], [], None, ["here/src", "here/tests"]),
        (["src"], [], "tests", ["here/src", "here/tests"]),
        (["src"], ["tests"], None, ["here/src", "here/tests"]),
        ([], ["tests", "*.html"], None, ["here/tests"]),
        ([], ["t*"], None, ["here"]),
        (["link"], [], None, ["elsewhere"]),
        (["../elsewhere/sub"], [], None, ["elsewhere/sub"]),
    ],
)
def test_the_folders_that_are_watched(
    project: Path, folders: list[str], includes: list[str], app_dir: str | None, watched: list[str]
) -> None:
    assert roots(select(folders, includes, app_dir=app_dir), project) == watched


def test_a_folder_that_an_include_names_is_no_pattern(project: Path) -> None:
    chosen = select([], ["src", "*.py"])
    assert chosen.wanted(project / "here/src/a.py")
    assert not chosen.wanted(project / "here/src/a.html")
    assert not chosen.wanted(project / "here/a.py")


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--reload-dir", {"folders": ["nowhere"]}),
        ("--reload-dir", {"folders": ["src", "nowhere"]}),
        ("--app-dir", {"folders": [], "app_dir": "nowhere"}),
    ],
)
def test_a_folder_that_is_not_there(project: Path, option: str, arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        select(**arguments)  # type: ignore[arg-type]
    assert str(caught.value) == f"{option}: no such folder: 'nowhere'"


def test_a_file_is_no_folder(project: Path) -> None:
    with pytest.raises(UsageError, match=r"--reload-dir: 'file\.txt' is not a folder"):
        select(["file.txt"])


@pytest.mark.parametrize("exclude", ["src", "./src/", "src/../src"])
def test_a_folder_that_an_exclude_names_is_that_one_alone(project: Path, exclude: str) -> None:
    (project / "here/tests/src").mkdir()
    chosen = select([], [], [exclude])
    assert not chosen.wanted(project / "here/src/a.py")
    assert not chosen.wanted(project / "here/src/gen/a.py")
    assert chosen.wanted(project / "here/tests/src/a.py")


def test_an_exclude_that_is_no_folder_is_a_pattern(project: Path) -> None:
    chosen = select([], [], ["nowhere", "gen/*"])
    assert not chosen.wanted(project / "here/tests/nowhere/a.py")
    assert not chosen.wanted(project / "here/src/gen/a.py")
    assert chosen.wanted(project / "here/src/a.py")


@pytest.mark.parametrize("exclude", ["link", "../elsewhere"])
def test_an_excluded_folder_is_known_by_its_link_and_by_its_own_name(project: Path, exclude: str) -> None:
    outside = select([".", "../elsewhere/sub", "tests"], [], [exclude])
    assert roots(outside, project) == ["here", "here/tests"]
    if exclude == "link":
        assert not outside.wanted(project / "here/link/a.py")


def test_an_excluded_folder_on_the_other_side_of_a_link(project: Path) -> None:
    (project / "third").mkdir()
    (project / "elsewhere/inner").symlink_to(project / "third")
    chosen = select([".", "../elsewhere"], [], ["link/inner"])
    for path in ("here/link/inner", "elsewhere/inner"):
        assert not chosen.wanted(project / path / "a.py")
    assert chosen.wanted(project / "here/link/sub/a.py")


def test_excludes_may_leave_nothing(project: Path) -> None:
    with pytest.raises(UsageError, match="--reload-exclude: leaves no folder to watch"):
        select(["src", "src/gen"], [], ["src"])


def test_patterns_that_climb_are_seen_from_here(project: Path) -> None:
    chosen = select([".", "../elsewhere"], ["../elsewhere/*.html"])
    assert chosen.wanted(project / "elsewhere/a.html")
    assert not chosen.wanted(project / "here/a.html")
    assert not chosen.wanted(project / "elsewhere/sub/a.html")


def test_odd_patterns_do_no_harm(project: Path) -> None:
    chosen = select([], ["", "//[", "[", "x" * 5000, "nul\0"], ["", "[", "x" * 5000])
    assert chosen.wanted(project / "here/a.py")
    assert not chosen.wanted(project / "here/a.html")


def test_the_page_names_every_exclude_of_ours() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "development.md").read_text()
    assert [exclude for exclude in EXCLUDES if f"`{exclude}`" not in page] == []
