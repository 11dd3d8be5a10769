"""A build hook of hatchling: compiles the modules that every request runs through, with mypyc, into the wheel.

Wanted where PRONGHORN_COMPILE=1 stands in the environment, and left alone everywhere else: it takes a C compiler and the
headers of Python. The wheel holds the sources too, for whoever reads a traceback. Nothing is written into the checkout.
docs/adr/0024-hot-modules-compiled.md has the reasons and the figures; `pronghorn --version` says whether it is at work.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WANTED = "PRONGHORN_COMPILE"
# All in one shared library, whose name this begins.
GROUP = "pronghorn"

RUNTIME = "misc_ops.c"
# What mypyc's runtime does when an exception is thrown into a coroutine that awaits another: the form of `throw()` with three
# arguments, deprecated since Python 3.12. Every task that is cancelled would warn, or fail where warnings are errors.
_THROW = "PyObject_CallFunctionObjArgs(_m, type, value, traceback, NULL)"
_THROW_MENDED = "PyObject_CallOneArg(_m, value)"


class CompileHook(BuildHookInterface[Any]):
    """Its table in pyproject.toml has patterns of files, `modules` and `except`, in the folder `sources` of the project."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """What an isolated build installs first."""
        return self.config["requires"] if _wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a temporary folder and have the result put beside the sources."""
        if version == "editable" or not _wanted():
            return
        self._folder = tempfile.TemporaryDirectory(prefix="pronghorn-compile-")
        built = Path(self._folder.name).resolve()
        sources = Path(self.root, self.config["sources"])
        wanted, unwanted = (matching(sources, self.config[key]) for key in ("modules", "except"))
        _compile(sorted(wanted - unwanted), sources, built)
        for library in built.rglob(f"lib/**/*{_suffix()}"):
            build_data["force_include"][str(library)] = str(library.relative_to(built / "lib"))
        build_data["infer_tag"] = True
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written; what went into it is not needed any more."""
        if self._folder is not None:
            self._folder.cleanup()


def _mended(runtime: str) -> str:
    if runtime.count(_THROW) != 1:
        raise RuntimeError(f"{RUNTIME} of this mypyc has another throw(): see whether it still needs mending")
    return runtime.replace(_THROW, _THROW_MENDED)


def _wanted() -> bool:
    return os.environ.get(WANTED) == "1"


def _suffix() -> str:
    return ".pyd" if os.name == "nt" else ".so"


def matching(folder: Path, patterns: list[str]) -> set[str]:
    """The files that any of the patterns names, seen from the folder."""
    return {str(file.relative_to(folder)) for pattern in patterns for file in folder.glob(pattern)}


def _compile(files: list[str], sources: Path, built: Path) -> None:
    # Only there where something is compiled.
    from mypyc.build import include_dir, mypycify  # noqa: PLC0415
    from setuptools import Distribution  # noqa: PLC0415

    # mypy reads pyproject.toml of the current folder, which asks for the oldest Python there is: what is compiled is for this one.
    options = ["--config-file=", "--ignore-missing-imports", f"--cache-dir={built / 'cache'}"]
    here = Path.cwd()
    os.chdir(sources)
    try:
        extensions = mypycify(
            [*options, *files],
            opt_level="3",
            debug_level="0",
            target_dir=str(built / "c"),
            group_name=GROUP,
        )
        # What is compiled includes the runtime; this folder is looked into first.
        mended = built / "runtime"
        mended.mkdir()
        (mended / RUNTIME).write_text(_mended(Path(include_dir(), RUNTIME).read_text()))
        for extension in extensions:
            extension.include_dirs.insert(0, str(mended))
        command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(built / "lib"), str(built / "o")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(here)
