"""gRPC over HTTP/2 as an ASGI application: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.

A call is a POST. Each message is preceded by five bytes: whether it is compressed, and its length. How the call went stands in
the trailers, because it is known when the last message is out; where there is no message, in the head of a response that ends
with it. A deadline comes with the request, as `grpc-timeout`; a client that has enough resets the stream, which the
application hears as `http.disconnect`.
"""

import asyncio
import logging
import re
import struct
from urllib.parse import quote

OK = 0
UNKNOWN = 2
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
UNIMPLEMENTED = 12
INTERNAL = 13

# What gRPC's own clients and servers take at most, unless told otherwise.
LARGEST = 4 * 1024 * 1024

PREFIX = struct.Struct("!?I")
SECONDS = {"H": 3600, "M": 60, "S": 1, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Error(Exception):
    """The call failed; the client gets the code and the words."""

    def __init__(self, code, words=""):
        super().__init__(words)
        self.code, self.words = code, words


class Gone(Exception):
    """The client has left, and nobody hears what becomes of the call."""


class Call:
    """One call, as a method sees it."""

    def __init__(self, receive):
        self._receive = receive
        self._buffer = bytearray()
        self._more = True
        self._ended = asyncio.Event()

    async def message(self):
        """The one message of a call that has one. Raises Error where there is none, or another one."""
        found = [message async for message in self.messages()]
        if len(found) != 1:
            raise Error(INTERNAL, f"this method takes one message, not {len(found)}")
        return found[0]

    async def messages(self):
        """Each message as soon as it is there. What is not read is held back by HTTP/2, in the client."""
        while True:
            while (message := self._taken()) is not None:
                yield message
            if not self._more:
                break
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise Gone
            self._buffer += event["body"]
            self._more = event["more_body"]
        self._ended.set()
        if self._buffer:
            raise Error(INTERNAL, "the stream ended inside a message")

    def _taken(self):
        """The first message of the buffer, if it is whole."""
        if len(self._buffer) < PREFIX.size:
            return None
        compressed, size = PREFIX.unpack_from(self._buffer)
        if compressed:
            raise Error(UNIMPLEMENTED, "messages are not to be compressed")
        if size > LARGEST:
            raise Error(RESOURCE_EXHAUSTED, f"a message of {size} bytes; {LARGEST} is the most")
        end = PREFIX.size + size
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[PREFIX.size : end])
        del self._buffer[:end]
        return message

    async def abandoned(self):
        """Return when the client has left. Before the last message was read it is reading that tells."""
        await self._ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


def serve(methods):
    """The application with these methods, by their paths. Each is called with a Call, and yields its answers."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] != "http":
            raise NotImplementedError(f"gRPC is HTTP, not {scope['type']}")
        elif not is_call(scope):
            await send({"type": "http.response.start", "status": 415})
            await send({"type": "http.response.body", "body": b"gRPC only\n"})
        else:
            answer = Answer(send)
            await answer.end(await carried_out(methods, scope, receive, answer))

    return app


def is_call(scope):
    """A client that does not speak gRPC is told so in plain HTTP."""
    kind = dict(scope["headers"]).get(b"content-type", b"")
    return scope["method"] == "POST" and re.match(rb"application/grpc(?![a-z0-9-])", kind) is not None


class Answer:
    """The response: its head goes with the first message, or with the status if there is none."""

    def __init__(self, send):
        self._send = send
        self._begun = False

    async def add(self, message):
        if not self._begun:
            await self._head(trailers=True)
        data = PREFIX.pack(False, len(message)) + message
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except OSError:  # the way a server says that the client has left
            raise Gone from None

    async def end(self, error):
        """With the status; None is the client's having left."""
        if error is None:
            return
        status = [(b"grpc-status", b"%d" % error.code)]
        if error.words:
            status.append((b"grpc-message", quote(error.words, safe=" !#$&'()*+,/:;=?@[]").encode()))
        if self._begun:
            await self._send({"type": "http.response.body"})
            await self._send({"type": "http.response.trailers", "headers": status})
        else:
            await self._head(status)
            await self._send({"type": "http.response.body"})

    async def _head(self, fields=(), trailers=False):
        self._begun = True
        headers = [(b"content-type", b"application/grpc"), *fields]
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers}
        )


async def carried_out(methods, scope, receive, answer):
    """How the call went, after all its messages are out: an Error, whose code may be OK, or None if the client left."""
    method = methods.get(scope["path"])
    if method is None:
        return Error(UNIMPLEMENTED, f"there is no method {scope['path']}")
    call = Call(receive)

    async def work():
        async for message in method(call):
            await answer.add(message)

    working, watching = asyncio.ensure_future(work()), asyncio.ensure_future(call.abandoned())
    try:
        async with asyncio.timeout(timeout(scope)):
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                return None
            await working
    except TimeoutError:
        return Error(DEADLINE_EXCEEDED, "the deadline is over")
    except Gone:
        return None
    except Error as error:
        return error
    except Exception:
        logging.getLogger(__name__).exception("in %s", scope["path"])
        return Error(UNKNOWN, "the method failed")
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait({working, watching})
    return Error(OK)


def timeout(scope):
    """Seconds that the client gives the call, or None."""
    text = dict(scope["headers"]).get(b"grpc-timeout", b"").decode("latin-1")
    found = re.fullmatch(r"(\d{1,8})([HMSmun])", text, re.ASCII)
    return int(found[1]) * SECONDS[found[2]] if found else None


async def lifespan(receive, send):
    while (event := await receive())["type"] != "lifespan.shutdown":
        await send({"type": event["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})
