"""New certificates without a restart.

Certificates of today live for weeks, and whatever renews them only replaces files. So the files are looked at once per tick:
when they have changed, and have then been left alone for a tick, a new context is made of them, and every handshake that
begins afterwards uses that one. Connections that are open keep what they have.

The loop holds on to the context it was given, so the first context stays, and hands each handshake over to the newest in
its SNI callback, which OpenSSL calls for clients that send no name as well. Loading into the context in use is no way:
a pair of files that do not fit together would leave it with half of each, and a key of another kind would be used beside
the old one instead of in its place.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Sequence

from pronghorn.errors import UsageError

# Device, inode, size and the time of the last change: a renewed file differs in one of them, whoever wrote it and how.
_State = tuple[tuple[int, int, int, int] | None, ...]


class ReloadingTls:
    """The TLS context made of `files`, by `make`; `context` is the one to give to the loop.

    `make` raises `UsageError` for files that cannot be used. The first time that is the caller's business; later it is
    logged once for each state of the files, and the certificate that is loaded stays.
    """

    def __init__(
        self,
        make: Callable[[], ssl.SSLContext],
        files: Sequence[str | os.PathLike[str]],
        logger: logging.Logger,
    ) -> None:
        self._make = make
        self._files = tuple(files)
        self._logger = logger
        self._loaded = self._seen = self._look()
        self.context = self._newest = make()

    def check(self) -> None:
        """Load what has changed, if it has been left alone since the last call."""
        state = self._look()
        rested = state == self._seen
        self._seen = state
        if not rested or state == self._loaded:
            return
        self._loaded = state
        try:
            self._newest = self._make()
        except UsageError as exc:
            self._logger.error("The new certificate cannot be used, the old one stays: %s", exc)  # noqa: TRY400  # one line
            return
        self.context.sni_callback = self._hand_over
        self._logger.info("Loaded the new certificate.")

    def _hand_over(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self._newest

    def _look(self) -> _State:
        found: list[tuple[int, int, int, int] | None] = []
        for file in self._files:
            try:
                status = os.stat(file)  # noqa: PTH116  # a path object would be made anew each second
            except OSError:
                found.append(None)
            else:
                found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)
