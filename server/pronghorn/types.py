"""The ASGI types, as the specification names them (https://asgi.readthedocs.io/en/latest/specs/main.html).

Messages and scopes are plain dictionaries on purpose: that is what the specification passes between server and
application, and a ``TypedDict`` per event would promise checks that nobody makes at run time.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Never

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Header fields on either side: ``(name, value)`` pairs of byte strings, in order, duplicates kept.
Headers = Iterable[tuple[bytes, bytes]]

#: ``(host, port)`` of a peer or a listener; ``(path, None)`` for a Unix socket.
Address = tuple[str, int | None]


class Nothing(dict[Any, Any]):
    """All that an extension has to say of itself: a dictionary that is empty and stays so, and can be shared therefore."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TypeError("this dictionary stays empty")

    __setitem__ = setdefault = update = __ior__ = _refuse
