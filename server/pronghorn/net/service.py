"""What the connections of one worker share.

A connection is handed one of these instead of a configuration: plain values, the collaborators it calls, and the few
counters that the worker reads. Nothing here is global; two servers in one process have one each.
"""

import asyncio
import contextvars
import functools
import logging
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pronghorn.asgi.http import HttpCycle, NullObserver, Observer
from pronghorn.asgi.request_id import RequestIds
from pronghorn.asgi.scope import ScopeTemplate
from pronghorn.types import Address, ASGIApplication, Scope
from pronghorn.wire.headers import DefaultHeaders, FieldCache
from pronghorn.wire.ports import HttpParser, Inbound

from .deadlines import Deadlines
from .http2 import Http2
from .rounds import Rounds
from .ws_settings import WebSockets

# More than a machine has addresses, as a rule: a wildcard socket may be reached at any of them.
_TEMPLATES: Final = 64


class Trust(Protocol):
    """Which peers may say who the client really is, and how what they say gets into the scope."""

    def trusts(self, client: tuple[str, int] | None, *, unix: bool) -> bool: ...

    def apply(self, scope: Scope) -> None: ...


class NoTrust:
    """No peer is believed: the null object behind ``--no-proxy-headers``."""

    def trusts(self, client: tuple[str, int] | None, *, unix: bool) -> bool:
        return False

    def apply(self, scope: Scope) -> None:
        raise AssertionError("no peer is trusted")


class Template(Protocol):
    """Makes or finds the template of the scopes of such connections."""

    def __call__(self, server: Address, *, unix: bool, tls: bool) -> ScopeTemplate: ...


class Meter(Protocol):
    """Told of what is rare and worth a number. The names are those that `observe.metrics` has."""

    def limit(self, name: str) -> None:
        """A limit was met."""

    def protocol_error(self, kind: str) -> None:
        """What a peer has sent was refused."""

    def websocket_closed(self, code: int) -> None:
        """A WebSocket came to its end."""

    def application_error(self) -> None:
        """The application let an exception through, or did not complete a response."""


class NullMeter:
    """Nobody counts."""

    def limit(self, name: str) -> None:
        pass

    def protocol_error(self, kind: str) -> None:
        pass

    def websocket_closed(self, code: int) -> None:
        pass

    def application_error(self) -> None:
        pass


class Drainable(Protocol):
    """A connection, as the worker sees it."""

    @property
    def fresh(self) -> bool:
        """Whether it has not carried a request yet: its first may be on the way."""

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""

    def shutdown(self) -> None:
        """Finish what is in flight, say that it is the last, and close.

        The application of an endless stream is told at once, through its ``receive()``.
        """

    def hurry(self) -> None:
        """Tell the application of any response that has begun."""

    def end_stream(self) -> None:
        """End the response, if it is an endless stream, and the application that goes on with it."""

    def abort(self) -> None:
        """Close now, whatever is lost."""


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """Shared by all connections of a worker. Timeouts are in ticks of `deadlines`; limits are None for none."""

    app: ASGIApplication
    parser: Callable[[Inbound], HttpParser]
    defaults: DefaultHeaders
    deadlines: Deadlines
    keep_alive_ticks: int
    header_ticks: int
    body_ticks: int
    logger: logging.Logger
    loop: asyncio.AbstractEventLoop
    observer: Observer = field(default_factory=NullObserver)
    meter: Meter = field(default_factory=NullMeter)
    trust: Trust = field(default_factory=NoTrust)
    #: None where requests have no names.
    ids: RequestIds | None = None
    #: "on", "off", or "auto": not where there is a proxy, as far as one can tell.
    early_hints: str = "auto"
    root_path: str = ""
    lifespan_state: dict[str, Any] = field(default_factory=dict)
    #: Bytes that a peer has to move in any `body_ticks`, of a body that it sends or of a response that it reads.
    pace: int = 0
    #: None where nobody speaks the protocol: a request for it is answered like any other.
    websockets: WebSockets | None = None
    #: None where only HTTP/1.1 is spoken.
    http2: Http2 | None = None
    limit_concurrency: int | None = None
    limit_requests: int | None = None
    on_request_limit: Callable[[], None] = lambda: None
    field_cache: FieldCache = field(default_factory=FieldCache)
    #: Every request runs in a copy of the context in which the server was started, so that nothing that one request
    #: sets is seen by the next one on the same connection.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    #: What connections to one address, Unix socket or not, TLS or not, have in common in their scopes.
    template: Template = field(init=False)
    rounds: Rounds = field(init=False)

    connections: set[Drainable] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    #: Requests being answered now, and requests that were given to the application since the start.
    active: int = 0
    requests: int = 0
    #: Connections that were made since the start, and requests that were not the first of theirs.
    accepted: int = 0
    reuses: int = 0
    #: WebSockets that are open now, and those that were opened since the start; and their messages.
    open_websockets: int = 0
    accepted_websockets: int = 0
    received_messages: int = 0
    sent_messages: int = 0
    #: Whether each response is to be the last of its connection; and whether nobody new is served any more either.
    parting: bool = False
    draining: bool = False
    #: Whether somebody else takes over, so that whoever is sent away may come back at once.
    succeeded: bool = False

    def __post_init__(self) -> None:
        self.rounds = Rounds(self.loop)
        self.template = functools.lru_cache(_TEMPLATES)(self._template)

    def _template(self, server: Address, *, unix: bool, tls: bool) -> ScopeTemplate:
        return ScopeTemplate(
            scheme="https" if tls else "http",
            server=server,
            root_path=self.root_path,
            state=self.lifespan_state,
            early_hints=self.early_hints != "off" and not (unix and self.early_hints == "auto"),
            hints_to_proxies=self.early_hints == "on",
        )

    def refuse_crowded(self, cycle: HttpCycle) -> None:
        """Answer a request that is one too many."""
        self.context_of(cycle.request_id).run(self.logger.warning, "Exceeded concurrency limit.")
        self.meter.limit("concurrency")
        cycle.refuse(503, [(b"retry-after", b"1"), (b"connection", b"close")])

    def reach_request_limit(self) -> None:
        """The last request has come that this process is for."""
        self.meter.limit("max_requests")
        # We may have been called from inside the request before this one, whose business that is not.
        self.context_of("").run(self.on_request_limit)

    def tell_mismatch(self, cycle: HttpCycle, mismatch: str) -> None:
        """Log that a body is not as long as its application has said."""
        path = cycle.scope["path"].encode("unicode_escape").decode("ascii")
        self.context_of(cycle.request_id).run(
            self.logger.error, "Response of %s %s is %s.", cycle.head.method, path, mismatch
        )

    def context_of(self, request_id: str) -> contextvars.Context:
        """A context of its own for what is done, or said, for a request; with an empty id, for none of them."""
        context = self.context.copy()
        if request_id and self.ids is not None:
            context.run(self.ids.enter, request_id)
        return context

    def spawn(self, coroutine: Coroutine[Any, Any, None], request_id: str) -> asyncio.Task[None] | None:
        """Run the application for one request. Returns the task, unless it is done already.

        From Python 3.12 on it runs at once, up to its first wait; before that, from the next turn of the loop on.
        """
        context = self.context_of(request_id)
        if sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=self.loop, context=context, eager_start=True)
            if task.done():
                return None
        else:
            task = self.loop.create_task(coroutine, context=context)
        # The loop keeps weak references only.
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
