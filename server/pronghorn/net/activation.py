"""Sockets that a service manager has opened and passes on: sd_listen_fds(3), systemd.socket(5).

Three variables tell of them. LISTEN_FDS is how many there are, from descriptor 3 on; LISTEN_PID is whom they are for, because
children inherit variables, and may inherit descriptors; LISTEN_FDNAMES has a name for each, with colons between. They are removed
once they have been read, and the descriptors are closed in whatever this process executes.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence

from pronghorn.errors import StartupError
from pronghorn.net.sockets import Listener, adopt

_FIRST = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def take(environ: MutableMapping[str, str]) -> list[tuple[int, str]]:
    """Descriptor and name of each socket that was passed to this process; the name may be empty.

    Raises ``StartupError`` if what is said of them cannot be true.
    """
    pid, number, names, _ = (environ.pop(variable, "") for variable in _VARIABLES)
    if pid != str(os.getpid()):
        return []  # They were for a parent of ours, which has seen to them.
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise StartupError(f"LISTEN_FDS is not a number of descriptors: {number!r}")
    called = names.split(":") if names else []
    if len(called) != int(number):
        called = [""] * int(number)
    passed = list(enumerate(called, _FIRST))
    for descriptor, _ in passed:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as exc:
            raise StartupError(f"LISTEN_FDS is {number}, but descriptor {descriptor} is not open") from exc
    return passed


def adopted(passed: Sequence[tuple[int, str]], backlog: int) -> list[Listener]:
    """A listener on each of these. Raises ``StartupError`` for one that is no listening stream socket."""
    listeners: list[Listener] = []
    try:
        for descriptor, name in passed:
            called = f"descriptor {descriptor} of LISTEN_FDS" + (f", {name}," if name else "")
            listener = adopt(descriptor, backlog, option=None, called=called)
            listener.name = name if name.isprintable() else ""
            listeners.append(listener)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners
