"""What a configuration listens on, opened: for a server that is one process, and for a supervisor of many."""

import os
import socket
from collections.abc import MutableMapping, Sequence

from pronghorn.config import Config
from pronghorn.net.sockets import Listener, adopt, open_listeners


def listen(
    config: Config,
    sockets: Sequence[socket.socket] | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> list[Listener]:
    """Listeners on `sockets`, which stay the caller's; without any, what a service manager passes or the options say.

    Raises `StartupError`.
    """
    if sockets:
        return [adopt(sock.fileno(), config.backlog) for sock in sockets]
    return open_listeners(
        host=config.host,
        port=config.port,
        uds=config.uds,
        fd=config.fd,
        backlog=config.backlog,
        uds_mode=config.uds_mode,
        uds_group=config.uds_group,
        reuse_port=config.reuse_port,
        environ=environ,
    )
