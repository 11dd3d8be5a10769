"""The HTTP connection scope, and the WebSocket one that follows from it, built from a request head and what is known of its connection.

Keys and types are those of the ASGI HTTP and WebSocket specification, version 2.5, and no others. Nothing nested is shared between
requests, unless it cannot be changed: an application may write into its scope, and some middleware does.
"""

from typing import Any, Final
from urllib.parse import unquote

from pronghorn.types import Address, Nothing
from pronghorn.wire.ports import RequestHead

# Copied for each request, which costs less than writing it down each time.
_ASGI: Final = {"version": "3.0", "spec_version": "2.5"}


_NOTHING: Final = Nothing()


class ScopeTemplate:
    """What the scopes of all connections to one address have in common.

    `server` is that address, ``(path, None)`` of a Unix socket. `state` is what the lifespan left, copied for each
    request (shallow, as the specification has it). `early_hints` says whether there are any, and `hints_to_proxies`
    whether also where a proxy has left its mark.
    """

    __slots__ = (
        "_extensions",
        "_hints_to_proxies",
        "_root_path",
        "_root_path_raw",
        "_state",
        "_template",
    )

    def __init__(
        self,
        *,
        scheme: str,
        server: Address,
        root_path: str,
        state: dict[str, Any],
        early_hints: bool = True,
        hints_to_proxies: bool = True,
    ) -> None:
        self._root_path = root_path
        self._root_path_raw = root_path.encode("utf-8")
        self._state = state
        self._hints_to_proxies = hints_to_proxies
        self._extensions: dict[str, Any] = {
            "http.response.pathsend": _NOTHING,
            "http.response.zerocopysend": _NOTHING,
        }
        if early_hints:
            self._extensions["http.response.early_hint"] = _NOTHING
        # The keys that differ between requests are there as well: a copy that has to grow costs more.
        self._template: dict[str, Any] = {
            "type": "http",
            "asgi": None,
            "http_version": "",
            "method": "",
            "scheme": scheme,
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "root_path": root_path,
            "headers": None,
            "client": None,
            "server": server,
            "state": None,
            "extensions": None,
        }

    def build(
        self, head: RequestHead, client: tuple[str, int] | None, tls: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The scope of one request. `tls` is the value of the extension of that name, None in clear text."""
        raw_path = head.raw_path
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        if self._root_path:
            # The specification wants `path` to include the root path, which a proxy has usually cut off.
            path = self._root_path + path
            raw_path = self._root_path_raw + raw_path
        scope = self._template.copy()
        scope["asgi"] = _ASGI.copy()
        scope["http_version"] = head.http_version
        scope["method"] = head.method
        scope["path"] = path
        scope["raw_path"] = raw_path
        scope["query_string"] = head.query
        scope["headers"] = head.headers
        scope["client"] = client
        scope["state"] = self._state.copy()
        scope["extensions"] = extensions = self._extensions.copy()
        if head.http_version == "1.0" or (head.forwarded and not self._hints_to_proxies):
            extensions.pop("http.response.early_hint", None)
        if head.accepts_trailers:
            extensions["http.response.trailers"] = _NOTHING
        if tls is not None:
            extensions["tls"] = tls.copy()
        if head.request_id:
            extensions["pronghorn.request_id"] = {"id": head.request_id}
        return scope


def websocket_scope(
    http: dict[str, Any], subprotocols: list[str], tls: dict[str, Any] | None
) -> dict[str, Any]:
    """The scope of the WebSocket that a request asks for, from the scope that the request has."""
    scope = http.copy()
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if http["scheme"] == "https" else "ws"
    scope["subprotocols"] = subprotocols
    extensions: dict[str, Any] = {"websocket.http.response": _NOTHING}
    named = http["extensions"].get("pronghorn.request_id")
    if named is not None:
        extensions["pronghorn.request_id"] = named
    scope["extensions"] = extensions
    if tls is not None:
        extensions["tls"] = tls.copy()
    return scope
