"""The application's own metrics, made with prometheus-client, where several processes serve it.

prometheus-client has each process write files into the folder that a variable names, by process number, and sums over all of them. With
the number of the count file in its place a worker that is replaced leaves its files to its successor: counts do not fall, and the files
are as many as there were ever processes at a time.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import slots

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

#: prometheus-client's own: the folder of its files, and the sign that there are several processes.
VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_LIVE: Final = "gauge_live"  # files of gauges that count only while their process lives


class _Identity:
    """Whose files are written. prometheus-client asks at every turn, and changes files when the answer is another one."""

    def __init__(self) -> None:
        self.name = ""

    def __call__(self) -> str:
        return self.name


# One for the process, as prometheus-client's values are.
_identity = _Identity()


def write_as(name: str) -> None:
    """Have prometheus-client write under this name, which no two living processes may have.

    To be called before the application is imported, and again after a fork. Does nothing in a process that is the only one, or where
    it is not installed.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or importlib.util.find_spec("prometheus_client") is None:
        return
    from prometheus_client import values  # noqa: PLC0415  # slow to import

    for path in Path(folder).glob(f"{_LIVE}*_{name}.db"):
        path.unlink(missing_ok=True)  # of a process that lives no more
    if not _identity.name:
        values.ValueClass = values.MultiProcessValue(_identity)  # type: ignore[no-untyped-call]
    _identity.name = name


def families(folder: Path) -> Iterable[Metric]:
    """What the application has counted: in all processes, or in this one's registry if it is the only one."""
    if VARIABLE not in os.environ:
        from prometheus_client import REGISTRY  # noqa: PLC0415  # slow to import

        return REGISTRY.collect()
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  # as above

    alive = {path.stem.rpartition("-")[2] for path, lives in slots.living(folder) if lives}
    files = [
        str(path)
        for path in folder.glob("*.db")
        if not path.name.startswith(_LIVE) or path.stem.rpartition("_")[2] in alive
    ]
    found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return found
