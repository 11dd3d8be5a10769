"""Nginx in front of a server: one process on the generator's core, with connections to the server kept open."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.bench.servers import Running, free_port, started

# One process without a master runs as who calls, so that it may open the socket in a folder of our own.
_CONFIGURATION = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/nginx-temp;
    proxy_temp_path {folder}/nginx-temp;
    fastcgi_temp_path {folder}/nginx-temp;
    uwsgi_temp_path {folder}/nginx-temp;
    scgi_temp_path {folder}/nginx-temp;
    upstream app {{
        server unix:{socket};
        keepalive {connections};
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


def binary(root: Path) -> Path:
    """An nginx that can be run; Debian's is unpacked beside the results where none is installed."""
    command = [root / "scripts" / "nginx-binary", root / ".bench" / "nginx"]
    return Path(subprocess.check_output(command, text=True).strip())


@contextlib.contextmanager
def in_front(server: Running, nginx: Path, core: int | None, connections: int) -> Iterator[int]:
    """Nginx, started, and the port it listens on."""
    folder, port = server.log.parent, free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, socket=server.socket, port=port, connections=connections)
    )
    command = [str(nginx), "-p", str(folder), "-e", str(folder / "nginx-error.log"), "-c", str(configuration)]
    with started(command, core, folder, folder / "nginx-log"):
        yield port
